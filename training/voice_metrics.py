"""The metrics that ask whether the voice mattered, as rows of the METRICS table (docs/voice_metrics.md)."""

import dataclasses
import functools
import io

import numpy as np

from dnnlib.console import table
from metrics.attributes import attribute_report
from metrics.consistency import consistency_results, speaker_share
from metrics.feature_similarity import class_score, similarity_results
from metrics.fid import frechet_distance
from metrics.judges.speaker_id import load_speaker
from metrics.ladder import climb, pair_people, plot
from metrics.matching import chance, deal, draw_trials, matching_result, trial_scores
from metrics.result import Result
from metrics.retrieval import chance_level, mean_by_person, retrieval_results
from metrics.verification import verification_results
from training.metric_rows import Metric
from training.voice_fairness import measure_fairness
from training.voice_groups import title_of
from training.voice_judges import judge_label
from training.voice_landmarks import measure_landmarks
from training.voice_lists import measure_lists
from training.voice_readers import attribute_readers, class_probabilities
from training.voice_run import evidence_of, interval, kept_of, outcome
from training.voice_rungs import build_rungs, build_strata, shuffled_rows
from training.voice_wishes import num_trials
from training.voice_world import measure_unheard, measure_world_traits

WAYS = (2, 4, 6, 8, 10)  # candidates, as the public lists have them
GALLERY = 100  # the size that published numbers are most often for
DIRECTIONS = ("v2f", "f2v")

__all__ = ["VOICE_METRICS", "deal"]


def measure_matching(bench):
    """Accuracy of 1:2 trials by strata and of N-way trials, both directions, with the shuffled control."""
    evidence, settings = evidence_of(bench), bench.settings
    shuffled = evidence.drawn[shuffled_rows(evidence.clip_people, settings.seed)]
    results, rows = [], []
    for direction in DIRECTIONS:
        for stratum, groups in {"all": None, **evidence.groups}.items():
            for ways in WAYS if stratum == "all" else WAYS[:1]:
                try:
                    trials = _trials(evidence, direction, settings, num_candidates=ways, groups=groups)
                except ValueError:  # too few people share a group
                    continue
                name = f"matching_{direction}_{stratum}" + ("" if ways == 2 else f"_{ways}way")
                both = [matching_result(_scores(drawn, evidence, direction, trials), trials, name=name + ending,
                                        judge=evidence.label, seed=settings.seed, rounds=settings.rounds)
                        for drawn, ending in ((evidence.drawn, ""), (shuffled, "_shuffled"))]
                results += both
                rows.append([direction, "all" if groups is None else f"same {title_of(stratum)}", f"1:{ways}",
                             f"{chance(ways):.3f}", interval(both[0]), interval(both[1]), both[0].n])
    words = table(rows, ["direction", "candidates", "trial", "chance", "MODEL", "shuffled voices", "people"])
    return outcome(evidence, results, words, trials=num_trials(settings))


def measure_verification(bench):
    """AUC and EER of pairs of a voice and a face, half of them of one person, by strata; lists when one is given."""
    evidence, settings = evidence_of(bench), bench.settings
    shuffled = evidence.drawn[shuffled_rows(evidence.clip_people, settings.seed)]
    results, rows = [], []
    for stratum, groups in {"all": None, **evidence.groups}.items():
        try:
            trials = _trials(evidence, "v2f", settings, groups=groups)
        except ValueError:
            continue
        labels, people = np.repeat([1, 0], len(trials)), pair_people(trials)
        found = [verification_results(_scores(drawn, evidence, "v2f", trials).T.ravel(), labels, people,
                                      judge=evidence.label, name=f"verification_{stratum}{ending}", seed=settings.seed,
                                      rounds=settings.rounds)
                 for drawn, ending in ((evidence.drawn, ""), (shuffled, "_shuffled"))]
        results += [*found[0], *found[1]]
        rows.append(["all" if groups is None else f"same {title_of(stratum)}",
                     *(interval(result) for part in found for result in part), found[0][0].n])
    words = table(rows, ["impostors", "AUC", "EER", "AUC, shuffled", "EER, shuffled", "people"])
    return outcome(evidence, results, words, pairs=2 * num_trials(settings))


