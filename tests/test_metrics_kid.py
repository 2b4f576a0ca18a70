"""Laws of KID: closed form on discrete laws, no bias, agreement with clean-fid's sum."""

import itertools

import numpy as np
import pytest

from metrics.kid import cubic_kernel, kid, mmd2


def test_the_estimate_averaged_over_all_samples_is_the_exact_discrepancy():
    """Two laws on three points: every sample of 2 and 2 with its probability; E k(x,x') + E k(y,y') - 2 E k(x,y)."""
    points = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.1, 0.6, 0.3])
    kernel = cubic_kernel(points, points)
    exact = p @ kernel @ p + q @ kernel @ q - 2 * p @ kernel @ q
    mean = sum(p[a] * p[b] * q[c] * q[d] * mmd2(points[[a, b]], points[[c, d]])
               for a, b, c, d in itertools.product(range(3), repeat=4))
    assert mean == pytest.approx(exact, rel=1e-12) and exact > 0.1


def test_halves_of_one_set_differ_by_nothing_on_average():
    random = np.random.default_rng(0)
    values = [mmd2(x[:60], x[60:]) for x in random.standard_normal([400, 120, 4])]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error and min(values) < 0 < max(values)


def test_the_interval_covers_zero_for_halves_and_the_value_grows_with_a_shift():
    x = np.random.default_rng(1).standard_normal([2000, 8]).astype(np.float32)
    value, low, high = kid(x[:1000], x[1000:], seed=0, subsets=20, subset_size=200)
    assert low < 0 < high and abs(value) < 0.02
    shifted = [kid(x[:1000], x[1000:] + shift, seed=0, subsets=20, subset_size=200)[0] for shift in (0.2, 0.5, 1.0)]
    assert value < shifted[0] < shifted[1] < shifted[2]


def test_it_equals_clean_fids_sum_on_whole_sets():
    theirs = pytest.importorskip("cleanfid.fid")
    x, y = np.random.default_rng(2).standard_normal([2, 50, 16])
    assert mmd2(x, y) == pytest.approx(theirs.kernel_distance(x, y, num_subsets=1, max_subset_size=50), rel=1e-9)


def test_a_seed_is_a_number_and_too_few_pictures_are_an_error():
    x, y = np.random.default_rng(3).standard_normal([2, 90, 4])
    assert kid(x, y, seed=1, subsets=5, subset_size=20) == kid(x, y, seed=1, subsets=5, subset_size=20)
    assert kid(x, y, seed=1, subsets=5, subset_size=20) != kid(x, y, seed=2, subsets=5, subset_size=20)
    with pytest.raises(ValueError, match="2 or more pictures a side, got 1 and 90"):
        mmd2(x[:1], y)
