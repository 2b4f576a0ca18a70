"""KID: the unbiased squared maximum mean discrepancy with a cubic kernel (Demystifying MMD GANs, 2018)."""

import numpy as np

SUBSETS, SUBSET_SIZE = 100, 1000


def cubic_kernel(x, y):  # [N, K], [M, K] -> [N, M]
    """Returns (x·y / K + 1)³."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def mmd2(x, y):  # [N, K], [M, K] -> float
    """Returns the unbiased estimate of MMD²: means of the kernel within each set, without the diagonals, minus twice
    the mean between the sets. Its expectation is exactly 0 for two sets of one law; single values may lie below 0.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"KID needs 2 or more pictures a side, got {len(x)} and {len(y)}.")

    def within(kernel):
        count = len(kernel)
        return (kernel.sum() - np.trace(kernel)) / (count * (count - 1))

    return float(within(cubic_kernel(x, x)) + within(cubic_kernel(y, y)) - 2 * cubic_kernel(x, y).mean())


def kid(real, generated, *, seed, subsets=SUBSETS, subset_size=SUBSET_SIZE):  # [N, K], [M, K] -> (value, low, high)
    """Returns the mean of `mmd2` over random subsets (as NVIDIA's kid50k_full, but seeded) and its 95 % interval.

    The interval: the spread of the subset values, scaled by √(subset size / n) to that of all n pictures.
    """
    from torch_utils.random_streams import numpy_stream

    size = min(len(real), len(generated), subset_size)
    values = []
    for index in range(subsets):
        random = numpy_stream(seed, "kid", index)
        pick_real = np.sort(random.choice(len(real), size, replace=False))
        pick_generated = np.sort(random.choice(len(generated), size, replace=False))
        values.append(mmd2(np.asarray(real[pick_real], np.float64), np.asarray(generated[pick_generated], np.float64)))
    value, error = float(np.mean(values)), float(np.std(values, ddof=1)) if subsets > 1 else 0.0
    reach = 1.96 * error * np.sqrt(size / min(len(real), len(generated)))
    return value, float(value - reach), float(value + reach)
