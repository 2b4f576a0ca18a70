"""The fairness and transparency report of a run: how the numbers differ between groups of people, and counts."""

import numpy as np

from dnnlib.console import table
from metrics.fairness import LEAST_PEOPLE, LIMIT, MEASURES, class_f1_of, dependence, large_enough, mean_of, measure_gap
from metrics.matching import credit, draw_trials, trial_scores
from torch_utils import distributed
from training.model_card import read_card_text, update_card
from training.voice_readers import attribute_readers
from training.voice_run import evidence_of, interval, outcome
from training.voice_wishes import num_trials
from training.voice_world import heard_of

NO_GROUPS = ("fairness needs a dataset that knows the gender, age or nationality of its people, of two groups or more.")


def measure_fairness(bench):
    """Agreement, F1 and 1:2 matching per group, gaps with intervals, the criterion of 5 points, and counts."""
    card = bench.settings.options.get("update_card")
    if card:
        read_card_text(card)  # before the costly part
    evidence, settings = evidence_of(bench), bench.settings
    singles = [name for name in evidence.groups if "+" not in name]
    if not singles:
        raise ValueError(NO_GROUPS)
    gaps = [*matching_gaps(evidence, singles, settings), *attribute_gaps(evidence, singles, settings)]
    results = [result for gap in gaps for result in (*gap.groups.values(), gap.gap)]
    rows = [[gap.measure, gap.grouping, interval(gap.gap), "" if gap.by_chance is None else f"{gap.by_chance:.3f}",
             gap.verdict] for gap in gaps]
    words = table(rows, ["measure", "groups by", "gap, best less worst", "gap of random groups",
                         f"at most {LIMIT:.0%}"])
    words += "\n\n" + table([[gap.measure, gap.grouping, label, interval(result), result.n] for gap in gaps
                             for label, result in gap.groups.items()],
                            ["measure", "groups by", "group", "value", "people"])
    bias = skin_bias(evidence, settings)
    if bias is not None:
        results.append(bias)
        words += (f"\n\nSkin tone cannot be heard here, so the brightness of the drawn cheeks should not follow the "
                  f"voice: adjusted R² on the audible factors {interval(bias)}, the right answer is 0.")
    words += f"\n\nGroups of fewer than {LEAST_PEOPLE} people are counted, but take no part in gaps."
    words += "\n\n" + counts_table(evidence, singles)
    verdicts = {f"{gap.measure}_{gap.grouping}": gap.verdict for gap in gaps}
    found = outcome(evidence, results, words, criterion=LIMIT, verdicts=verdicts)
    if card and distributed.is_first():
        update_card(card, found.table, {**found.protocol, "seed": settings.seed})
    return found


def matching_gaps(evidence, singles, settings):
    """Yields the Gap of 1:2 matching accuracy (impostors of the same group) for each grouping."""
    for grouping in singles:
        try:
            trials = draw_trials(evidence.clip_people, evidence.face_people, trials=num_trials(settings),
                                 seed=settings.seed, groups=evidence.groups[grouping])
            yield measure_gap((credit(trial_scores(evidence.drawn, evidence.faces, trials)),),
                              evidence.labels(grouping, trials.people[:, 0]), trials.people[:, 0], measure="matching",
                              statistic=mean_of, grouping=grouping, judge=evidence.label, seed=settings.seed,
                              rounds=settings.rounds)
        except ValueError:  # fewer than two groups in which there are two people
            continue


def attribute_gaps(evidence, singles, settings):
    """Yields the Gap of agreement and of F1 for each attribute that can be read, over each grouping."""
    try:
        readers = attribute_readers(evidence)
    except ValueError:
        return
    for attribute, reader in readers.items():
        truth = evidence.labels(attribute, evidence.clip_people)
        known = [k for k, label in enumerate(truth) if label is not None]
        values = (np.array([truth[k] for k in known]), reader.labels(evidence.drawn)[known].astype(str))
        people = evidence.clip_people[known]
        for grouping in singles:
            labels = evidence.labels(grouping, people)
            if len({label for label, kept in zip(labels, large_enough(labels, people)) if kept}) < 2:
                continue
            for measure, statistic in MEASURES.items():
                own = grouping == attribute and measure == "f1"
                yield measure_gap(values, labels, people, measure=f"{attribute}_{measure}",
                                  statistic=class_f1_of if own else statistic, grouping=grouping, judge=evidence.label,
                                  seed=settings.seed, rounds=settings.rounds)


def skin_bias(evidence, settings):
    """Returns how far the brightness of drawn cheeks follows the audible factors, None where these are not known."""
    factors = heard_of(evidence)
    if factors is None:
        return None
    return dependence(evidence.cheeks, factors, evidence.clip_people, name="skin_bias_r2",
                      judge="brightness of the cheeks", seed=settings.seed, rounds=settings.rounds)


def counts_table(evidence, singles):
    """Returns a table of how many people and clips each group has."""
    rows = []
    for grouping in singles:
        own = evidence.labels(grouping, evidence.own_people)
        clips = evidence.labels(grouping, evidence.clip_people)
        rows += [[grouping, "unknown" if label is None else label, own.count(label), clips.count(label)]
                 for label in sorted(set(own), key=str)]
    return table(rows, ["groups by", "group", "people", "clips"])
