"""Laws of conv2d_resample and modulated_conv2d: fast forms equal the definitions, derivatives, clear errors."""

import itertools

import pytest
import torch

from torch_utils.ops.modulated_conv import demodulation, modulated_conv2d
from torch_utils.ops.resample import conv2d_resample, conv2d_resample_definition
from torch_utils.ops.upfirdn2d import setup_filter

FILTER = setup_filter([1, 3, 3, 1])
SKEW = setup_filter([[1.0, 2.0, 4.0], [0.5, 3.0, 1.0]])


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


RESAMPLINGS = list(itertools.product([(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3)], [1, 2, 3, 4], [1, 2]))


@pytest.mark.parametrize(("factors", "kernel_size", "groups"), RESAMPLINGS)
def test_fast_forms_equal_the_definition(factors, kernel_size, groups):
    x, w = random(2, 4, 7, 9), random(6, 4 // groups, kernel_size, kernel_size, seed=1)
    for f, padding, flip_weight in itertools.product([FILTER, SKEW, None], [0, 1, [2, 0, 1, 3]], [True, False]):
        options = dict(zip(("up", "down"), factors, strict=True), padding=padding, groups=groups,
                       flip_weight=flip_weight, flip_filter=f is SKEW)
        torch.testing.assert_close(conv2d_resample(x, w, f, **options), conv2d_resample_definition(x, w, f, **options),
                                   rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", [-1, [-2, 3, 1, -1]])
def test_cropping_equals_the_definition(factors, padding):
    x, w = random(1, 2, 8, 8), random(3, 2, 3, 3, seed=1)
    options = dict(zip(("up", "down"), factors, strict=True), padding=padding)
    torch.testing.assert_close(conv2d_resample(x, w, FILTER, **options),
                               conv2d_resample_definition(x, w, FILTER, **options))


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_bias_is_added_at_the_end(factors, kernel_size):
    x, w, b = random(1, 2, 6, 6), random(3, 2, kernel_size, kernel_size, seed=1), random(3, seed=2)
    options = dict(zip(("up", "down"), factors, strict=True), padding=kernel_size // 2)
    wanted = conv2d_resample(x, w, FILTER, **options) + b[:, None, None]
    torch.testing.assert_close(conv2d_resample(x, w, FILTER, **options, bias=b), wanted)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_derivatives_to_second_order(factors, kernel_size):
    x = random(1, 2, 4, 4).requires_grad_()
    w, b = random(2, 2, kernel_size, kernel_size, seed=1).requires_grad_(), random(2, seed=2).requires_grad_()

    def function(x, w, b):
        return conv2d_resample(x, w, FILTER, up=factors[0], down=factors[1], padding=kernel_size // 2,
                               flip_weight=factors[0] == 1, bias=b)

    assert torch.autograd.gradcheck(function, (x, w, b))
    assert torch.autograd.gradgradcheck(function, (x, w, b))


MODULATIONS = list(itertools.product([(1, 1), (2, 1), (1, 2)], [1, 3], [True, False], ["none", "const", "batch"]))


def modulation_inputs(factors, noise):
    size = 6 * factors[0] // factors[1]
    shapes = {"none": None, "const": (size, size), "batch": (3, 1, size, size)}
    return random(3, 5, 6, 6), random(3, 5, seed=2), shapes[noise] and random(*shapes[noise], seed=3)


def by_definition(x, weight, styles, noise, demodulate, options):
    """Sample by sample, equations 1 and 3 of the paper as they are written."""
    rows = []
    for picture, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum([1, 2, 3], keepdim=True) + 1e-8).sqrt()
        rows.append(conv2d_resample_definition(picture[None], w, FILTER, **options))
    y = torch.cat(rows)
    return y if noise is None else y + noise


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("factors", "kernel_size", "demodulate", "noise"), MODULATIONS)
def test_modulated_convolution_equals_its_definition(factors, kernel_size, demodulate, noise, fused):
    weight = random(4, 5, kernel_size, kernel_size, seed=1)
    x, styles, noise = modulation_inputs(factors, noise)
    options = dict(zip(("up", "down"), factors, strict=True), padding=kernel_size // 2, flip_weight=factors[0] == 1)
    wanted = by_definition(x, weight, styles, noise, demodulate, options)
    options.update(demodulate=demodulate, fused=fused, resample_filter=FILTER)
    y = modulated_conv2d(x, weight, styles, noise, **options)
    torch.testing.assert_close(y, wanted, rtol=1e-10, atol=1e-10)
    louder = modulated_conv2d(x, weight, styles, noise, gain=1.5, **options)
    torch.testing.assert_close(louder, y * 1.5 if noise is None else (y - noise) * 1.5 + noise)


def test_modulated_convolution_in_channels_last_memory():
    x, styles, _ = modulation_inputs((1, 1), "none")
    for kernel_size in (1, 3):
        weight = random(4, 5, kernel_size, kernel_size, seed=1)
        wanted = modulated_conv2d(x, weight, styles, padding=kernel_size // 2)
        y = modulated_conv2d(x.contiguous(memory_format=torch.channels_last), weight, styles, padding=kernel_size // 2)
        torch.testing.assert_close(y, wanted)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_demodulation_cancels_the_scale_of_weights_and_styles(scale):
    x, styles, _ = modulation_inputs((1, 1), "none")
    weight = random(4, 5, 3, 3, seed=1)
    wanted = modulated_conv2d(x, weight, styles, padding=1)
    torch.testing.assert_close(modulated_conv2d(x, weight * scale, styles, padding=1), wanted, rtol=1e-2, atol=1e-2)
    assert demodulation(weight, styles).shape == (3, 4)


@pytest.mark.parametrize("fused", [False, True])
def test_half_precision_does_not_overflow(fused):
    x, styles, _ = modulation_inputs((1, 1), "none")
    weight = random(4, 5, 3, 3, seed=1)
    wanted = modulated_conv2d(x, weight, styles, padding=1)
    y = modulated_conv2d(x.half(), weight.float() * 1e5, styles.float() * 1e5, padding=1, fused=fused)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.double(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("kernel_size", "demodulate"), [(3, True), (3, False), (1, False)])
def test_modulated_derivatives_to_second_order(kernel_size, demodulate, fused):
    x, styles = random(2, 2, 4, 4).requires_grad_(), random(2, 2, seed=2).requires_grad_()
    weight, noise = random(2, 2, kernel_size, kernel_size, seed=1).requires_grad_(), random(4, 4, seed=3)
    inputs = (x, weight, styles, noise.requires_grad_())

    def function(x, weight, styles, noise):
        return modulated_conv2d(x, weight, styles, noise, padding=kernel_size // 2, demodulate=demodulate, fused=fused)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_errors_name_what_came_and_what_is_allowed():
    x = torch.zeros(2, 4, 8, 8)
    with pytest.raises(ValueError, match=r"weight of shape \[6, 3, 3, 3\] .* allowed: \[out, 4/groups, kh, kw\]"):
        conv2d_resample(x, torch.zeros(6, 3, 3, 3))
    with pytest.raises(ValueError, match=r"up is 0; allowed: a whole number >= 1"):
        conv2d_resample(x, torch.zeros(6, 4, 3, 3), up=0)
    with pytest.raises(ValueError, match=r"styles of shape \[2, 5\]; allowed: \[2, 4\]"):
        modulated_conv2d(x, torch.zeros(6, 4, 3, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"pictures of shape \[2, 4, 8, 8\] with weight \[6, 5, 3, 3\]"):
        modulated_conv2d(x, torch.zeros(6, 5, 3, 3), torch.zeros(2, 4))
