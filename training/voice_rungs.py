"""The rungs of the ladder from the evidence of a run: oracles, mean faces, nearest training face, model, ceiling."""

import numpy as np
import torch
from tqdm import tqdm

from metrics.ladder import BASELINE, CEILING, CONTROL, MODEL, ORACLE, Rung
from metrics.matching import deal, one_hot, rows_by_person
from metrics.retrieval import mean_by_person
from training.voice_groups import strictest, title_of

_NEAREST_AT_ONCE = 4_000_000


def build_rungs(evidence, dataset, *, seed=0, speaker=None):
    """Returns the Rungs of a run, from what knows least to the ceiling.

    With a `speaker` recogniser also: the face of the training person whose voice is nearest, which needs no model.
    """
    rungs = [oracle(evidence, grouping) for grouping in evidence.groups]
    faces, count = evidence.faces, len(evidence.drawn)
    rungs.append(Rung("mean face of the generator", BASELINE, np.tile(evidence.mean_face, (count, 1)), faces))
    chosen = dict.fromkeys(name for name in ("gender", strictest(evidence.groups)) if name in evidence.groups)
    for grouping in chosen if len(evidence.train) else ():
        rungs.append(Rung(f"mean training face, same {title_of(grouping)}", BASELINE, group_means(evidence, grouping),
                          faces))
    if len(evidence.train):
        rungs.append(Rung("nearest training face", BASELINE, nearest(evidence.drawn, evidence.train), faces))
    if speaker is not None and len(evidence.train):
        rungs.append(Rung("face of the nearest training voice", BASELINE, nearest_voice(evidence, dataset, speaker),
                          faces))
    rungs.append(Rung("MODEL", MODEL, evidence.drawn, faces))
    rungs.append(Rung("MODEL, shuffled voices", CONTROL, evidence.drawn[shuffled_rows(evidence.clip_people, seed)],
                      faces))
    if evidence.second:
        rungs.append(Rung("another photograph", CEILING, evidence.seconds(), faces))
    if (best := ideal_listener(evidence, dataset)) is not None:
        rungs.append(best)
    return rungs


def build_strata(evidence):
    """Returns title -> groups (person -> label): all, same gender, and the same in everything that is known."""
    found = {"all": None}
    for grouping in ("gender", strictest(evidence.groups)):
        if grouping in evidence.groups:
            found[f"same {title_of(grouping)}"] = evidence.groups[grouping]
    return found


def oracle(evidence, grouping):
    """Returns the rung of somebody who knows the group of every voice and face, and nothing else."""
    labels = [*evidence.labels(grouping, evidence.clip_people), *evidence.labels(grouping, evidence.face_people)]
    code = one_hot(labels)
    return Rung(f"{title_of(grouping)} oracle", ORACLE, code[:len(evidence.drawn)], code[len(evidence.drawn):])


def group_means(evidence, grouping):  # -> [V, K], NaN where the group of a clip's person has no training face
    """Returns the mean embedding of the training faces of each clip's group."""
    labels = evidence.labels(grouping, evidence.train_people)
    known = [k for k, label in enumerate(labels) if label is not None]
    rows = np.full(evidence.drawn.shape, np.nan)
    if known:
        means, names = mean_by_person(evidence.train[known], np.array([labels[k] for k in known]))
        table = dict(zip(names.tolist(), means))
        for row, label in enumerate(evidence.labels(grouping, evidence.clip_people)):
            if label in table:
                rows[row] = table[label]
    return rows


def nearest(drawn, train):  # [V, K], [T, K] -> [V, K]
    """Returns the training face most like each drawn face: what a model that only remembers would show."""
    return train[nearest_rows(drawn, train)]


def nearest_rows(queries, gallery):  # [V, K], [T, K] -> int [V]
    """Returns the gallery row with the largest dot product for each query."""
    step = max(1, _NEAREST_AT_ONCE // len(gallery))
    return np.concatenate([(queries[start:start + step] @ gallery.T).argmax(1)
                           for start in range(0, len(queries), step)])


def nearest_voice(evidence, dataset, speaker):  # -> [V, K]
    """Returns the mean embedding of the training person whose voices are most like each clip, for a speaker judge."""
    faces, names = mean_by_person(evidence.train, evidence.train_people.astype(str))
    clips = [row for row in dataset.voices("train") if str(row["person"]) in set(names.tolist())]
    if not clips:
        raise ValueError(f'"{dataset.path}" has no training voices; the rung of a speaker recogniser needs them.')
    people = np.array([str(row["person"]) for row in clips])
    voices, owners = mean_by_person(speaker_rows(speaker, dataset, clips), people)
    found = nearest_rows(speaker_rows(speaker, dataset, evidence.clip_rows), voices)
    return faces[np.searchsorted(names, owners[found])]


def speaker_rows(speaker, dataset, rows):  # -> [N, K]
    """Returns the embeddings of clips, each by itself; ValueError when the judge wants another rate."""
    found = []
    for row in tqdm(rows, desc="Voices", unit="clip", leave=False, disable=None):
        if row.get("sample_rate_hz", speaker.sample_rate_hz) != speaker.sample_rate_hz:
            raise ValueError(f'the speaker recogniser "{speaker.name}" hears {speaker.sample_rate_hz} Hz, the clips '
                             f'have {row["sample_rate_hz"]} Hz.')
        found.append(speaker(torch.from_numpy(dataset.read_voice(row))[None])[0].cpu().numpy())
    return np.stack(found).astype(np.float64)


def shuffled_rows(people, seed):  # [V] -> int [V]
    """Returns for each clip the row of a clip of the person whose voices were dealt to its owner."""
    table = rows_by_person(people)
    names = np.array(list(table), dtype=np.asarray(people).dtype)
    giver = dict(zip(deal(names, seed).tolist(), names.tolist()))
    rows = np.empty(len(people), int)
    for person, own in table.items():
        theirs = table[giver[person]]
        rows[own] = [theirs[place % len(theirs)] for place in range(len(own))]
    return rows


def ideal_listener(evidence, dataset):
    """Returns the rung of the ideal listener of the drawn world, or None where the truth is not known.

    He knows the audible factors exactly and sees the true traits; the rows make the dot product his log-likelihood.
    """
    people = list(dict.fromkeys([*evidence.clip_people.tolist(), *evidence.face_people.tolist()]))
    rows = [evidence.people.get(person, {}) for person in people]
    if not all(row.get("heard") and row.get("traits") for row in rows) or "world" not in dataset.card:
        return None
    from voice2style.demo.ideal_listener import matching_scores

    heard, traits = ({name: np.array([row[key][name] for row in rows]) for name in rows[0][key]}
                     for key in ("heard", "traits"))
    scores = matching_scores(heard, traits, audibility=dataset.card["world"].get("audibility", 1.0))
    place = {person: number for number, person in enumerate(people)}
    voices, faces = ([place[person] for person in owners.tolist()]
                     for owners in (evidence.clip_people, evidence.face_people))
    return Rung("ideal listener", CEILING, np.eye(len(people))[voices], scores.T[faces], unit=False)
