"""Matching and verification on a public list of trials: the model's number beside the oracles on exactly that list."""

import numpy as np

from dnnlib.console import table
from metrics.ladder import MODEL
from metrics.matching import Trials, chance, matching_result, trial_scores
from metrics.pair_lists import MatchingList, face_key, read_list, voice_key
from metrics.verification import verification_results
from training.voice_judges import trained_here
from training.voice_run import evidence_of, interval, outcome
from training.voice_rungs import build_rungs


def measure_lists(bench):
    """Accuracy (matching list) or AUC and EER (verification list) of every rung on the trials that the data has."""
    settings = bench.settings
    path = settings.options.get("pair_list")
    if not path:
        raise ValueError("the metric pair_list needs --option pair-list=FILE, a matching_*.csv or veriflist_*.txt.")
    if settings.split == "train" and trained_here(bench.model, bench.dataset):
        some = ", ".join(list(dict.fromkeys(str(row["person"]) for row in bench.dataset.voices("train")))[:3])
        raise ValueError(f"the model was trained on the people of the split train ({some}, …), so a list of them tests "
                         "nothing; judge with --split test, or train on people whom the list does not name.")
    trials, evidence = read_list(path), evidence_of(bench)
    rungs = [rung for rung in build_rungs(evidence, bench.dataset, seed=settings.seed) if rung.unit]
    voices, faces = index_rows(evidence)
    if isinstance(trials, MatchingList):
        results, rows, kept, header = _matching(trials, rungs, voices, faces, evidence, settings)
    else:
        results, rows, kept, header = _verification(trials, rungs, voices, faces, evidence, settings)
    total = len(trials.probes) if isinstance(trials, MatchingList) else len(trials.labels)
    words = table(rows, header) + f"\n\n{kept} of {total} trials of the list are in the data."
    return outcome(evidence, results, words, pair_list=str(path), trials=kept, trials_of_list=total)


def index_rows(evidence):
    """Returns key -> row of the clips and of the candidate faces; keys are those of metrics.pair_lists.

    A row's "source" (the path that it had before it became part of the dataset) is preferred to its "path".
    """
    voices, faces = {}, {}
    for rows, key_of, table_of in ((evidence.clip_rows, voice_key, voices), (evidence.face_rows, face_key, faces)):
        for place, row in enumerate(rows):
            names = evidence.people.get(row["person"], {})
            key = key_of(str(row.get("source") or row["path"]))
            for person in {key[0], str(row["person"]), *map(str, names.get("ids") or ())}:
                table_of[(person, *key[1:])] = place
    return voices, faces


def _matching(listed, rungs, voices, faces, evidence, settings):
    probe_rows, candidate_rows = (voices, faces) if listed.direction == "v2f" else (faces, voices)
    found = [(probe_rows.get(probe), [candidate_rows.get(key) for key in keys])
             for probe, keys in zip(listed.probes, listed.candidates)]
    found = [(probe, keys) for probe, keys in found if probe is not None and None not in keys]
    _need(found, listed.path)
    owners = evidence.face_people if listed.direction == "v2f" else evidence.clip_people
    chosen = np.array([keys for _, keys in found])
    trials = Trials(np.array([probe for probe, _ in found]), chosen, owners[chosen])
    results, rows = [], [["chance", f"{chance(chosen.shape[1]):.3f}", ""]]
    for rung in rungs:
        sides = (rung.probes, rung.candidates) if listed.direction == "v2f" else (rung.candidates, rung.probes)
        able = np.isfinite(sides[0][trials.probes]).all(1) & np.isfinite(sides[1][trials.candidates]).all((1, 2))
        if able.any():
            part = trials.part(able)
            result = matching_result(trial_scores(*sides, part), part, name=f"list_{_word(rung)}", judge=evidence.label,
                                     seed=settings.seed, rounds=settings.rounds)
            results.append(result)
            rows.append([_bold(rung), interval(result), result.n])
    return results, rows, len(found), ["", f"1:{chosen.shape[1]}, {listed.direction}", "people"]


def _verification(listed, rungs, voices, faces, evidence, settings):
    found = [(voices.get(voice), faces.get(face), label)
             for voice, face, label in zip(listed.voices, listed.faces, listed.labels)]
    found = [pair for pair in found if pair[0] is not None and pair[1] is not None]
    _need(found, listed.path)
    probe, candidate, labels = (np.array(column) for column in zip(*found))
    people = np.stack([evidence.clip_people[probe], evidence.face_people[candidate]], 1)
    if ((people[:, 0] == people[:, 1]) != labels).any():
        raise ValueError(f'"{listed.path}" calls pairs one person that are two in the data, or the reverse; '
                         "is it a list of this dataset?")
    results, rows = [], [["chance", "0.500", "0.500", ""]]
    for rung in rungs:
        able = np.isfinite(rung.probes[probe]).all(1)
        if not 0 < labels[able].sum() < able.sum():
            continue
        scores = (rung.probes[probe[able]] * rung.candidates[candidate[able]]).sum(1)
        both = verification_results(scores, labels[able], people[able], judge=evidence.label, seed=settings.seed,
                                    name=f"list_{_word(rung)}", rounds=settings.rounds)
        results += both
        rows.append([_bold(rung), *(interval(result) for result in both), both[0].n])
    return results, rows, len(found), ["", "AUC", "EER", "people"]


def _need(found, path):
    if not found:
        raise ValueError(f'not one trial of "{path}" is in the data; a list names people and files as the dataset\'s '
                         "sources did (voices <id>/<video>/<number>.wav, faces <Name>/1.6/<video>/<frame>.jpg).")


def _word(rung):
    return "".join(letter if letter.isalnum() else "_" for letter in rung.name.lower())


def _bold(rung):
    return f"**{rung.name}**" if rung.kind == MODEL else rung.name
