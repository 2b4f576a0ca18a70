"""Intervals that know how many people there are: whole people are drawn again, never single trials.

Ten thousand trials of 250 people carry the information of 250 people, so an interval over trials would be far too
narrow. Where a trial has two people in it (a probe and an impostor), both are drawn again.
"""

import numpy as np

from torch_utils.random_streams import numpy_stream

ROUNDS = 1000
LEVEL = 0.95
_USABLE = 0.5  # the share of rounds in which the statistic must exist
_WEIGHTS_AT_ONCE = 4_000_000


def mean(values):
    """Returns the mean over the first axis; `clustered_interval` computes it without repeating rows."""
    return np.asarray(values, np.float64).mean(0)


def weighted_mean(values, weights):
    """Returns the mean of rows that count `weights` times."""
    return float(weights @ values / weights.sum()) if weights.any() else np.nan


def clustered_interval(values, clusters, statistic=mean, seed=0, rounds=ROUNDS, *, weighted=False):
    """Returns the 95 % percentile interval (low, high) of `statistic(values)`, drawing whole clusters (people) again.

    `values` is an array [N, ...] or a tuple of such arrays, which `statistic` then gets one by one; it returns one
    number, NaN where it does not exist. `clusters` [N] says to whom a row belongs; with [N, 2] a row belongs to two
    people and weighs the product of how often each was drawn (once if both are the same): the bootstrap of pairs.
    With `weighted` the rows stay and `statistic` gets their weights (how often each occurs) as its last argument.
    (None, None) when there are fewer than two clusters, the statistic exists in fewer than half of the rounds, or
    `rounds` is 0.
    """
    samples = clustered_samples(values, clusters, statistic, seed, rounds, weighted=weighted)
    if len(samples) < max(1, _USABLE * rounds):
        return None, None
    low, high = np.percentile(samples, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def clustered_samples(values, clusters, statistic=mean, seed=0, rounds=ROUNDS, *, weighted=False):
    """Returns the statistic of each round in which it exists [R]; what `clustered_interval` takes percentiles of."""
    arrays = tuple(np.asarray(array) for array in (values if isinstance(values, tuple) else (values,)))
    codes, count = _codes(clusters, arrays)
    if count < 2 or rounds < 1:
        return np.empty(0)
    random = numpy_stream(seed, "bootstrap")
    if statistic is mean and len(arrays) == 1 and arrays[0].ndim == 1:
        if codes.shape[1] == 1:
            return _means_of_clusters(arrays[0].astype(np.float64), codes[:, 0], count, random, rounds)
        statistic, weighted, arrays = weighted_mean, True, (arrays[0].astype(np.float64),)
    samples = np.array([_once(arrays, codes, count, statistic, random, weighted) for _ in range(rounds)], np.float64)
    return samples[np.isfinite(samples)]


def row_weights(codes, drawn):  # int [N, 1 or 2], int [P] -> int [N]
    """Returns how often each row occurs when person p was drawn `drawn[p]` times."""
    weights = drawn[codes[:, 0]]
    if codes.shape[1] == 2:
        weights = np.where(codes[:, 0] == codes[:, 1], weights, weights * drawn[codes[:, 1]])
    return weights


def people_codes(clusters):  # [N] or [N, 2] labels -> (int [N, 1 or 2], number of people)
    """Returns labels as numbers 0..P-1, the same person the same number in both columns."""
    labels = np.asarray(clusters)
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] not in (1, 2)) or not labels.size:
        raise ValueError(f"clusters are one label a row, or two ([N] or [N, 2]) with N of 1 or more, "
                         f"got {labels.shape}.")
    names, codes = np.unique(labels, return_inverse=True)
    return codes.reshape(len(labels), -1), len(names)


def _codes(clusters, arrays):
    codes, count = people_codes(clusters)
    for array in arrays:
        if array.ndim < 1 or len(array) != len(codes):
            raise ValueError(f"values have the shape {array.shape}, clusters {len(codes)} rows; "
                             "there must be one cluster label for each value.")
    return codes, count


def _once(arrays, codes, count, statistic, random, weighted):
    weights = row_weights(codes, np.bincount(random.integers(0, count, count), minlength=count))
    if weighted:
        return float(statistic(*arrays, weights))
    rows = np.repeat(np.arange(len(weights)), weights)
    return float(statistic(*(array[rows] for array in arrays))) if len(rows) else np.nan


def _means_of_clusters(values, codes, count, random, rounds):
    sums, sizes = np.bincount(codes, values, count), np.bincount(codes, minlength=count)
    samples = []
    at_once = max(1, _WEIGHTS_AT_ONCE // count)
    for start in range(0, rounds, at_once):
        drawn = random.multinomial(count, np.full(count, 1 / count), size=min(at_once, rounds - start))
        samples.append((drawn @ sums) / (drawn @ sizes))
    return np.concatenate(samples)
