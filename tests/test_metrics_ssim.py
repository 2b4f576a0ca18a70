"""Laws of SSIM and MS-SSIM: 1 for equal pictures, symmetric, equal to scikit-image's numbers."""

import numpy as np
import pytest
import torch

from metrics.ssim import WEIGHTS, ms_ssim, scales_that_fit, ssim


def pair(side=48, seed=0):
    random = torch.Generator().manual_seed(seed)
    first = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=random), size=(side, side + 6)) * 2 - 1
    return first, (first + 0.2 * torch.randn(first.shape, generator=random)).clamp(-1, 1)


def test_equal_pictures_have_one_and_order_does_not_matter():
    first, second = pair(side=180)
    for measure in (ssim, ms_ssim):
        assert torch.allclose(measure(first, first), torch.ones(2).double())
        assert torch.allclose(measure(first, second), measure(second, first))
        assert measure(first, second).max() < 0.99


def test_it_falls_with_noise():
    first, second = pair()
    values = [ssim(first, torch.lerp(first, second, share)).mean().item() for share in (0.1, 0.4, 0.7, 1.0)]
    assert values == sorted(values, reverse=True)


def test_it_equals_scikit_image():
    """scikit-image 0.26, Gaussian weights of σ 1.5, population covariance: the window of Wang et al."""
    metrics = pytest.importorskip("skimage.metrics")
    first, second = pair()
    expected = [metrics.structural_similarity(a.numpy().astype(np.float64), b.numpy().astype(np.float64),
                                              channel_axis=0, data_range=2.0, gaussian_weights=True, sigma=1.5,
                                              use_sample_covariance=False) for a, b in zip(first, second)]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-9)


def test_multi_scale_equals_a_plain_program_on_scipys_filters():
    """σ 1.5 cut at 3.5 σ is the window of 11; its valid region is the map without 5 pixels of border."""
    filters = pytest.importorskip("scipy.ndimage")
    a, b = (x[0, 0].double().numpy() for x in pair(side=180))
    value, c1, c2 = 1.0, 0.02**2, 0.06**2
    for scale, weight in enumerate(WEIGHTS):
        m_a, m_b, aa, bb, ab = (filters.gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]
                                for x in (a, b, a * a, b * b, a * b))
        structure = (2 * (ab - m_a * m_b) + c2) / (aa - m_a**2 + bb - m_b**2 + c2)
        likeness = structure * (2 * m_a * m_b + c1) / (m_a**2 + m_b**2 + c1)
        value *= (likeness if scale == 4 else structure).mean() ** weight
        a, b = (x[:x.shape[0] // 2 * 2, :x.shape[1] // 2 * 2].reshape(x.shape[0] // 2, 2, -1, 2).mean((1, 3))
                for x in (a, b))
    first, second = (x[:1, :1] for x in pair(side=180))
    assert ms_ssim(first, second).item() == pytest.approx(value, rel=1e-6)


def test_scales_that_fit_small_pictures():
    assert [scales_that_fit(side) for side in (10, 11, 64, 175, 176)] == [0, 1, 3, 4, 5]
    first, second = pair(side=64)
    assert 0 < ms_ssim(first, second, scales=3).min() < 1
    assert torch.allclose(ms_ssim(first, second, scales=1), ssim(first, second), atol=1e-12)


def test_bad_pairs_are_named():
    first, second = pair()
    with pytest.raises(ValueError, match="two equal shapes"):
        ssim(first, second[:, :1])
    with pytest.raises(ValueError, match="54x48 are too small: the window of 11 needs 176 pixels"):
        ms_ssim(first, second)
