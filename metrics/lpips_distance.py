"""Distances of pairs of pictures: which pairs are drawn, and the mean with its interval."""

import numpy as np

from torch_utils.random_streams import numpy_stream


def random_pairs(count, most, *, seed):  # -> int64 [N, 2]
    """Returns disjoint random pairs of the numbers 0 to count - 1, made of at most `most` of them.

    Disjoint pairs are independent, so that an interval over pairs means something.
    """
    if min(count, most) < 2:
        raise ValueError(f"a pair needs two pictures, got {min(count, most)}.")
    order = numpy_stream(seed, "pairs").permutation(count)[:most - most % 2]
    return order[:len(order) - len(order) % 2].reshape(-1, 2)


def bootstrap_mean(values, *, seed, rounds=200):  # [N] -> (mean, low, high)
    """Returns the mean of independent values and its 95 % bootstrap interval; (mean, None, None) without rounds."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a distance is not a finite number; a picture or the judge is damaged.")
    value = float(values.mean())
    if rounds < 2 or len(values) < 2:
        return value, None, None
    random = numpy_stream(seed, "bootstrap of a mean")
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(rounds)]
    low, high = np.percentile(means, [2.5, 97.5])
    return value, float(low), float(high)
