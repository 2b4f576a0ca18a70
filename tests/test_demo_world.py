"""People of the drawn world: the stated correlations, independence, repeatability, and the ideal listener."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal

from voice2style.demo import drawing
from voice2style.demo.counter_random import Counters
from voice2style.demo.ideal_listener import matching_ceiling, matching_scores
from voice2style.demo.traits import HEARD, TRAITS, UNHEARD, direction
from voice2style.demo.world import World

NUM = 40_000
SAMPLING_ERROR = 4.5 / NUM**0.5  # of a correlation


@pytest.fixture(scope="module")
def people():
    return World(seed=5).people(range(NUM))


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


@pytest.mark.parametrize("name", HEARD)
def test_audible_factors_have_unit_variance(people, name):
    assert abs(people.heard[name].mean()) < 0.025
    assert abs(people.heard[name].std() - 1) < 0.02


def test_pitch_and_tract_have_two_groups(people):
    high = people.group < 0
    assert abs(high.mean() - 0.5) < 0.02
    assert abs(people.heard["pitch"][high].mean() - 0.80) < 0.02
    assert abs(people.heard["vtl"][high].mean() + 0.75) < 0.02
    assert abs(correlation(people.heard["pitch"], people.heard["vtl"]) + 0.6) < 0.02


@pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)
def test_heard_trait_follows_its_direction_and_nothing_else(people, trait):
    heard = direction(people.heard, trait.hears)
    seen = people.traits[trait.name]
    assert abs(seen.std() - 1) < 0.02
    assert abs(correlation(heard, seen) - trait.rho) < SAMPLING_ERROR + 0.005
    rest = seen - trait.rho * heard
    for name in HEARD:
        assert abs(correlation(rest, people.heard[name])) < SAMPLING_ERROR, name


def test_no_listener_beats_the_ceiling(people):
    """The R^2 of the best linear regressor on all audible factors is rho^2, for unheard traits 0."""
    design = np.stack([*(people.heard[name] for name in HEARD), np.ones(NUM)], 1)
    ceilings = World(seed=5).ceilings() | dict.fromkeys(UNHEARD, 0.0)
    for name, ceiling in ceilings.items():
        seen = people.traits[name]
        residual = seen - design @ np.linalg.lstsq(design, seen, rcond=None)[0]
        assert abs(1 - residual.var() / seen.var() - ceiling) < 0.012, name


@pytest.mark.parametrize("name", UNHEARD)
def test_unheard_traits_are_uniform_and_independent(people, name):
    unheard = people.traits[name]
    assert kstest(unheard, "uniform").pvalue > 1e-4
    others = [people.heard[other] for other in HEARD] + [people.group]
    others += [people.traits[trait.name] for trait in TRAITS]
    others += [people.traits[other] for other in UNHEARD if other != name]
    assert max(abs(correlation(unheard, other)) for other in others) < SAMPLING_ERROR
    assert abs(correlation((unheard - 0.5) ** 2, people.heard["pitch"] ** 2)) < SAMPLING_ERROR


def test_circumstances_are_independent_of_the_person_and_of_each_other(people):
    shots = [drawing.shot_parameters(Counters(5, "shot", people.indices, np.full(NUM, shot)), 1.0) for shot in (0, 1)]
    for name in ("yaw", "nod", "roll", "light", "smile", "open", "background_r", "clothes_r"):
        assert abs(correlation(shots[0][name], shots[1][name])) < SAMPLING_ERROR, name
        for heard in (*people.heard.values(), people.group, people.traits["skin"]):
            assert abs(correlation(shots[0][name], heard)) < SAMPLING_ERROR, name


def test_a_person_is_the_same_in_any_batch(people):
    picked = np.array([39_999, 7, 0, 7, 12_345])
    again = World(seed=5).people(picked)
    for ours, theirs in ((again.heard, people.heard), (again.traits, people.traits)):
        for name, values in ours.items():
            assert np.array_equal(values, theirs[name][picked]), name
    part = people[picked]
    assert np.array_equal(part.indices, again.indices) and np.array_equal(part.group, again.group)
    assert len(people[3]) == 1 and len(people[people.group > 0]) == (people.group > 0).sum()


def test_worlds_are_endless_and_differ_by_seed():
    far = World(seed=5).people([10**15])
    assert np.isfinite(far.heard["pitch"]).all()
    first, second = World(seed=0).people(range(5000)), World(seed=1).people(range(5000))
    assert abs(correlation(first.heard["pitch"], second.heard["pitch"])) < 0.065


def test_audibility_scales_every_link():
    world = World(seed=5, audibility=0.5)
    people = world.people(range(NUM))
    for trait in TRAITS:
        measured = correlation(direction(people.heard, trait.hears), people.traits[trait.name])
        assert abs(measured - trait.rho / 2) < SAMPLING_ERROR + 0.005
        assert world.ceilings()[trait.name] == pytest.approx(trait.rho**2 / 4)
    assert set(World(audibility=0.0).ceilings().values()) == {0.0}
    same = World(seed=5).people(range(10))
    assert all(np.array_equal(same.heard[name], people.heard[name][:10]) for name in HEARD)


def test_ideal_portrait_is_the_expected_person():
    world = World(seed=5)
    people = world.people(range(NUM))
    expected = world.ideal_portrait(people).traits
    for trait in TRAITS:
        error = people.traits[trait.name] - expected[trait.name]
        assert abs(error.var() - (1 - trait.rho**2)) < 0.02
    assert set(expected) == set(people.traits) and (expected["skin"] == 0.5).all()


def test_matching_score_is_the_log_likelihood():
    """Against scipy's multivariate normal density: equal up to one constant."""
    people = World(seed=5, audibility=0.8).people(range(6))
    scores = matching_scores(people.heard, people.traits, audibility=0.8)
    rho = np.array([trait.rho * 0.8 for trait in TRAITS])
    seen = np.stack([people.traits[trait.name] for trait in TRAITS], 1)
    for voice in range(6):
        heard = np.array([direction(people.heard, trait.hears)[voice] for trait in TRAITS])
        expected = multivariate_normal(rho * heard, np.diag(1 - rho**2)).logpdf(seen)
        assert np.ptp(scores[voice] - expected) < 1e-9


def test_matching_ceiling_has_the_known_values():
    """Known from an independent Monte Carlo (prototype, other random numbers): R@1 .991, .926, .651; R@5 .954."""
    world = World(seed=5)
    for candidates, known in ((2, 0.991), (10, 0.926), (100, 0.651)):
        assert abs(matching_ceiling(world, candidates, trials=20_000)[1] - known) < 0.015
    assert abs(matching_ceiling(world, 100, trials=20_000)[5] - 0.954) < 0.01
    chance = matching_ceiling(World(seed=5, audibility=0.0), 10, trials=20_000)
    assert abs(chance[1] - 0.1) < 0.01 and abs(chance[5] - 0.5) < 0.02 and chance[10] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: World(-1), "whole number from 0"),
        (lambda: World(1.5), "whole number"),
        (lambda: World(True), "whole number"),
        (lambda: World(audibility=1.1), "audibility 1.1: a number from 0 to 1"),
        (lambda: World(nuisance=float("nan")), "nuisance nan"),
        (lambda: World().people([-3]), "count from 0; -3 came"),
        (lambda: World().people([0.5]), "whole numbers"),
        (lambda: World().people([[1, 2]]), "in one row"),
        (lambda: World().voice([1, 2]), "one clip is spoken at a time"),
        (lambda: World().voice(1, seconds=0), "seconds 0"),
        (lambda: matching_ceiling(World(), 1), "2 and 1 are the least"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
