"""Laws of upfirdn2d: its definition in numpy, adjoint, constants, sizes, composition, derivatives, clear errors."""

import numpy as np
import pytest
import torch

from torch_utils.ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

CASES = [  # up, down, padding, flip_filter, gain
    (1, 1, 0, False, 1),
    (1, 1, [1, 2, 0, 3], True, 2.5),
    (2, 1, [2, 1, 2, 1], False, 4),
    (1, 2, [1, 1], False, 1),
    (3, 2, [4, 5, 6, 3], True, 0.7),
    ([2, 1], [1, 3], [3, 2, 1, 1], False, 1),
    (2, 1, [-1, 2, 3, -2], False, 1),
    (2, 3, [9, 8, 7, 9], False, -1.5),
]
FILTERS = {
    "1331": setup_filter([1, 3, 3, 1]),
    "skew": setup_filter([[1.0, 2.0, -1.0], [0.5, 3.0, 4.0]]),
    "separable": setup_filter([1, 2, 5, 3, 1], separable=True),
    "none": None,
}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(x, f, up, down, padding, flip_filter, gain):
    """upfirdn2d written out with numpy loops: zeros, pad or crop, correlate, keep every n-th."""
    f = np.ones([1, 1]) if f is None else f.double().numpy()
    f = np.outer(f, f) if f.ndim == 1 else f
    f = (f if flip_filter else f[::-1, ::-1]) * gain
    ux, uy = [up] * 2 if isinstance(up, int) else up
    dx, dy = [down] * 2 if isinstance(down, int) else down
    p = [padding] * 4 if isinstance(padding, int) else list(padding)
    x0, x1, y0, y1 = p if len(p) == 4 else [p[0], p[0], p[1], p[1]]
    n, c, h, w = x.shape
    z = np.zeros([n, c, h * uy, w * ux])
    z[:, :, ::uy, ::ux] = x.numpy()
    z = np.pad(z, [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))])
    z = z[:, :, max(-y0, 0): z.shape[2] - max(-y1, 0), max(-x0, 0): z.shape[3] - max(-x1, 0)]
    fh, fw = f.shape
    rows = [[(z[:, :, i: i + fh, j: j + fw] * f).sum((2, 3)) for j in range(0, z.shape[3] - fw + 1, dx)]
            for i in range(0, z.shape[2] - fh + 1, dy)]
    return torch.tensor(np.array(rows)).permute(2, 3, 0, 1)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_its_definition(case, name):
    x = random(2, 3, 6, 7)
    up, down, padding, flip_filter, gain = case
    y = upfirdn2d(x, FILTERS[name], up, down, padding, flip_filter, gain)
    torch.testing.assert_close(y, by_definition(x, FILTERS[name], *case), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_adjoint(case, name):
    """<A x, y> = <x, A' y>, where A' is what the backward pass computes; and A'' = A."""
    x = random(2, 3, 6, 7).requires_grad_()
    out = upfirdn2d(x, FILTERS[name], *case)
    y = random(*out.shape, seed=1).requires_grad_()
    (back,) = torch.autograd.grad(out, x, y, create_graph=True)
    torch.testing.assert_close((out * y).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)
    v = random(*x.shape, seed=2)
    (again,) = torch.autograd.grad(back, y, v)
    torch.testing.assert_close(again, upfirdn2d(v, FILTERS[name], *case), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES[:6], ids=str)
def test_derivatives_to_second_order(case):
    x = random(1, 2, 4, 5).requires_grad_()

    def function(x):
        return upfirdn2d(x, FILTERS["skew"], *case)

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_a_constant_stays_the_same_constant_away_from_the_border():
    x, f = torch.full([1, 1, 8, 8], 0.37), FILTERS["1331"]
    for y, size in ((upsample2d(x, f), 16), (downsample2d(x, f), 4), (filter2d(x, f), 8)):
        assert y.shape == (1, 1, size, size)
        torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.full_like(y[:, :, 2:-2, 2:-2], 0.37))


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_resampling_sizes(taps, factor):
    x, f = torch.zeros(1, 1, 12, 24), setup_filter([1.0] * taps)
    if taps >= factor:
        assert upsample2d(x, f, up=factor).shape == (1, 1, 12 * factor, 24 * factor)
        assert downsample2d(x, f, down=factor).shape == (1, 1, 12 // factor, 24 // factor)
    assert filter2d(x, f).shape == x.shape


def test_up_and_down_are_each_others_adjoint():
    """With a symmetric filter, upsample2d = up^2 times the transpose of downsample2d."""
    x, y, f = random(1, 2, 6, 8), random(1, 2, 12, 16, seed=1), FILTERS["1331"]
    torch.testing.assert_close((upsample2d(x, f) * y).sum(), 4 * (x * downsample2d(y, f)).sum())


def test_a_separable_filter_equals_its_outer_product():
    x, taps = random(1, 2, 9, 9), [1, 2, 5, 3]
    for options in ({}, {"flip_filter": True}, {"gain": 3.0}, {"up": 2, "padding": 3}, {"down": 3, "padding": 2}):
        one = upfirdn2d(x, setup_filter(taps, separable=True), **options)
        two = upfirdn2d(x, setup_filter(taps), **options)
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_setup_filter():
    assert setup_filter(None).tolist() == [[1.0]]
    assert setup_filter(5).tolist() == [[1.0]]
    torch.testing.assert_close(setup_filter([1, 3, 3, 1]) * 64, torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2))
    assert setup_filter([1] * 8).shape == (8,)
    assert setup_filter([1] * 8, separable=False).shape == (8, 8)
    assert setup_filter([1, 2], normalize=False, flip_filter=True, separable=True, gain=4).tolist() == [4.0, 2.0]
    assert float(setup_filter([1, 2, 3], gain=5).sum()) == pytest.approx(5)


def test_autocast_changes_no_dtype():
    x = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = upsample2d(x, FILTERS["1331"])
    assert torch.equal(y, upsample2d(x, FILTERS["1331"]))


def test_errors_name_what_came_and_what_is_allowed():
    x, f = torch.zeros(1, 3, 8, 8), FILTERS["1331"]
    with pytest.raises(ValueError, match=r"shape \[3, 8, 8\]; allowed: \[N, C, H, W\]"):
        upfirdn2d(x[0], f)
    with pytest.raises(ValueError, match=r"up is 0; allowed: a whole number >= 1"):
        upfirdn2d(x, f, up=0)
    with pytest.raises(ValueError, match=r"down is \[1, 2, 3\]; allowed"):
        upfirdn2d(x, f, down=[1, 2, 3])
    with pytest.raises(ValueError, match=r"padding is \[1, 2, 3\]; allowed"):
        upfirdn2d(x, f, padding=[1, 2, 3])
    with pytest.raises(ValueError, match=r"smaller than the filter \[4, 4\]"):
        upfirdn2d(x[:, :, :2, :2], f)
    with pytest.raises(ValueError, match=r"filter of shape \[1, 1, 1\]; allowed"):
        setup_filter([[[1.0]]])
    with pytest.raises(ValueError, match="cannot be declared separable"):
        setup_filter([[1.0, 2.0]], separable=True)
