"""Pairs of pictures: disjoint, seeded, and a mean whose interval covers it."""

import numpy as np
import pytest

from metrics.lpips_distance import bootstrap_mean, random_pairs


def test_pairs_are_disjoint_and_seeded():
    pairs = random_pairs(101, 60, seed=3)
    assert pairs.shape == (30, 2) and len(np.unique(pairs)) == 60 and pairs.max() <= 100
    assert np.array_equal(pairs, random_pairs(101, 60, seed=3))
    assert not np.array_equal(pairs, random_pairs(101, 60, seed=4))
    assert random_pairs(5, 99, seed=0).shape == (2, 2)
    with pytest.raises(ValueError, match="needs two pictures, got 1"):
        random_pairs(1, 10, seed=0)


def test_the_interval_of_a_mean_has_the_width_of_its_error():
    values = np.random.default_rng(0).standard_normal(2000) + 5
    mean, low, high = bootstrap_mean(values, seed=0, rounds=400)
    assert mean == values.mean() and low < mean < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.2)
    assert bootstrap_mean(values, seed=0, rounds=0)[1:] == (None, None)
    with pytest.raises(ValueError, match="not a finite number"):
        bootstrap_mean([1.0, np.nan], seed=0)
