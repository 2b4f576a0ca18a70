"""Verification: does this voice belong to this face? AUC and equal error rate of scores of pairs."""

import numpy as np

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result


def roc_curve(scores, labels):  # [N], [N] of True for "same person" -> (false positive rate, true positive rate)
    """Returns the corners of the ROC curve from (0, 0) to (1, 1); equal scores are accepted together.

    Between two corners the curve is straight: what a coin toss among equal scores would give.
    """
    scores, labels = _checked(scores, labels)
    return SortedPairs(scores, labels).curve(np.ones(len(scores)))


class SortedPairs:
    """Pairs sorted by score once, for ROC curves of many different weights of the same pairs."""

    def __init__(self, scores, labels):
        self.order = np.argsort(-scores, kind="stable")
        self.ends = np.flatnonzero(np.append(np.diff(scores[self.order]) != 0, True))
        self.labels = labels[self.order].astype(np.float64)

    def curve(self, weights):  # [N] -> false positive rate, true positive rate; None where one kind of pairs is missing
        """Returns the corners of the ROC curve of pairs that count `weights` times."""
        weights = weights[self.order]
        positives, everything = (np.cumsum(part)[self.ends] for part in (weights * self.labels, weights))
        negatives = everything - positives
        if not (positives[-1] > 0 and negatives[-1] > 0):
            return None
        return (np.concatenate([[0.0], negatives / negatives[-1]]), np.concatenate([[0.0], positives / positives[-1]]))


def area_under_curve(scores, labels):  # [N], [N] -> float
    """Returns P(a pair of one person scores higher than a pair of two), ties counting half. 0.5 is chance."""
    return _area(*roc_curve(scores, labels))


def _area(false_rate, true_rate):
    return float(np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2))


def equal_error_rate(scores, labels):  # [N], [N] -> float
    """Returns the error where as many impostors are accepted as true pairs refused, interpolated on the ROC curve."""
    return _equal_error(*roc_curve(scores, labels))


def _equal_error(false_rate, true_rate):
    excess = false_rate - (1 - true_rate)  # from -1 to 1, never falling
    k = int(np.argmax(excess >= 0))
    step = excess[k] - excess[k - 1]
    return float(false_rate[k - 1] + (false_rate[k] - false_rate[k - 1]) * (-excess[k - 1] / step))


def verification_results(scores, labels, people, *, judge, name="verification", seed=0, rounds=ROUNDS):
    """Returns the Results `<name>_auc` and `<name>_eer`, their intervals by drawing people again.

    `people` [N, 2] are the two people of each pair (voice, face); `n` counts the people.
    """
    scores, labels = _checked(scores, labels)
    people = np.asarray(people)
    if people.shape != (len(scores), 2):
        raise ValueError(f"people of pairs are [N, 2] with N = {len(scores)}, got {people.shape}.")
    found, pairs = [], SortedPairs(scores, labels)

    def weighted(measure):
        def of(_, weights):
            curve = pairs.curve(weights)
            return np.nan if curve is None else measure(*curve)
        return of

    for key, measure in (("auc", _area), ("eer", _equal_error)):
        value = measure(*pairs.curve(np.ones(len(scores))))
        low, high = clustered_interval(scores, people, weighted(measure), seed, rounds, weighted=True)
        found.append(Result(f"{name}_{key}", value, low, high, len(np.unique(people)), seed, judge))
    return found


def _checked(scores, labels):
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels are one number a pair, got {scores.shape} and {labels.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are NaN or infinite.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels of pairs are 1 (one person) or 0 (two people).")
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        raise ValueError(f"all {len(labels)} pairs have the same label; AUC and EER need pairs of one person "
                         "and pairs of two.")
    return scores, labels
