"""Is the tool as good for one group of people as for another? Numbers per group, gaps with intervals, a verdict.

The gap is the best group's number minus the worst group's. It can only be 0 or more, so noise alone makes one, and the
bootstrap's gaps are larger still; the gap that people dealt to groups at random would show stands beside it. Neither
verdict may come from noise, so the interval is careful on both sides: its upper end is the percentile (too high), its
lower end 2·gap - percentile, which takes the upward bias off. The criterion is met when the whole interval lies within
the limit, not met when it lies beyond, otherwise it is undecided: too few people to know.
"""

import dataclasses
import functools

import numpy as np

from metrics.bootstrap import LEVEL, ROUNDS, clustered_interval, clustered_samples
from metrics.result import Result
from torch_utils.random_streams import numpy_stream

LIMIT = 0.05
LEAST_PEOPLE = 10  # a smaller group says nothing, and its noise would be the gap
MET, NOT_MET, UNDECIDED = "met", "not met", "undecided"
_DEALS = 200


@dataclasses.dataclass(frozen=True)
class Gap:
    """One measure over the groups of one grouping: a Result a group, the gap, its verdict, the gap of chance."""

    measure: str
    grouping: str
    groups: dict  # label -> Result
    gap: Result
    by_chance: float | None  # None where dealing means nothing (groups that are the attribute)
    verdict: str


def agreement_of(truth, answers, weights, mine):
    """Returns the share of answers that equal the truth, among `mine`."""
    return _ratio(weights, mine & (truth == answers), mine)


def f1_of(truth, answers, weights, mine):
    """Returns, among `mine`, the mean over the classes in the truth of F1 = 2·right/(in truth + in answers)."""
    scores = [2 * _sum(weights, mine & (truth == label) & (answers == label))
              / (_sum(weights, mine & (truth == label)) + _sum(weights, mine & (answers == label)))
              for label in np.unique(truth[mine & (weights > 0)])]
    return float(np.mean(scores)) if scores else np.nan


def class_f1_of(truth, answers, weights, mine):
    """Returns the F1 of the class that `mine` are, against everybody else: for groups that are the attribute itself."""
    answered = answers == truth[mine][0]
    total = _sum(weights, mine) + _sum(weights, answered)
    return 2 * _sum(weights, mine & answered) / total if total else np.nan


def mean_of(values, weights, mine):
    """Returns the mean among `mine`, for numbers such as the credit of trials."""
    total = _sum(weights, mine)
    return float(weights[mine] @ values[mine] / total) if total else np.nan


MEASURES = {"agreement": agreement_of, "f1": f1_of}


def measure_gap(values, labels, people, *, measure, statistic, grouping, judge, seed=0, rounds=ROUNDS, limit=LIMIT):
    """Returns the Gap of `statistic(*values, weights, mine)` between groups; `labels` [N], None takes no part.

    `values` is a tuple of arrays [N]; `people` [N] are drawn again for intervals. Groups of fewer than `LEAST_PEOPLE`
    take no part either. ValueError with less than two groups.
    """
    known = large_enough(labels, people)
    labels = np.array([str(label) for label in labels])[known]
    people, values = np.asarray(people)[known], tuple(np.asarray(array)[known] for array in values)
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(f'a gap needs two groups of {LEAST_PEOPLE} people or more; "{grouping}" has {len(names)}.')
    codes = np.searchsorted(names, labels)

    def gap_of(*arrays, codes=codes):
        numbers = np.array([statistic(*arrays, codes == code) for code in range(len(names))])
        return numbers.max() - numbers.min() if np.isfinite(numbers).all() else np.nan

    whole, groups = np.ones(len(codes)), {}
    for code, name in enumerate(names):
        mine = codes == code
        low, high = clustered_interval(values, people, functools.partial(_among, statistic, mine), seed, rounds,
                                       weighted=True)
        groups[str(name)] = Result(f"{measure}_{grouping}_{name}", statistic(*values, whole, mine), low, high,
                                   len(np.unique(people[mine])), seed, judge)
    value = float(gap_of(*values, whole))
    low, high = _careful(value, clustered_samples(values, people, gap_of, seed, rounds, weighted=True), rounds)
    result = Result(f"{measure}_{grouping}_gap", value, low, high, len(np.unique(people)), seed, judge)
    chance = None if statistic is class_f1_of else _chance_gap(
        lambda dealt: gap_of(*values, whole, codes=dealt), codes, people, seed)
    return Gap(measure, grouping, groups, result, chance, verdict(result, limit))


def large_enough(labels, people):  # [N], [N] -> bool [N]
    """Returns which rows belong to a known group of at least `LEAST_PEOPLE` people."""
    members = {}
    for label, person in zip(labels, np.asarray(people).tolist()):
        members.setdefault(label, set()).add(person)
    return np.array([label is not None and len(members[label]) >= LEAST_PEOPLE for label in labels])


def verdict(gap, limit=LIMIT):
    """Returns "met", "not met" or "undecided" from the interval of a gap."""
    if gap.low is None:
        return UNDECIDED
    return MET if gap.high <= limit else NOT_MET if gap.low > limit else UNDECIDED


def dependence(values, factors, people, *, name, judge, seed=0, rounds=ROUNDS):
    """Returns how far a number that nobody can hear follows what can be heard, as a Result: adjusted R².

    `values` [N] (the skin tone of drawn faces, say), `factors` [N, F] of the voices. Where the truth knows no link, the
    right answer is 0, so this is a measured bias; a face that no voice changes has none (0). Adjusted for the number of
    factors, so that noise gives 0 on average.
    """
    values, factors = np.asarray(values, np.float64), np.asarray(factors, np.float64)
    if values.ndim != 1 or factors.ndim != 2 or len(values) != len(factors) or len(values) < factors.shape[1] + 3:
        raise ValueError(f"a dependence needs one number and F factors a person, and at least F + 3 people; "
                         f"got {values.shape} and {factors.shape}.")
    low, high = clustered_interval((values, factors), people, _adjusted, seed, rounds)
    return Result(name, _adjusted(values, factors), low, high, len(np.unique(people)), seed, judge)


def _adjusted(values, factors):
    centred, design = values - values.mean(), factors - factors.mean(0)
    spread = centred @ centred
    freedom = len(values) - factors.shape[1] - 1
    if spread <= 1e-12 * max(1.0, float(values @ values)):
        return 0.0
    left = centred - design @ np.linalg.lstsq(design, centred, rcond=None)[0]
    return float(1 - (left @ left / freedom) / (spread / (len(values) - 1)))


def _careful(value, samples, rounds):
    if len(samples) < max(1, rounds / 2):
        return None, None
    high = float(np.percentile(samples, 50 * (1 + LEVEL)))
    return max(0.0, min(value, 2 * value - high)), max(value, high)


def _chance_gap(gap_of, codes, people, seed):
    """Returns the mean gap when people are dealt to groups of the same sizes at random."""
    names, owner = np.unique(people, return_inverse=True)
    own = np.zeros(len(names), int)
    own[owner.ravel()] = codes
    random = numpy_stream(seed, "groups by chance")
    gaps = np.array([gap_of(own[random.permutation(len(names))][owner.ravel()]) for _ in range(_DEALS)])
    return float(gaps[np.isfinite(gaps)].mean()) if np.isfinite(gaps).any() else None


def _among(statistic, mine, *arrays):
    return statistic(*arrays, mine)


def _sum(weights, mask):
    return float(weights[mask].sum())


def _ratio(weights, part, whole):
    total = _sum(weights, whole)
    return _sum(weights, part) / total if total else np.nan
