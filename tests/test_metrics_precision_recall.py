"""Laws of precision and recall: identical, disjoint and nested sets, agreement with scikit-learn's neighbours."""

import numpy as np
import pytest
import torch

from metrics import precision_recall as pr


def test_identical_sets_are_wholly_inside_and_distant_ones_wholly_outside():
    x = np.random.default_rng(0).standard_normal([150, 6]).astype(np.float32)
    assert pr.precision_recall(x, x.copy()) == (1.0, 1.0)
    assert pr.precision_recall(x, x + 100) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_but_recalls_little():
    x = np.random.default_rng(1).standard_normal([400, 2])
    precision, recall = pr.precision_recall(x, x[:200] * 0.05)
    assert precision > 0.9 and recall < 0.1


def test_it_equals_scikit_learns_neighbours(monkeypatch):
    neighbors = pytest.importorskip("sklearn.neighbors")
    monkeypatch.setattr(pr, "_ROWS", 37)  # several blocks, the last ones ragged
    monkeypatch.setattr(pr, "_COLUMNS", 53)
    random = np.random.default_rng(2)
    real, fake = random.standard_normal([180, 3]), random.standard_normal([120, 3]) * 1.3 + 0.4

    def inside(points, centres):
        radii = neighbors.NearestNeighbors(n_neighbors=4).fit(centres).kneighbors(centres)[0][:, 3]
        return (np.linalg.norm(points[:, None] - centres[None], axis=2) <= radii).any(1).mean()

    found = pr.precision_recall(real, fake, k=3)
    assert found == (inside(fake, real), inside(real, fake)) and 0.3 < found[0] < 0.99
    expected = neighbors.NearestNeighbors(n_neighbors=4).fit(real).kneighbors(real)[0][:, 3]
    assert np.allclose(pr.neighbour_radii(real, 3), expected, rtol=1e-9)


def test_a_duplicate_is_a_neighbour():
    """Three copies of each point: two lie at distance 0, so the radius for k = 2 is 0 and for k = 3 is not."""
    x = np.repeat(np.arange(5.0)[:, None] * [[1.0, 2.0]], 3, axis=0)
    assert torch.count_nonzero(pr.neighbour_radii(x, 2)) == 0
    assert pr.neighbour_radii(x, 3).min() == pytest.approx(np.sqrt(5))


def test_wilson_interval_at_its_ends_and_in_the_middle():
    low, high = pr.wilson_interval(0.0, 100)
    assert low == 0 and high == pytest.approx(1.96**2 / (100 + 1.96**2))
    low, high = pr.wilson_interval(0.5, 10000)
    assert (low, high) == pytest.approx((0.5 - 0.0098, 0.5 + 0.0098), abs=1e-5)


def test_too_few_points_are_an_error():
    with pytest.raises(ValueError, match="more than 3 pictures, got 3"):
        pr.neighbour_radii(np.zeros([3, 2]), 3)
