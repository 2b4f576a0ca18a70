"""The vector kernels' convolutions are the convolutions: every form, number type, shape and what follows them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from torch_utils.ops import build, tiled_conv
from torch_utils.ops.tiled_conv import FORMS, After, convolve, draw_block, to_rgb, weight_for
from torch_utils.ops.upfirdn2d import upfirdn2d

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
LOPSIDED = torch.tensor([0.1, 0.7, 0.5, 0.4])


@pytest.fixture(autouse=True)
def compiled():
    if build.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build.state('simd')}")


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def kernel(form, num_in, num_out, seed=1):
    """A weight as the library takes it for a form, unit outputs."""
    shape = (num_in, num_out) if form == "up" else (num_out, num_in)
    return random(*shape, 3, 3, seed=seed) / (3 * num_in**0.5)


def reference(x, w, form, taps=None):
    x, w = x.double(), w.double()
    if form == "same":
        return F.conv2d(x, w, padding=1)
    if form == "down":
        return F.conv2d(x, w, stride=2)
    y = F.conv_transpose2d(x, w, stride=2)
    if taps is None:
        return y
    low_pass = (taps[:, None] * taps).double().expand(y.shape[1], 1, 4, 4)
    return F.conv2d(y, low_pass, padding=1, groups=y.shape[1])


def prepared(w, form, **wishes):
    return weight_for(w, form, adjoint=form == "up", **wishes)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMS), st.integers(1, 3), st.sampled_from([16, 32, 48]), st.sampled_from([16, 32, 80]),
       st.integers(3, 40), st.integers(3, 40), st.sampled_from([None, TAPS, LOPSIDED]),
       st.sampled_from([None, 1000, 8, 16, 64]), st.integers(1, 3))
def test_equal_to_the_library(form, n, num_in, num_out, height, width, taps, side, threads):
    x, w = random(n, num_in, height, width), kernel(form, num_in, num_out)
    taps = taps if form == "up" else None
    wanted = reference(x, w, form, taps)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        came = convolve(x, prepared(w, form, side=side), wanted.shape[2:], taps=taps)
    finally:
        torch.set_num_threads(before)
    assert came.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(came.double(), wanted, rtol=0, atol=2e-4)
    assert (came.double() - wanted).square().mean().sqrt() < 1e-5


@pytest.mark.parametrize("side", [None, 1000, 8, 16, 64])
@pytest.mark.parametrize("form", FORMS)
def test_what_surrounds_the_convolution(form, side):
    n, num_in, num_out = 2, 32, 48
    x, w, taps = random(n, num_in, 22, 19), kernel(form, num_in, num_out), TAPS if form == "up" else None
    in_scale, out_scale, bias = 1 + 0.3 * random(n, num_in), 1 + 0.3 * random(n, num_out), random(num_out, seed=3)
    wanted = reference(x * in_scale[:, :, None, None], w, form, taps) * out_scale[:, :, None, None]
    size = wanted.shape[2:]
    for noise in (random(*size), random(n, 1, *size)):
        for slope, clamp in ((0.2, 0.7), (0.0, None), (1.0, None)):
            y = wanted + bias[:, None, None] + noise
            y = F.leaky_relu(y, slope)
            y = y if clamp is None else y.clamp(-clamp, clamp)
            came = convolve(x, prepared(w, form, side=side), size, taps=taps, in_scale=in_scale, out_scale=out_scale,
                            bias=bias, noise=noise, slope=slope, clamp=clamp)
            torch.testing.assert_close(came.double(), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("side", [None, 8])
@pytest.mark.parametrize("form", ["same", "up"])
def test_bfloat16(form, side, bf16):
    """Stored in bfloat16, multiplied in float32 or, where asked for and possible, in bfloat16."""
    x, w = random(1, 64, 40, 36, dtype=torch.bfloat16), kernel(form, 64, 64)
    taps = TAPS if form == "up" else None
    wanted = reference(x, w, form, taps)
    came = convolve(x, prepared(w, form, side=side, bf16=bf16), wanted.shape[2:], taps=taps)
    assert came.dtype == torch.bfloat16
    error = (came.double() - wanted).square().mean().sqrt() / wanted.std()
    stored = (wanted.bfloat16() - wanted).square().mean().sqrt() / wanted.std()
    few, many = {"same": (6e-3, 1.5e-2), "up": (4e-3, 6e-3)}[form]  # tiles: the fewer, the smaller and the more exact
    assert error < ((few if side else many) if bf16 else 1.05 * stored)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2), st.sampled_from([16, 48]), st.integers(1, 5), st.integers(1, 12), st.integers(1, 20),
       st.booleans(), st.booleans(), st.sampled_from([None, 0.5]))
def test_to_rgb(n, channels, planes, height, width, enlarges, half, clamp):
    x = random(n, channels, 2 * height, 2 * width, dtype=torch.bfloat16 if half else torch.float32)
    weight, bias, taps = random(n, planes, channels, seed=1), random(planes, seed=2), torch.tensor([0.1, 0.7, 0.5, 0.7])
    smaller = random(n, planes, height, width, seed=4) if enlarges else None
    wanted = torch.einsum("nkc,nchw->nkhw", weight, x.float()) + bias[:, None, None]
    wanted = wanted if clamp is None else wanted.clamp(-clamp, clamp)
    if enlarges:
        wanted = wanted + upfirdn2d(smaller, taps, up=2, padding=(2, 1, 2, 1), flip_filter=True)
    came = to_rgb(x, weight, bias, smaller, taps, clamp)
    assert came.is_contiguous()
    torch.testing.assert_close(came, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("side", [None, 8])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_number_stays_so(form, side):
    x, w = torch.full([1, 16, 12, 12], math.nan), kernel(form, 16, 16)
    size = reference(x, w, form).shape[2:]
    assert convolve(x, prepared(w, form, side=side), size, slope=0.2, clamp=1.0).isnan().all()
    assert to_rgb(x, torch.ones(1, 3, 16), torch.zeros(3), clamp=1.0).isnan().all()


def test_adjoints():
    """<conv(x), y> = <x, conv'(y)> for weights that are prepared as the adjoint's."""
    w = kernel("same", 32, 16)
    x, y = random(1, 32, 13, 18), random(1, 16, 13, 18, seed=5)
    forward, back = weight_for(w, "same"), weight_for(w, "same", adjoint=True)
    there, here = convolve(x, forward, (13, 18)), convolve(y, back, (13, 18))
    torch.testing.assert_close((there * y).sum(), (x * here).sum(), rtol=1e-4, atol=1e-3)
    y = random(1, 16, 6, 8, seed=5)
    there = convolve(x, weight_for(w, "down"), (6, 8))
    here = convolve(y, weight_for(w, "up", adjoint=True), (13, 17))
    torch.testing.assert_close((there * y).sum(), (x[..., :17] * here).sum(), rtol=1e-4, atol=1e-3)


def test_threads_and_batches_do_not_show():
    x, w = random(3, 32, 40, 40), kernel("up", 32, 64)
    before, came = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            came.append(convolve(x, prepared(w, "up"), (80, 80), taps=TAPS))
            came.append(torch.cat([convolve(one[None], prepared(w, "up"), (80, 80), taps=TAPS) for one in x]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(came[0], other) for other in came[1:])


def test_what_does_not_suit_is_left_to_torch(monkeypatch):
    assert weight_for(torch.zeros(16, 10, 3, 3), "same") is None
    assert weight_for(torch.zeros(16, 16, 5, 5), "same") is None
    assert weight_for(torch.zeros(16, 16, 3, 3, device="meta"), "same") is None
    monkeypatch.setattr(build, "library", lambda name: None)
    assert tiled_conv.weight_for(torch.zeros(16, 16, 3, 3), "same") is None


def test_small_tiles_have_no_block():
    up, same = prepared(kernel("up", 16, 16), "up", side=8), prepared(kernel("same", 16, 16), "same", side=8)
    rgb = torch.zeros(1, 3, 16), torch.zeros(3), None, TAPS, None
    with pytest.raises(ValueError, match="line by line with weights for few tiles; allowed: sides above 32"):
        draw_block(torch.zeros(1, 16, 4, 4), (up, After(TAPS)), (same, After()), rgb, keep=True)


def test_bad_input_and_empty_batches():
    weight = weight_for(torch.zeros(16, 32, 3, 3), "same")
    with pytest.raises(ValueError, match=r"\[1, 16, 8, 8\] torch.float32 for a convolution of 32 channels"):
        convolve(torch.zeros(1, 16, 8, 8), weight, (8, 8))
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        convolve(torch.zeros(1, 32, 8, 8).double(), weight, (8, 8))
    assert convolve(torch.zeros(0, 32, 8, 8), weight, (8, 8)).shape == (0, 16, 8, 8)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("dtype", "bf16", "side"), [(torch.float32, False, None), (torch.float32, False, 1000),
                                                     (torch.bfloat16, True, None), (torch.bfloat16, False, 1000)])
@pytest.mark.parametrize(("height", "width", "threads"), [(9, 20, 1), (34, 7, 3)])
def test_a_block_line_by_line(height, width, threads, dtype, bf16, side, keep):
    """Equal, bit by bit, to one layer after the other."""
    n, size = 2, (2 * height, 2 * width)
    x = random(n, 32, height, width, dtype=dtype)
    up, same = kernel("up", 32, 48), kernel("same", 48, 16)
    noise, clamp = random(*size, seed=7), 3.0
    around = [After(TAPS, 1 + 0.3 * random(n, 32), 1 + 0.3 * random(n, 48), random(48, seed=3), noise, 0.2, clamp),
              After(None, 1 + 0.3 * random(n, 48), 1 + 0.3 * random(n, 16), random(16, seed=3), noise, 0.2, clamp)]
    parts = list(zip((prepared(up, "up", bf16=bf16), prepared(same, "same", bf16=bf16, side=side)), around))
    rgb = random(n, 3, 16, seed=8), random(3, seed=9), random(n, 3, height, width, seed=10), TAPS, clamp
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y, picture = draw_block(x, *parts, rgb, keep=keep)
    finally:
        torch.set_num_threads(before)
    wanted = x
    for weight, after in parts:
        wanted = convolve(wanted, weight, size, **after._asdict())
    assert torch.equal(picture, to_rgb(wanted, *rgb))
    assert torch.equal(y, wanted) if keep else y is None
