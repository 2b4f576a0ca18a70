"""Craniofacial measures: free of scale and turning, correlations of known size, corrected p, within groups."""

import numpy as np
import pytest
from scipy import stats

from metrics.landmark_ratios import corrected_p, landmark_correlations, measure_faces, p_of, pearson

SIX = np.array([[20.0, 28], [44, 28], [32, 40], [24, 48], [40, 48], [32, 60]])


def faces_of(widths, heights, random, noise=0.05):
    """Returns landmarks [N, 6, 2] whose mouths are so wide and noses so long, with noise in pixels."""
    points = np.tile(SIX, (len(widths), 1, 1))
    points[:, 3, 0], points[:, 4, 0] = 32 - widths / 2, 32 + widths / 2
    points[:, 2, 1] = 28 + heights
    return points + noise * random.standard_normal(points.shape)


def test_measures_do_not_depend_on_size_place_or_turning():
    random = np.random.default_rng(0)
    angle, turned = 0.3, {}
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for count in (5, 6, 68):
        points = random.random((4, count, 2)) * 50
        turned[count] = measure_faces(2.5 * points @ turn.T + 7)
        for name, values in measure_faces(points).items():
            assert turned[count][name] == pytest.approx(values), name
    assert len(turned[68]) == 12 and "philtrum_width" in turned[68]


def test_measures_of_a_known_face():
    found = {name: values[0] for name, values in measure_faces(SIX[None]).items()}
    assert found["mouth_width"] == pytest.approx(16 / 24) and found["nose_height"] == pytest.approx(12 / 24)
    assert found["face_height"] == pytest.approx(32 / 24) and found["nose_share"] == pytest.approx(12 / 32)
    with pytest.raises(ValueError, match="P of 5, 6, 68"):
        measure_faces(np.zeros((2, 7, 2)))
    with pytest.raises(ValueError, match="cannot be measured"):
        measure_faces(np.zeros((2, 6, 2)))


def test_correlations_of_known_size_and_their_baseline():
    random = np.random.default_rng(7)
    truth = random.standard_normal((2, 300))
    mouth = 0.6 * truth[0] + 0.8 * random.standard_normal(300)  # r = 0.6; noses have nothing to do with each other
    real = faces_of(16 + truth[0], 12 + truth[1], random)
    drawn = faces_of(16 + mouth, 12 + random.standard_normal(300), random)
    found = {c.name: c for c in landmark_correlations(drawn, np.arange(300), real, np.arange(300), rounds=200)}
    assert found["mouth_width"].r == pytest.approx(np.corrcoef(truth[0], mouth)[0, 1], abs=0.02)
    assert found["mouth_width"].p_corrected < 1e-9
    assert found["mouth_width"].low < 0.6 < found["mouth_width"].high
    assert abs(found["nose_height"].r) < 0.15 and found["nose_height"].p_corrected > 0.05
    assert 0.02 < found["mouth_width"].r_random < 0.12 and found["mouth_width"].n == 300  # about 1/√n
    assert found["mouth_width"].r_within is None


def test_a_difference_between_groups_vanishes_within_them():
    random = np.random.default_rng(2)
    group = np.arange(400) % 2
    real = faces_of(16 + 3 * group + random.standard_normal(400), np.full(400, 12.0), random)
    drawn = faces_of(16 + 3 * group + random.standard_normal(400), np.full(400, 12.0), random)
    labels = {person: "mf"[label] for person, label in enumerate(group)}
    found = {c.name: c for c in landmark_correlations(drawn, np.arange(400), real, np.arange(400), groups=labels,
                                                      rounds=50)}
    mouth = found["mouth_width"]
    assert mouth.r > 0.6 and mouth.p_corrected < 1e-9  # it looks as if mouths were heard,
    assert abs(mouth.r_within) < 0.12 and mouth.p_within_corrected > 0.05  # but only the gender is


def test_pictures_of_one_person_count_once():
    random = np.random.default_rng(3)
    real = faces_of(16 + random.standard_normal(20), np.full(20, 12.0), random)
    once = landmark_correlations(real, np.arange(20), real, np.arange(20), rounds=20)
    many = landmark_correlations(np.repeat(real, 5, 0), np.repeat(np.arange(20), 5), real, np.arange(20), rounds=20)
    assert [(c.r, c.p, c.n) for c in once] == [(pytest.approx(c.r), pytest.approx(c.p), c.n) for c in many]
    with pytest.raises(ValueError, match="3 people have landmarks on both sides"):
        landmark_correlations(real[:3], np.arange(3), real, np.arange(20))


def test_p_agrees_with_scipy():
    random = np.random.default_rng(4)
    x, y = random.standard_normal((2, 30))
    theirs = stats.pearsonr(x, y)
    assert pearson(x, y) == pytest.approx(theirs.statistic) and p_of(pearson(x, y), 28) == pytest.approx(theirs.pvalue)
    p = random.random(15) ** 3
    assert corrected_p(list(p)) == pytest.approx(stats.false_discovery_control(p))
    assert corrected_p([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert np.isnan(pearson(np.ones(5), x[:5])) and p_of(float("nan"), 3) == 1
