"""Retrieval: closed forms for uniform scores, ties by expectation, other gallery sizes, agreement with sklearn."""

import math

import numpy as np
import pytest

from metrics.retrieval import (
    average_precision,
    chance_level,
    expected_reciprocal_rank,
    mean_average_precision,
    mean_by_person,
    places,
    recall,
    retrieval_results,
    rows_of,
)


@pytest.fixture(scope="module")
def random_scores():
    random = np.random.default_rng(0)
    return random.standard_normal((2000, 8)), random.standard_normal((150, 8)), random.integers(0, 150, 2000)


def values(results):
    return {result.name.removeprefix("retrieval_"): result.value for result in results}


def test_a_deaf_model_finds_by_chance(random_scores):
    queries, gallery, right = random_scores
    results = retrieval_results(queries, right, gallery, np.arange(150), judge="j", rounds=100, of_size=100)
    found = values(results)
    for k in (1, 5, 10, 50):
        assert found[f"r{k}"] == pytest.approx(k / 150, abs=0.02)
        assert found[f"r{k}_of100"] == pytest.approx(k / 100, abs=0.025)
    assert found["median_rank"] == pytest.approx(chance_level(150, "median_rank"), abs=5)
    assert found["log2_gain"] == pytest.approx(chance_level(150, "log2_gain"), abs=0.08)
    assert found["map"] == pytest.approx(chance_level(150, "map"), abs=0.008)
    assert found["gallery"] == 150 and {result.n for result in results} == {150}
    assert all(result.low <= result.value <= result.high for result in results if result.low is not None)


def test_chance_levels():
    assert chance_level(100, "r", 5) == 0.05 and chance_level(3, "r", 5) == 1
    assert chance_level(2, "map") == 0.75 and chance_level(2, "log2_gain") == 0.5
    assert chance_level(10**6, "log2_gain") == pytest.approx(1 / math.log(2), abs=1e-4)  # 1.44, as published


def test_a_constant_face_finds_by_chance():
    gallery = np.random.default_rng(1).standard_normal((60, 4))
    found = values(retrieval_results(np.ones((60, 4)), np.arange(60), gallery, np.arange(60), judge="j", rounds=10))
    assert found["r1"] == 1 / 60 and found["r10"] == 10 / 60 and found["median_rank"] == 30.5
    tied = values(retrieval_results(np.ones((60, 4)), np.arange(60), np.ones((60, 4)), np.arange(60), judge="j",
                                    rounds=10))
    assert tied["r1"] == pytest.approx(1 / 60) and tied["r50"] == pytest.approx(50 / 60)
    assert tied["map"] == pytest.approx(chance_level(60, "map"))
    assert tied["log2_gain"] == pytest.approx(chance_level(60, "log2_gain")) and tied["median_rank"] == 30.5


def test_a_perfect_model_is_first():
    gallery = np.eye(30)
    found = values(retrieval_results(gallery, np.arange(30), gallery, np.arange(30), judge="j", rounds=10, of_size=10))
    assert found["r1"] == found["map"] == found["median_rank"] == found["r1_of10"] == 1
    assert found["log2_gain"] == pytest.approx(math.log2(30)) and "r50" not in found


def test_a_gender_oracle_in_a_gallery_of_100():
    """50 men, 50 women: the right one is anywhere among 50 equals, so R@1, 5, 10 are 2, 10, 20 % (as published)."""
    code = np.eye(2)[np.arange(100) % 2]
    found = values(retrieval_results(code, np.arange(100), code, np.arange(100), judge="j", rounds=10))
    assert [found[f"r{k}"] for k in (1, 5, 10, 50)] == pytest.approx([0.02, 0.1, 0.2, 1.0])


def test_parts_of_a_gallery_equal_drawing_them():
    random = np.random.default_rng(2)
    scores = np.round(random.standard_normal(40), 1)
    better, tied = np.array([(scores > scores[7]).sum()]), np.array([(scores == scores[7]).sum()])
    hits = []
    for _ in range(20000):
        part = np.append(random.choice(np.delete(np.arange(40), 7), 9, replace=False), 7)
        ahead, equal = (scores[part] > scores[7]).sum(), (scores[part] == scores[7]).sum()
        hits.append(np.clip((3 - ahead) / equal, 0, 1))
    assert recall(better, tied, 3, num_gallery=40, of_size=10)[0] == pytest.approx(np.mean(hits), abs=0.01)
    assert recall(better, tied, 3, num_gallery=40, of_size=40)[0] == pytest.approx(recall(better, tied, 3)[0])
    with pytest.raises(ValueError, match="give 2 to 40"):
        recall(better, tied, 3, num_gallery=40, of_size=41)


def test_average_precision_agrees_with_scikit_learn_and_with_shuffling_equals():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(3)
    scores, relevant = random.standard_normal(200), random.random(200) < 0.2
    assert average_precision(scores, relevant) == pytest.approx(metrics.average_precision_score(relevant, scores))
    tied = np.round(scores)
    drawn = [metrics.average_precision_score(relevant, tied + 1e-6 * random.random(200)) for _ in range(1500)]
    assert average_precision(tied, relevant) == pytest.approx(np.mean(drawn), abs=0.004)
    one = np.zeros(50)
    assert average_precision(one, np.arange(50) == 3) == pytest.approx(expected_reciprocal_rank(
        np.array([0]), np.array([50]))[0])


def test_map_with_several_pictures_a_person():
    gallery, owners = np.eye(3)[[0, 0, 1, 2]], np.array([0, 0, 1, 2])
    assert mean_average_precision(np.eye(3), [0, 1, 2], gallery, owners).tolist() == [1, 1, 1]


def test_galleries_have_everybody_once():
    means, names = mean_by_person(np.array([[2.0, 0], [0, 2], [3, 0]]), np.array(["b", "b", "a"]))
    assert names.tolist() == ["a", "b"] and means == pytest.approx(np.array([[1, 0], [0.5**0.5, 0.5**0.5]]))
    with pytest.raises(ValueError, match="in the gallery twice"):
        retrieval_results(np.eye(2), [0, 1], np.eye(2), [0, 0], judge="j")
    with pytest.raises(ValueError, match="1 people who are asked for are not in the gallery .first: z."):
        rows_of(["a", "z"], names)
    with pytest.raises(ValueError, match="NaN"):
        places(np.array([[np.nan, 0]]), np.eye(2), np.array([0]))