def measure_retrieval(bench):
    """R@k, median rank, log2(N/rank) and mAP in a gallery with one row a person, both directions."""
    evidence, settings = evidence_of(bench), bench.settings
    shuffled = evidence.drawn[shuffled_rows(evidence.clip_people, settings.seed)]
    results, rows, count = [], [], len(evidence.own_people)
    for direction in DIRECTIONS:
        both = []
        for drawn, ending in ((evidence.drawn, ""), (shuffled, "_shuffled")):
            sides = [(drawn, evidence.clip_people), (evidence.faces, evidence.face_people)]
            (queries, people), (others, owners) = sides if direction == "v2f" else sides[::-1]
            gallery, names = mean_by_person(others, owners)
            both.append(retrieval_results(queries, people, gallery, names, judge=evidence.label, seed=settings.seed,
                                          name=f"retrieval_{direction}{ending}", rounds=settings.rounds,
                                          of_size=GALLERY if count > GALLERY else None))
        results += [*both[0], *both[1]]
        rows += [[direction, first.name.removeprefix(f"retrieval_{direction}_"), chance_of(first.name, count),
                  interval(first), interval(second)] for first, second in zip(*both)
                 if not first.name.endswith("gallery")]
    words = table(rows, ["direction", f"gallery of {count} people", "chance", "MODEL", "shuffled voices"])
    return outcome(evidence, results, words, gallery=count)


def measure_similarity(bench):
    """L1, L2, cosine and angle between drawn faces and the person's mean face, strangers, and photographs."""
    evidence, settings = evidence_of(bench), bench.settings
    means, names = mean_by_person(evidence.faces, evidence.face_people)
    mean_of = dict(zip(names.tolist(), means))
    own = np.stack([mean_of[person] for person in evidence.clip_people.tolist()])
    other = np.stack([mean_of[person] for person in evidence.clip_people[
        shuffled_rows(evidence.clip_people, settings.seed)].tolist()])
    pairs = {"model": (evidence.drawn, own, evidence.clip_people),
             "model_to_strangers": (evidence.drawn, other, evidence.clip_people),
             "two_people": (own, other, evidence.clip_people)}
    if evidence.second:
        people = np.array([person for person in names.tolist() if person in evidence.second])
        pairs["one_person"] = (np.stack([evidence.second[person] for person in people.tolist()]),
                               np.stack([mean_of[person] for person in people.tolist()]), people)
    results, rows = [], []
    for name, (first, second, people) in pairs.items():
        found = similarity_results(first, second, people, judge=evidence.label, name=f"similarity_{name}",
                                   seed=settings.seed, rounds=settings.rounds)
        results += found
        rows.append([_PAIRS[name], *(interval(result) for result in found)])
    return outcome(evidence, results, table(rows, ["pairs", "L1", "L2", "cosine", "angle, degrees"]))


def measure_class_score(bench):
    """The VGGFace score of the drawn faces and of as many real ones, by the people whom the judge knows."""
    evidence, settings = evidence_of(bench), bench.settings
    judge = evidence.judge
    if not hasattr(judge, "probabilities"):
        raise ValueError(f'the VGGFace score needs a judge that knows people; "{judge.name}" gives embeddings only. '
                         "Give a .safetensors recogniser (train.py --task recogniser).")
    count = min(len(evidence.drawn), len(evidence.faces)) // 5 * 5
    if count < 5:
        raise ValueError(f"the VGGFace score needs 5 clips and 5 faces, there are {len(evidence.drawn)} and "
                         f"{len(evidence.faces)}.")
    results = [class_score(class_probabilities(judge, rows), of=count, seed=settings.seed, judge=evidence.label,
                           name=name)
               for rows, name in ((evidence.drawn, "vggface_score"), (evidence.faces, "vggface_score_real"))]
    words = table([[what, f"{result.value:.2f} ± {result.high - result.value:.2f}"] for what, result in
                   zip(("MODEL", "real faces"), results)], ["pictures", f"score, {count} in 5 splits"])
    return outcome(evidence, results, words, pictures_scored=count, classes=judge.settings.num_people)


