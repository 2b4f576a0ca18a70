"""Intervals by drawing people again: closed forms, coverage, and why trials are not people."""

import math

import numpy as np
import pytest

from metrics.bootstrap import clustered_interval, people_codes, row_weights


def test_means_agree_with_the_normal_interval_when_everyone_has_one_value():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = clustered_interval(values, np.arange(400), rounds=4000)
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_fast_way_equals_repeating_rows():
    random = np.random.default_rng(1)
    values, people = random.random(300), random.integers(0, 25, 300)
    fast = clustered_interval(values, people, seed=3, rounds=3000)
    slow = clustered_interval(values, people, lambda part: part.mean(), seed=3, rounds=3000)
    assert fast == pytest.approx(slow, abs=0.004)


def test_people_make_it_wider_than_trials_would():
    random = np.random.default_rng(2)
    people = np.repeat(np.arange(50), 100)
    values = random.standard_normal(50)[people] + 0.1 * random.standard_normal(5000)
    wide, narrow = (clustered_interval(values, labels, rounds=500) for labels in (people, np.arange(5000)))
    ratio = (wide[1] - wide[0]) / (narrow[1] - narrow[0])
    assert ratio == pytest.approx(math.sqrt(100 / 1.01), rel=0.25)  # √(trials a person), the noise taken off


@pytest.mark.parametrize("pairs", [False, True])
def test_intervals_cover_the_truth_as_often_as_they_say(pairs):
    hits, random, num_people = 0, np.random.default_rng(4), 40
    for trial in range(120):
        strength = random.standard_normal(num_people)
        first, second = random.integers(0, num_people, (2, 600))
        values = strength[first] + (strength[second] if pairs else 0) + random.standard_normal(600)
        clusters = np.stack([first, second], 1) if pairs else first
        low, high = clustered_interval(values, clusters, np.mean, seed=trial, rounds=150)
        hits += low < 0 < high
    assert 0.88 <= hits / 120 <= 1


def test_one_sided_clusters_are_too_narrow_where_two_people_matter():
    random, num_people = np.random.default_rng(5), 30
    strength = random.standard_normal(num_people)
    first, second = random.integers(0, num_people, (2, 3000))
    values = strength[first] + strength[second]
    both, one = (clustered_interval(values, labels, np.mean, rounds=300)
                 for labels in (np.stack([first, second], 1), first))
    assert both[1] - both[0] > 1.2 * (one[1] - one[0])


def test_a_pair_of_one_person_counts_that_person_once():
    codes, count = people_codes(np.array([["a", "a"], ["a", "b"], ["c", "b"]]))
    assert count == 3
    assert row_weights(codes, np.array([2, 3, 0])).tolist() == [2, 6, 0]


def test_seeds_decide_and_nothing_else():
    values, people = np.random.default_rng(6).random(50), np.arange(50) // 5
    assert clustered_interval(values, people, seed=1) == clustered_interval(values, people, seed=1)
    assert clustered_interval(values, people, seed=1) != clustered_interval(values, people, seed=2)


def test_what_has_no_interval():
    assert clustered_interval(np.ones(4), np.zeros(4)) == (None, None)  # one person
    assert clustered_interval(np.ones(4), np.arange(4), lambda part: math.nan) == (None, None)
    with pytest.raises(ValueError, match="one cluster label for each value"):
        clustered_interval(np.ones(4), np.arange(3))
    with pytest.raises(ValueError, match="one label a row, or two"):
        clustered_interval(np.ones(4), np.zeros((4, 3)))
