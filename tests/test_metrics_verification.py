"""AUC and EER: shifted normals in closed form, agreement with scikit-learn, ties."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from metrics.verification import area_under_curve, equal_error_rate, roc_curve, verification_results


def shifted_normals(distance, count=20001):
    """Returns scores and labels whose AUC is Φ(d/√2) and EER Φ(-d/2), at quantiles instead of draws."""
    quantiles = norm.ppf((np.arange(count) + 0.5) / count)
    return np.concatenate([quantiles + distance, quantiles]), np.repeat([1, 0], count)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 3.0])
def test_shifted_normals(distance):
    scores, labels = shifted_normals(distance)
    assert area_under_curve(scores, labels) == pytest.approx(norm.cdf(distance / math.sqrt(2)), abs=2e-4)
    assert equal_error_rate(scores, labels) == pytest.approx(norm.cdf(-distance / 2), abs=2e-4)


@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_agreement_with_scikit_learn(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq

    random = np.random.default_rng(levels)
    labels = random.integers(0, 2, 500)
    scores = np.round((random.standard_normal(500) + labels) * levels) / levels
    assert area_under_curve(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    false_rate, true_rate, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    ours = roc_curve(scores, labels)
    np.testing.assert_allclose(ours[0], false_rate, atol=1e-12)
    np.testing.assert_allclose(ours[1], true_rate, atol=1e-12)
    theirs = brentq(lambda x: 1 - x - interp1d(false_rate, true_rate)(x), 0, 1)
    assert equal_error_rate(scores, labels) == pytest.approx(theirs, abs=2e-3 if levels > 20 else 1e-9)


def test_perfect_opposite_and_deaf():
    labels = np.array([1, 1, 0, 0])
    assert area_under_curve([4, 3, 2, 1], labels) == 1 and equal_error_rate([4, 3, 2, 1], labels) == 0
    assert area_under_curve([1, 2, 3, 4], labels) == 0 and equal_error_rate([1, 2, 3, 4], labels) == 1
    assert area_under_curve([5, 5, 5, 5], labels) == 0.5 and equal_error_rate([5, 5, 5, 5], labels) == 0.5


@pytest.mark.parametrize("share", [0.1, 0.534, 0.9])
def test_an_oracle_of_one_attribute(share):
    """True pairs always agree in it, impostors with probability f: AUC 1 - f/2, EER f/(1 + f)."""
    count = 1000
    scores = np.concatenate([np.ones(count), np.arange(count) < share * count])
    labels = np.repeat([1, 0], count)
    assert area_under_curve(scores, labels) == pytest.approx(1 - share / 2)
    assert equal_error_rate(scores, labels) == pytest.approx(share / (1 + share))


def test_results_carry_people_and_judge():
    random = np.random.default_rng(0)
    people = np.stack([np.repeat(np.arange(20), 10), random.integers(0, 20, 200)], 1)
    labels = people[:, 0] == people[:, 1]
    auc, eer = verification_results(random.standard_normal(200) + labels, labels, people, judge="x", rounds=100, seed=4)
    assert (auc.name, eer.name, auc.n, auc.seed, auc.judge) == ("verification_auc", "verification_eer", 20, 4, "x")
    assert auc.low < auc.value < auc.high and eer.low < eer.value < eer.high


@pytest.mark.parametrize("scores, labels, message", [
    ([1, 2], [1], "one number a pair"), ([1, math.nan], [0, 1], "1 of 2 scores are NaN"),
    ([1, 2], [0, 2], "1 .one person. or 0"), ([1, 2], [1, 1], "all 2 pairs have the same label")])
def test_bad_pairs(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        area_under_curve(scores, labels)