def measure_attributes(bench):
    """Agreement of what a reader sees in drawn faces with the truth, by attribute, beside its own limit and control."""
    evidence, settings = evidence_of(bench), bench.settings
    shuffle = shuffled_rows(evidence.clip_people, settings.seed)
    results, rows, pictures = [], [], {}
    for grouping, reader in attribute_readers(evidence).items():
        sides = {"": (reader.labels(evidence.drawn), evidence.clip_people),
                 "_shuffled": (reader.labels(evidence.drawn)[shuffle], evidence.clip_people),
                 "_photographs": (reader.labels(evidence.faces), evidence.face_people)}
        for ending, (answers, people) in sides.items():
            truth = evidence.labels(grouping, people)
            known = [k for k, label in enumerate(truth) if label is not None]
            report = attribute_report([truth[k] for k in known], answers[known].tolist(), people[known],
                                      name=f"attribute_{grouping}{ending}", judge=evidence.label, seed=settings.seed,
                                      rounds=settings.rounds, ordered=grouping == "age")
            results += report.results
            by = {result.name.rsplit(f"{grouping}{ending}_", 1)[1]: result for result in report.results}
            rows.append([grouping, _SIDES[ending], *(interval(by[key]) for key in (
                "agreement", "balanced_accuracy", "majority", "information_bits", "f1")), len(report.classes)])
            if not ending:
                pictures[grouping] = confusion_table(report)
    words = table(rows, ["attribute", "read in", "agreement", "balanced", "majority", "bits", "F1", "classes"])
    words += "".join(f"\n\n{grouping}, rows the truth, columns read in the drawn face:\n\n{text}"
                     for grouping, text in pictures.items())
    return outcome(evidence, results, words, reader="ridge on the judge's embeddings of training faces")


def measure_consistency(bench):
    """Distances of faces within and between speakers, and the share of speakers in the codes of each style layer."""
    evidence, settings = evidence_of(bench), bench.settings
    found = consistency_results(evidence.drawn, evidence.clip_people, judge=evidence.label, seed=settings.seed,
                                rounds=settings.rounds)
    words = table([[result.name.removeprefix("consistency_"), interval(result)] for result in found],
                  ["cosine distance of drawn faces", "value"])
    if evidence.codes is not None:
        share = speaker_share(evidence.codes, evidence.clip_people)
        found += [Result(f"speaker_share_layer{layer:02d}", float(value), None, None, len(evidence.own_people),
                         settings.seed, "analysis of variance of W+") for layer, value in enumerate(share)
                  if np.isfinite(value)]
        words += "\n\n" + table([[layer, f"{value:.3f}"] for layer, value in enumerate(share)],
                                ["style layer", "share of the codes' variance between speakers"])
    return outcome(evidence, found, words)


def measure_ladder(bench):
    """All rungs on the same trials, as a table and a picture."""
    evidence, settings = evidence_of(bench), bench.settings
    found, speaker = ladder_of(bench)
    kept_of(bench)["ladder shown"] = True
    columns = [column for column in found.columns if column.startswith("match")]
    columns += [column for column in found.columns if column.startswith("r")][-1:]
    still = picture_distances(evidence, settings.seed)
    words = found.markdown() + ("\n\nFréchet distance of drawn faces to photographs, by the judge's embeddings: MODEL "
                                f"{still[0].value:.4f}, shuffled voices {still[1].value:.4f}. It looks at the same "
                                "pictures, so it stands still where all numbers above fall to chance.")
    return outcome(evidence, [*found.results(), *still], words, trials=num_trials(settings),
                   speaker_judge=None if speaker is None else judge_label(speaker),
                   pictures={"ladder.png": lambda: picture_of_ladder(found, columns, evidence.label)})


def picture_distances(evidence, seed):
    """Returns the Fréchet distances of drawn faces to candidates, of the model and with shuffled voices.

    The side of the shuffled-voice control that must stand still: what looks at sets of pictures cannot hear a voice.
    """
    sides = {"": evidence.drawn, "_shuffled_voices": evidence.drawn[shuffled_rows(evidence.clip_people, seed)]}
    real = evidence.faces.mean(0), np.cov(evidence.faces, rowvar=False)
    return [Result(f"ladder_model{ending}_frechet",
                   frechet_distance(*real, drawn.mean(0), np.cov(drawn, rowvar=False)),
                   None, None, len(drawn), seed, evidence.label) for ending, drawn in sides.items()]


def ladder_of(bench):
    """Returns (Ladder, speaker recogniser or None) of a bench, climbed once for all metrics."""
    evidence, settings, kept = evidence_of(bench), bench.settings, kept_of(bench)
    if "ladder" not in kept:
        path = settings.options.get("speaker")
        speaker = load_speaker(path, device=bench.device) if path else None
        rungs = build_rungs(evidence, bench.dataset, seed=settings.seed, speaker=speaker)
        kept["ladder"] = climb(rungs, evidence.clip_people, evidence.face_people, strata=build_strata(evidence),
                               judge=evidence.label, trials=num_trials(settings), seed=settings.seed,
                               rounds=settings.rounds), speaker
    return kept["ladder"]


