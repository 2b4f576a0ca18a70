"""Retrieval: where in a gallery of people does the right one come? R@k, median rank, log2(N/rank), mAP.

The gallery holds one row a person (the mean of all pictures), so that nobody is in it twice. Ties are resolved by
expectation: the right row stands at any place among its equals with the same probability.
"""

import numpy as np
from scipy.stats import hypergeom

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result

RANKS = (1, 5, 10, 50)
_SCORES_AT_ONCE = 4_000_000


def mean_by_person(embeddings, people, *, unit=True):  # [N, K], [N] -> [P, K], [P]
    """Returns one row a person, the mean of that person's rows (of unit length if `unit`), and the people in order."""
    names, codes = np.unique(np.asarray(people), return_inverse=True)
    sums = np.zeros((len(names), embeddings.shape[1]))
    np.add.at(sums, codes.ravel(), embeddings)
    means = sums / np.bincount(codes.ravel())[:, None]
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12) if unit else means), names


def places(queries, gallery, right):  # [Q, K], [N, K], int [Q] -> (better [Q], tied [Q])
    """Returns how many gallery rows score higher than the right one, and how many score the same (itself included)."""
    better, tied = np.empty(len(queries), int), np.empty(len(queries), int)
    step = max(1, _SCORES_AT_ONCE // len(gallery))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        scores = queries[part] @ gallery.T
        if not np.isfinite(scores).all():
            raise ValueError("scores of a retrieval are NaN or infinite; look at the embeddings.")
        own = np.take_along_axis(scores, right[part, None], 1)
        better[part], tied[part] = (scores > own).sum(1), (scores == own).sum(1)
    return better, tied


def rows_of(people, gallery_people):  # [Q], [N] -> int [Q]
    """Returns the gallery row of each query's person; ValueError when somebody is not in the gallery."""
    place = {person: row for row, person in enumerate(np.asarray(gallery_people).tolist())}
    if missing := sorted({person for person in np.asarray(people).tolist() if person not in place}, key=str):
        raise ValueError(f"{len(missing)} people who are asked for are not in the gallery (first: {missing[0]}).")
    return np.array([place[person] for person in np.asarray(people).tolist()])


def recall(better, tied, k, *, num_gallery=None, of_size=None):  # [Q], [Q] -> [Q]
    """Returns the probability that the right one is among the best k, over the order of equals.

    With `of_size`: in a random part of the gallery of that size which holds the right one (exact, hypergeometric), so
    that numbers of galleries of different sizes can be compared.
    """
    if of_size is None:
        return np.clip((k - better) / tied, 0, 1)
    if not 2 <= of_size <= num_gallery:
        raise ValueError(f"a part of {of_size} of a gallery of {num_gallery} was asked for; give 2 to {num_gallery}.")
    table = hypergeom.cdf(k - 1, num_gallery - 1, np.arange(num_gallery), of_size - 1)  # by the number ahead
    total = np.concatenate([[0.0], np.cumsum(table)])
    return (total[better + tied] - total[better]) / tied


def retrieval_results(queries, people, gallery, gallery_people, *, judge, name="retrieval", seed=0, rounds=ROUNDS,
                      ranks=RANKS, of_size=None):
    """Returns Results R@k, median rank, mean log2(N/rank), mAP and the gallery size; intervals draw people again.

    `queries` [Q, K] belong to `people` [Q]; `gallery` [N, K] has one row a person.
    """
    if len(np.unique(gallery_people)) != len(gallery_people):
        raise ValueError("somebody is in the gallery twice; give one row a person (mean_by_person).")
    better, tied = places(queries, gallery, rows_of(people, gallery_people))
    count, num_people = len(gallery), len(np.unique(people))
    rank = better + (tied + 1) / 2
    values = {f"r{k}": recall(better, tied, k) for k in ranks if k <= count}
    if of_size is not None and of_size <= count:
        values |= {f"r{k}_of{of_size}": recall(better, tied, k, num_gallery=count, of_size=of_size)
                   for k in ranks if k <= of_size}
    values |= {"log2_gain": np.log2(count) - expected_log2_rank(better, tied),
               "map": expected_reciprocal_rank(better, tied)}
    found = []
    for key, each in values.items():
        low, high = clustered_interval(each, people, seed=seed, rounds=rounds)
        found.append(Result(f"{name}_{key}", float(each.mean()), low, high, num_people, seed, judge))
    low, high = clustered_interval(rank, people, np.median, seed, rounds)
    found.append(Result(f"{name}_median_rank", float(np.median(rank)), low, high, num_people, seed, judge))
    found.append(Result(f"{name}_gallery", float(count), None, None, num_people, seed, judge))
    return found


def expected_log2_rank(better, tied):  # [Q], [Q] -> [Q]
    """Returns the mean of log2(rank) over the order of equals."""
    return _mean_over_ties(np.log2, better, tied)


def expected_reciprocal_rank(better, tied):  # [Q], [Q] -> [Q]
    """Returns the mean of 1/rank over the order of equals: the average precision of one right row."""
    return _mean_over_ties(lambda rank: 1 / rank, better, tied)


def chance_level(count, key, k=None):
    """Returns what a coin reaches in a gallery of `count`: "r" (k/N), "map" (harmonic), "log2_gain", "median_rank"."""
    places_in_row = np.arange(1, count + 1)
    return {"r": lambda: min(1.0, k / count), "map": lambda: float((1 / places_in_row).mean()),
            "log2_gain": lambda: float(np.log2(count) - np.log2(places_in_row).mean()),
            "median_rank": lambda: (count + 1) / 2}[key]()


def average_precision(scores, relevant):  # [M], bool [M] -> float
    """Returns the average precision of one query with several right rows, expected over the order of equals.

    Within t equals of which r are right, after G rows of which R are right, the row at place j of them is right with
    r/t, and then R + 1 + (j - 1)(r - 1)/(t - 1) of the first G + j are.
    """
    scores, relevant = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if scores.shape != relevant.shape or scores.ndim != 1 or not relevant.any() or not np.isfinite(scores).all():
        raise ValueError("average precision needs one finite score and one label a row, at least one of them right; "
                         f"got {scores.shape} and {relevant.shape}, {int(relevant.sum())} right.")
    order = np.argsort(-scores, kind="stable")
    scores, relevant = scores[order], relevant[order]
    start = np.flatnonzero(np.append(True, np.diff(scores) != 0))
    sizes = np.diff(np.append(start, len(scores)))
    right = np.add.reduceat(relevant.astype(float), start)
    before = np.cumsum(right) - right
    step = np.where(sizes > 1, (right - 1) / np.maximum(sizes - 1, 1), 0)
    place = np.arange(len(scores)) - np.repeat(start, sizes)  # j - 1
    hits = np.repeat(before, sizes) + 1 + place * np.repeat(step, sizes)
    return float((np.repeat(right / sizes, sizes) * hits / np.arange(1, len(scores) + 1)).sum() / relevant.sum())


def mean_average_precision(queries, people, gallery, gallery_people):  # -> [Q]
    """Returns the average precision of each query in a gallery with several rows a person."""
    people, owners = np.asarray(people), np.asarray(gallery_people)
    return np.array([average_precision(gallery @ query, owners == person) for query, person in zip(queries, people)])


def _mean_over_ties(function, better, tied):
    table = np.concatenate([[0.0], np.cumsum(function(np.arange(1, int((better + tied).max()) + 1)))])
    return (table[better + tied] - table[better]) / tied
