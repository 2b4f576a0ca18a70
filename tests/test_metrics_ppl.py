"""Laws of perceptual path length: closed form for linear maps, the edge rules of the published programs."""

import math

import numpy as np
import pytest
import torch

from metrics import ppl


def squared_distance(first, second):
    return (first - second).square().sum((1, 2, 3))


@pytest.mark.parametrize("t", [0.0, 0.3])
def test_a_linear_map_in_w_has_the_length_of_its_chord(t):
    """G(w) = A w: |G(w(t + ε)) - G(w(t))|² / ε² = |A (w1 - w0)|² for every t, in float64 to rounding."""
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(3 * 8 * 8, 5, generator=random, dtype=torch.float64)
    z0, z1 = torch.randn(2, 6, 5, generator=random, dtype=torch.float64)
    ws = ppl.path_codes(lambda z, c: z[:, None].expand(-1, 4, -1), z0, z1, None, torch.full([6], t).double(), "w")
    images = (ws[:, 0] @ matrix.T).reshape(12, 3, 8, 8)
    found = ppl.step_lengths(images, squared_distance, crop=False, resolution=8)
    assert torch.allclose(found, ((z1 - z0) @ matrix.T).square().sum(1), rtol=1e-6)


def test_a_linear_map_in_z_has_the_length_of_its_angle():
    """On the unit circle G(z) = z moves by the chord 2 sin(θ ε / 2), θ the angle between z0 and z1."""
    random = torch.Generator().manual_seed(1)
    z0, z1 = torch.randn(2, 7, 4, generator=random, dtype=torch.float64)
    ws = ppl.path_codes(lambda z, c: z[:, None], z0, z1, None, torch.rand(7, generator=random).double(), "z")
    first, second = ws[:, 0].chunk(2)
    angle = torch.nn.functional.cosine_similarity(z0, z1).acos()
    assert torch.allclose((second - first).norm(dim=1), 2 * (angle * ppl.EPSILON / 2).sin(), rtol=1e-6)


def test_slerp_keeps_to_the_sphere_and_meets_its_ends():
    a, b = torch.randn(2, 5, 6, dtype=torch.float64) * 3
    unit_a, unit_b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    assert torch.allclose(ppl.slerp(a, b, torch.zeros(5, 1).double()), unit_a)
    assert torch.allclose(ppl.slerp(a, b, torch.ones(5, 1).double()), unit_b)
    half = ppl.slerp(a, b, torch.full([5, 1], 0.5).double())
    assert torch.allclose(half, (unit_a + unit_b) / (unit_a + unit_b).norm(dim=1, keepdim=True))
    assert torch.isfinite(ppl.slerp(a, a, torch.rand(5, 1).double())).all()


def test_one_label_serves_both_ends_of_every_step():
    seen = []

    def mapping(z, c):
        seen.append((len(z), c))
        return z[:, None]

    c = torch.eye(3)
    for space in ("z", "w"):
        ppl.path_codes(mapping, torch.randn(3, 4), torch.randn(3, 4), c, torch.zeros(3), space)
    assert all(size == 6 and torch.equal(label, torch.cat([c, c])) for size, label in seen)


def test_the_crop_is_the_middle_of_the_face():
    picture = torch.arange(16.0 * 16).reshape(1, 1, 16, 16).expand(-1, 3, -1, -1)
    found = ppl.prepared(picture, crop=True, resolution=16)
    assert torch.equal(found, picture[:, :, 6:14, 4:12])


def test_large_pictures_are_averaged_down_by_the_factor_of_the_whole_picture():
    picture = torch.rand(1, 3, 1024, 1024)
    means = picture.reshape(1, 3, 256, 4, 256, 4).mean((3, 5))
    assert torch.allclose(ppl.prepared(picture, crop=False, resolution=1024), means, atol=1e-6)
    cropped = ppl.prepared(picture, crop=True, resolution=1024)
    assert cropped.shape == (1, 3, 128, 128)  # half of the picture, then the factor 4 of the whole one
    assert ppl.prepared(torch.rand(1, 1, 511, 511), crop=False, resolution=511).shape == (1, 3, 511, 511)


def test_percentiles_are_taken_lower_and_higher():
    lengths = np.arange(250.0)
    kept = ppl.trimmed(lengths)  # 1 % of 249 is 2.49 -> 2; 99 % is 246.51 -> 247
    assert (kept.min(), kept.max(), len(kept)) == (2, 247, 246)
    value, low, high = ppl.mean_length(lengths, seed=0, rounds=50)
    assert value == pytest.approx(124.5) and low < value < high
    assert ppl.mean_length(lengths, seed=0, rounds=0) == (124.5, None, None)


def test_the_five_published_kinds():
    assert list(ppl.KINDS) == ["ppl2_wend", "ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend"]
    assert [name for name, kind in ppl.KINDS.items() if not kind.crop] == ["ppl2_wend"]
    assert {name: (kind.space, kind.sampling) for name, kind in ppl.KINDS.items()}["ppl_zfull"] == ("z", "full")


def test_jacobian_lengths_of_a_linear_map():
    """G(w) = A w in each of 4 layers alike: the gradient of every layer is Aᵀy / 4 when G takes their mean."""
    matrix, y = torch.randn(2 * 3 * 3, 5, dtype=torch.float64), torch.randn(6, 2, 3, 3, dtype=torch.float64)
    ws = torch.randn(6, 4, 5, dtype=torch.float64)
    found = ppl.jacobian_lengths(lambda w: (w.mean(1) @ matrix.T).reshape(-1, 2, 3, 3), ws, y)
    expected = (y.flatten(1) @ matrix / 4).norm(dim=1) / math.sqrt(9)
    assert torch.allclose(found, expected)