def with_ladder(measure):
    """Returns a metric's function whose table has the ladder below it, unless this run has shown it already."""
    @functools.wraps(measure)
    def measured(bench):
        found, kept = measure(bench), kept_of(bench)
        if kept.get("ladder shown"):
            return found
        kept["ladder shown"] = True
        words = f"{found.table}\n\nThe ladder, every rung on the same trials:\n\n{ladder_of(bench)[0].markdown()}"
        return dataclasses.replace(found, table=words)
    return measured


def picture_of_ladder(ladder, columns, judge):  # -> uint8 [H, W, 3]
    """Returns the plot of a ladder as pixels."""
    from PIL import Image

    file = io.BytesIO()
    plot(ladder, file, columns=columns, title=f"Does the voice matter? The same trials on every rung, judge {judge}")
    return np.asarray(Image.open(file).convert("RGB"))


def confusion_table(report):
    """Returns the confusion of an AttributeReport, rows brought to 1."""
    shares = report.table / np.maximum(report.table.sum(1, keepdims=True), 1)
    return table([[label, *(f"{value:.2f}" for value in row), int(count)] for label, row, count in
                  zip(report.classes, shares, report.table.sum(1))], ["", *report.classes, "n"])


def chance_of(name, count):
    """Returns the chance level of a retrieval Result as text."""
    key = name.split("_", 2)[2]
    if key.startswith("r"):
        k, _, size = key[1:].partition("_of")
        return f"{chance_level(int(size or count), 'r', int(k)):.3f}"
    return f"{chance_level(count, key):.3f}"


def _trials(evidence, direction, settings, *, num_candidates=2, groups=None):
    probes, candidates = evidence.clip_people, evidence.face_people
    if direction == "f2v":
        probes, candidates = candidates, probes
    return draw_trials(probes, candidates, num_candidates=num_candidates, trials=num_trials(settings),
                       seed=settings.seed, groups=groups)


def _scores(drawn, evidence, direction, trials):
    return trial_scores(*((drawn, evidence.faces) if direction == "v2f" else (evidence.faces, drawn)), trials)


_PAIRS = {"model": "MODEL and its person", "model_to_strangers": "MODEL and strangers", "two_people": "two people",
          "one_person": "two photographs of one person"}
_SIDES = {"": "MODEL", "_shuffled": "shuffled voices", "_photographs": "photographs (limit)"}
_NEEDS = ("voice", "dataset")

VOICE_METRICS = {
    "matching": Metric("identity matching 1:2 and N-way, by strata", with_ladder(measure_matching), _NEEDS),
    "verification": Metric("AUC and EER of voice-face pairs, by strata", with_ladder(measure_verification), _NEEDS),
    "retrieval": Metric("R@k, median rank, mAP in a gallery of people", with_ladder(measure_retrieval), _NEEDS),
    "pair_list": Metric("matching or verification on a public list, with its oracles", measure_lists, _NEEDS),
    "feature_similarity": Metric("L1, L2, cosine, angle beside people's own", with_ladder(measure_similarity), _NEEDS),
    "vggface_score": Metric("exp E KL of a classifier of people", with_ladder(measure_class_score), _NEEDS),
    "attributes": Metric("agreement, balanced accuracy, majority, bits", with_ladder(measure_attributes), _NEEDS),
    "landmark_ratios": Metric("craniofacial correlations, pooled, in groups", with_ladder(measure_landmarks), _NEEDS),
    "consistency": Metric("one speaker's clips against other speakers'", with_ladder(measure_consistency), _NEEDS),
    "ladder": Metric("chance, oracles, baselines, MODEL, ceiling on the same trials", measure_ladder, _NEEDS),
    "world_traits": Metric("R² per trait of the drawn world, beside the ceiling", measure_world_traits, _NEEDS),
    "world_unheard": Metric("R² of heard and unheard traits, bias of the skin", with_ladder(measure_unheard), _NEEDS),
    "fairness": Metric("agreement, F1 and matching per group, gaps", with_ladder(measure_fairness), _NEEDS),
}
