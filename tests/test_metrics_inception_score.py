"""Laws of the Inception Score: uniform answers score 1, one-hot answers the number of classes."""

import numpy as np
import pytest

from metrics.inception_score import ScoreSums, mean_and_std


def scores_of(probabilities, *, splits=10, batch=7):
    sums = ScoreSums(probabilities.shape[1], len(probabilities), splits=splits)
    for start in range(0, len(probabilities), batch):
        part = probabilities[start:start + batch]
        sums.add(np.arange(start, start + len(part)), part)
    return sums.scores()


def test_uniform_answers_score_one_and_one_hot_answers_the_number_of_classes():
    assert np.allclose(scores_of(np.full([100, 5], 0.2)), 1)
    assert np.allclose(scores_of(np.eye(5)[np.arange(100) % 5]), 5)


def test_a_mixture_has_the_closed_form():
    """Each picture of two classes answers (1 - e, e) or (e, 1 - e): ln IS = ln 2 + e ln e + (1 - e) ln(1 - e)."""
    e = 0.2
    rows = np.where((np.arange(60) % 2 == 0)[:, None], [1 - e, e], [e, 1 - e])
    assert np.allclose(scores_of(rows), np.exp(np.log(2) + e * np.log(e) + (1 - e) * np.log(1 - e)))


def test_splits_are_runs_of_numbers_and_parts_add_up():
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 53)
    first, second = ScoreSums(4, 53), ScoreSums(4, 53)
    first.add(np.arange(0, 53, 2), rows[::2])
    second.add(np.arange(1, 53, 2), rows[1::2])
    first.merge(second)
    assert np.allclose(first.scores(), scores_of(rows))
    assert first.counts.sum() == 53 and set(first.counts) == {5, 6}
    assert np.allclose(ScoreSums.from_arrays(first.arrays(), 53).scores(), first.scores())
    even = np.random.default_rng(1).dirichlet(np.ones(4), 50)
    for p in (even, rows):  # the published cuts: split i is [i n // 10, (i + 1) n // 10)
        parts = [p[i * len(p) // 10:(i + 1) * len(p) // 10] for i in range(10)]
        assert np.allclose(scores_of(p), [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in parts])


def test_mean_deviation_and_interval():
    mean, std, low, high = mean_and_std(np.array([2.0, 4.0]))
    assert (mean, std) == (3, 1) and low < 3 < high and high - 3 == pytest.approx(12.706, abs=1e-3)


def test_what_is_no_probability_is_an_error():
    with pytest.raises(ValueError, match="rows of numbers from 0 that sum to 1"):
        ScoreSums(3, 20).add([0], [[0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="needs 10 or more pictures, got 9"):
        ScoreSums(3, 9)
