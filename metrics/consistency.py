"""Does one speaker always get one face, and another speaker another? Distances within and between, in two spaces."""

import numpy as np

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result
from metrics.retrieval import mean_by_person
from torch_utils.random_streams import numpy_stream

_MOST_PAIRS = 20000


def consistency_results(embeddings, people, *, judge, name="consistency", seed=0, rounds=ROUNDS):
    """Returns Results: mean cosine distance between clips of one speaker, of two speakers, and their ratio.

    A ratio of 1 (and the shuffled control) says that the face follows the recording, not the speaker; 0 that all clips
    of a speaker give one face. A model that draws one face for everybody has no ratio: ValueError.
    `embeddings` [N, K] of unit length; people with one clip take part in the second number only.
    """
    embeddings, people = np.asarray(embeddings, np.float64), np.asarray(people)
    within, between = pairs_of(people, numpy_stream(seed, "consistency"))
    if not len(within) or not len(between):
        raise ValueError("the consistency ratio needs two people, and two clips of one of them (--clips-per 2).")

    def distances(pairs):
        return 1 - (embeddings[pairs[:, 0]] * embeddings[pairs[:, 1]]).sum(1)

    own, other = distances(within), distances(between)
    if other.mean() < 1e-9:
        raise ValueError("all voices give the same face, so there is no consistency ratio.")
    values = np.concatenate([own, other])
    kind = np.repeat([True, False], [len(own), len(other)])
    clusters = people[np.concatenate([within, between])]
    found = []
    for key, measure in (("within", lambda v, k: v[k].mean()), ("between", lambda v, k: v[~k].mean()),
                         ("ratio", lambda v, k: v[k].mean() / max(v[~k].mean(), 1e-12))):
        low, high = clustered_interval((values, kind), clusters, _if_both(measure), seed, rounds)
        found.append(Result(f"{name}_{key}", float(measure(values, kind)), low, high, len(np.unique(people)), seed,
                            judge))
    return found


def pairs_of(people, random, *, most=_MOST_PAIRS):  # [N] -> int [P, 2], int [Q, 2]
    """Returns the pairs of rows of one person, and a random choice of pairs of two people, at most `most` of each."""
    people = np.asarray(people)
    within = []
    for person in dict.fromkeys(people.tolist()):
        rows = np.flatnonzero(people == person)
        within += [(a, b) for place, a in enumerate(rows) for b in rows[place + 1:]]
    within = np.array(within, int).reshape(-1, 2)
    if len(within) > most:
        within = within[random.permutation(len(within))[:most]]
    drawn = random.integers(0, len(people), (2 * most, 2))
    return within, drawn[people[drawn[:, 0]] != people[drawn[:, 1]]][:most]


def speaker_share(codes, people):  # [N, L, D], [N] -> [L]
    """Returns per style layer how much of the variance of the codes lies between speakers rather than clips of one.

    1 - (mean square within) / (mean square overall), both unbiased: the intraclass correlation of one-way analysis of
    variance, summed over the D coordinates. 0 for a layer that hears the recording only; NaN for a layer that never
    varies. ValueError unless somebody has two clips and there are two people.
    """
    codes, people = np.asarray(codes, np.float64), np.asarray(people)
    count, layers = len(codes), codes.shape[1]
    flat = codes.reshape(count, -1)
    means, names = mean_by_person(flat, people, unit=False)
    sizes = np.array([(people == name).sum() for name in names])
    if len(names) < 2 or count == len(names):
        raise ValueError("the share of speakers needs two people, and two clips of one of them (--clips-per 2).")
    place = np.searchsorted(names, people)
    within = np.square(flat - means[place]).sum(0) / (count - len(names))
    between = (sizes[:, None] * np.square(means - flat.mean(0))).sum(0) / (len(names) - 1)
    typical = (count - np.square(sizes).sum() / count) / (len(names) - 1)  # clips a person, corrected for unequal sizes
    within, between = (part.reshape(layers, -1).sum(1) for part in (within, between))
    speaker = (between - within) / typical
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(speaker + within > 0, speaker / (speaker + within), np.nan)


def explained_variance(codes, truth, mean):  # [N, L, D], [N, L, D], [1, L, D] -> [L]
    """Returns R² per style layer of codes against known ones, relative to the mean latent: 0 is the mean face."""
    codes, truth, mean = (np.asarray(part, np.float64) for part in (codes, truth, mean))
    spread = np.square(truth - mean).sum((0, 2))
    if not (spread > 0).all():
        raise ValueError("R² needs codes that differ from the mean latent; in some layer all of them equal it.")
    return 1 - np.square(truth - codes).sum((0, 2)) / spread


def _if_both(measure):
    return lambda values, kind: measure(values, kind) if 0 < kind.sum() < len(kind) else np.nan
