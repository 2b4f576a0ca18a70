"""Fairness: gaps of known size, verdicts that noise does not force, a bias with a true zero."""

import numpy as np
import pytest

from metrics.fairness import (
    MET,
    NOT_MET,
    UNDECIDED,
    agreement_of,
    class_f1_of,
    dependence,
    f1_of,
    mean_of,
    measure_gap,
    verdict,
)
from metrics.result import Result


def gap_of(values, labels, **more):
    return measure_gap(values, labels, np.arange(len(labels)), judge="j", rounds=200,
                       **{"measure": "agreement", "statistic": agreement_of, "grouping": "gender", **more})


def answers_with(rates, each):
    """Returns truth and answers of groups of `each` people with exactly these shares right, and the groups."""
    truth = np.tile(["a", "b"], each * len(rates) // 2)
    right = np.concatenate([np.arange(each) < rate * each for rate in rates])
    return (truth, np.where(right, truth, "c")), np.repeat([f"g{k}" for k in range(len(rates))], each)


def test_a_gap_is_the_best_less_the_worst():
    values, labels = answers_with([0.9, 0.6, 0.75], 400)
    found = gap_of(values, labels)
    assert found.gap.value == pytest.approx(0.3) and found.groups["g1"].value == pytest.approx(0.6)
    assert found.groups["g2"].n == 400 and found.gap.n == 1200 and found.verdict == NOT_MET
    assert found.gap.low < 0.3 < found.gap.high and found.groups["g0"].low < 0.9 < found.groups["g0"].high
    assert found.by_chance < 0.08


def test_the_verdict_needs_enough_people():
    values, labels = answers_with([0.8, 0.8], 4000)
    assert gap_of(values, labels).verdict == MET
    values, labels = answers_with([0.8, 0.8], 30)
    assert gap_of(values, labels).verdict == UNDECIDED
    bare = Result("x", 0.2, None, None, 3, 0, "j")
    assert verdict(bare) == UNDECIDED


def test_noise_among_many_groups_condemns_nobody():
    """Ten groups of 60 with the same true rate show a gap of some 17 points; it is not called unfair."""
    random, verdicts, shown, chance = np.random.default_rng(0), [], [], []
    for _ in range(12):
        truth = np.full(600, "a")
        answers = np.where(random.random(600) < 0.7, "a", "b")
        found = gap_of((truth, answers), np.repeat([f"g{k}" for k in range(10)], 60))
        verdicts.append(found.verdict)
        shown.append(found.gap.value)
        chance.append(found.by_chance)
    assert verdicts.count(NOT_MET) <= 2 and np.mean(shown) > 0.1
    assert np.mean(shown) == pytest.approx(np.mean(chance), abs=0.03)


def test_f1_of_groups_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    truth, answers, labels = random.choice(list("xyz"), 300), random.choice(list("xyz"), 300), np.arange(300) % 2
    found = gap_of((truth, answers), labels, measure="f1", statistic=f1_of)
    for label in (0, 1):
        theirs = metrics.f1_score(truth[labels == label], answers[labels == label], average="macro")
        assert found.groups[str(label)].value == pytest.approx(theirs)
    own = gap_of((truth, answers), truth, measure="f1", statistic=class_f1_of)
    theirs = dict(zip("xyz", metrics.f1_score(truth, answers, average=None)))
    assert {label: result.value for label, result in own.groups.items()} == pytest.approx(theirs)
    assert own.by_chance is None


def test_numbers_of_trials_have_gaps_too():
    values = np.repeat([1.0, 0.5, 0.5, 0.0], 5)
    found = gap_of((values,), ["m"] * 10 + ["f"] * 10, statistic=mean_of)
    assert found.gap.value == 0.5 and found.groups["m"].value == 0.75


def test_unknown_and_tiny_groups_take_no_part():
    values, labels = answers_with([1.0, 0.5], 20)
    found = gap_of(values, [None, *labels[1:30], *["tiny"] * 5, *labels[35:]])
    assert found.groups["g0"].n == 19 and found.groups["g1"].n == 15 and "tiny" not in found.groups
    with pytest.raises(ValueError, match='needs two groups of 10 people or more; "gender" has 1'):
        gap_of(values, ["g0"] * 20 + ["g1"] * 9 + [None] * 11)


def test_a_bias_with_a_true_zero():
    random = np.random.default_rng(2)
    factors = random.standard_normal((500, 5))
    deaf = dependence(random.standard_normal(500), factors, np.arange(500), name="skin", judge="j", rounds=200)
    assert abs(deaf.value) < 0.02 and deaf.n == 500
    values = 2 * factors[:, 0] + 2 * random.standard_normal(500)
    biased = dependence(values, factors, np.arange(500), name="skin", judge="j", rounds=200)
    assert biased.value == pytest.approx(0.5, abs=0.07) and biased.low > 0.3
    assert dependence(np.full(500, 0.3), factors, np.arange(500), name="skin", judge="j", rounds=10).value == 0
    noise = [dependence(random.standard_normal(30), random.standard_normal((30, 5)), np.arange(30), name="s", judge="j",
                        rounds=2).value for _ in range(200)]
    assert np.mean(noise) == pytest.approx(0, abs=0.03)  # adjusted: noise of few people is no bias on average
    with pytest.raises(ValueError, match=r"at least F \+ 3 people"):
        dependence(np.ones(7), np.ones((7, 5)), np.arange(7), name="s", judge="j")
