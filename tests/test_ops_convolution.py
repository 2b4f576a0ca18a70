"""Convolution in three pieces: equal to the library's to second order, adjoint, and no weight gradient for nobody."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from torch_utils.ops import convolution
from torch_utils.ops.convolution import conv2d, conv_transpose2d

CASES = [
    {"stride": 1, "padding": 1, "groups": 1}, {"stride": 2, "padding": 0, "groups": 1},
    {"stride": 2, "padding": 1, "groups": 1},
    {"stride": 3, "padding": 1, "groups": 1}, {"stride": (2, 1), "padding": (0, 1), "groups": 1},
    {"stride": 1, "padding": 1, "groups": 2}, {"stride": 2, "padding": 1, "groups": 4},
]
PAIRS = {"plain": (conv2d, F.conv2d), "transposed": (conv_transpose2d, F.conv_transpose2d)}


def tensors(kind, options, *, n=2, size=(5, 6), kernel=(3, 3), dtype=torch.float64, seed=0):
    """Return x [N, 4, H, W] and a weight for 4 -> 8 channels, both wanting gradients."""
    draw = torch.Generator().manual_seed(seed)
    shape = (8, 4 // options["groups"]) if kind == "plain" else (4, 8 // options["groups"])
    x = torch.randn(n, 4, *size, generator=draw, dtype=torch.float64)
    w = torch.randn(*shape, *kernel, generator=draw, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("kind", PAIRS)
def test_gradients_to_second_order_are_those_of_finite_differences(kind, options):
    x, w = tensors(kind, options, n=1, size=(4, 3))
    bias = torch.randn(8, dtype=torch.float64, requires_grad=True)
    ours = PAIRS[kind][0]
    assert torch.autograd.gradcheck(lambda *a: ours(*a, **options), (x, w, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *a: ours(*a, **options), (x, w, bias), fast_mode=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(PAIRS)), st.sampled_from(CASES), st.integers(1, 3), st.integers(3, 9), st.integers(3, 9),
       st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_equal_to_the_library_in_values_and_mixed_second_derivatives(kind, options, n, h, w, kh, kw, last, single):
    """A penalty on the input's gradient (R1), differentiated in input and weights, is the library's."""
    dtype = torch.float32 if single else torch.float64
    results = []
    for function in PAIRS[kind]:
        x, weight = tensors(kind, options, n=n, size=(h, w), kernel=(kh, kw), dtype=dtype)
        given_x = x.contiguous(memory_format=torch.channels_last) if last else x
        padding = options["padding"]
        pads = (padding, padding) if isinstance(padding, int) else padding
        options_here = dict(options, padding=(min(pads[0], (kh - 1) // 2), min(pads[1], (kw - 1) // 2)))
        y = function(given_x, weight, **options_here)
        (dx,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        grads = torch.autograd.grad(dx.square().sum() + y.cos().sum(), (x, weight))
        results.append([y.detach(), dx.detach(), *grads])
    for ours, theirs in zip(*results):
        scale = float(theirs.abs().max()) + 1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=scale * (1e-5 if single else 1e-12))


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_transposed_one_is_the_adjoint(options):
    """<conv(x), y> = <x, conv_transpose(y)> with the same weight, where the sizes fit without a rest."""
    x, w = tensors("plain", options, size=(7, 7))
    y = conv2d(x, w, **options)
    probe = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    back = conv_transpose2d(probe, w, **options)
    window = tuple(slice(0, size) for size in back.shape)
    torch.testing.assert_close((y * probe).sum(), (x[window] * back).sum() if back.shape == x.shape else (
        torch.autograd.grad(F.conv2d(x, w, **options), x, probe)[0] * x).sum())


def test_weight_gradients_are_computed_only_where_they_are_wanted(monkeypatch):
    made = []
    apply = convolution._WeightGradient.apply
    monkeypatch.setattr(convolution._WeightGradient, "apply", lambda *a: made.append(1) or apply(*a))
    x, leaf = tensors("plain", CASES[0])
    w = leaf * 2  # as an equalised layer has it: not a leaf
    y = conv2d(conv2d(x, w, **CASES[0])[:, :4].sin(), w, **CASES[0])
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    assert not made
    dx.square().sum().backward()
    assert made and leaf.grad is not None


def test_a_weight_that_is_itself_a_leaf():
    x, w = tensors("plain", CASES[0])
    (ours,) = torch.autograd.grad(conv2d(x, w, **CASES[0]).square().sum(), w)
    (theirs,) = torch.autograd.grad(F.conv2d(x, w, **CASES[0]).square().sum(), w)
    torch.testing.assert_close(ours, theirs)


def test_autocast_computes_in_sixteen_bits_and_returns_gradients_in_the_dtype_of_the_leaves():
    x, w = tensors("plain", CASES[0], dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv2d(x, w, **CASES[0])
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert x.grad.dtype == w.grad.dtype == torch.float32
    wanted = torch.autograd.grad(F.conv2d(x, w, **CASES[0]).square().sum(), w)[0]
    assert (w.grad - wanted).norm() < 0.02 * wanted.norm()


def test_a_backward_pass_under_autocast_keeps_the_dtypes_of_the_forward_pass():
    x, w = tensors("plain", CASES[0], dtype=torch.float32)
    y = conv2d(x, w, **CASES[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (dx,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        dx.square().sum().backward()
    assert dx.dtype == x.grad.dtype == w.grad.dtype == torch.float32


def test_channels_last_stays_channels_last():
    x, w = tensors("plain", CASES[0], dtype=torch.float32)
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = conv2d(x, w, **CASES[0])
    assert y.is_contiguous(memory_format=torch.channels_last)
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    assert dx.is_contiguous(memory_format=torch.channels_last)
