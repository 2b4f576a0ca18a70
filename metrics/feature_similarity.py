"""How near are drawn faces to the people's real faces in a recogniser's space, beside how near people are at all.

A cosine means nothing by itself: some recognisers give 0.6 to strangers. So every number stands beside the same number
for strangers (the faces dealt to other people) and for two photographs of one person.
"""

import numpy as np

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result
from torch_utils.random_streams import numpy_stream

MEASURES = ("l1", "l2", "cosine", "angle_deg")


def similarities(first, second):  # [N, K], [N, K] -> name -> [N]
    """Returns, row by row: L1 (sum of |difference|), L2 (length of the difference), cosine, angle in degrees.

    L1 and L2 are of rows brought to unit length, so they do not depend on a recogniser's scale.
    """
    first, second = (_unit(np.asarray(rows, np.float64)) for rows in (first, second))
    if first.shape != second.shape:
        raise ValueError(f"pairs of embeddings have one shape, got {first.shape} and {second.shape}.")
    cosine = np.clip((first * second).sum(1), -1, 1)
    difference = first - second
    return {"l1": np.abs(difference).sum(1), "l2": np.linalg.norm(difference, axis=1), "cosine": cosine,
            "angle_deg": np.degrees(np.arccos(cosine))}


def similarity_results(first, second, people, *, judge, name="similarity", seed=0, rounds=ROUNDS):
    """Returns the means of all MEASURES as Results; `people` [N] are whom the pairs are about, n counts them."""
    found = []
    for key, values in similarities(first, second).items():
        low, high = clustered_interval(values, people, seed=seed, rounds=rounds)
        found.append(Result(f"{name}_{key}", float(values.mean()), low, high, len(np.unique(people)), seed, judge))
    return found


def class_score(probabilities, *, splits=5, of=None, seed=0, judge, name="vggface_score"):  # [N, P]
    """Returns the VGGFace score exp(E KL(p(y|x) ‖ p(y))) as a Result: mean over splits, ± one deviation as interval.

    The inception score with a classifier of identities: 1 when all pictures look like the same people, at most the
    number of people, and at most the size of a split; so it depends on n, which is why `of` pictures (a multiple of
    `splits`) are drawn by `seed` and stated. Zero probabilities add nothing, as 0·log 0 = 0.
    """
    table = np.asarray(probabilities, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all() or (table < 0).any():
        raise ValueError(f"probabilities are [N, P], finite and not negative, got {table.shape}.")
    if not np.allclose(table.sum(1), 1, atol=1e-3):
        raise ValueError("the rows of a table of probabilities add up to 1; these do not (logits, perhaps?).")
    count = of or len(table) // splits * splits
    if splits < 1 or count % splits or not splits <= count <= len(table):
        raise ValueError(f"{count} of {len(table)} pictures cannot be cut into {splits} equal splits; "
                         f"give a multiple of {splits}, at most {len(table)}.")
    table = table[numpy_stream(seed, "class score").permutation(len(table))[:count]]
    scores = np.array([_one_score(part) for part in np.split(table, splits)])
    spread = scores.std() if splits > 1 else None
    low, high = (None, None) if spread is None else (float(scores.mean() - spread), float(scores.mean() + spread))
    return Result(name, float(scores.mean()), low, high, count, seed, judge)


def _one_score(table):
    table = table / table.sum(1, keepdims=True)
    mean = table.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(table > 0, table * (np.log(table) - np.log(mean)), 0.0)
    return float(np.exp(terms.sum(1).mean()))


def _unit(rows):
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"embeddings are [N, K] and finite, got {rows.shape}.")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"{int((length == 0).sum())} embeddings are all zero and have no direction.")
    return rows / length
