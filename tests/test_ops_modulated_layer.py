"""A synthesis layer in one convolution and one pass equals the steps one by one; so does a generator made of them."""

import itertools
import math

import pytest
import torch

from torch_utils.ops import layer_tail, native
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.modulated_conv import modulated_conv2d
from torch_utils.ops.modulated_layer import modulated_layer
from torch_utils.ops.upfirdn2d import setup_filter
from voice2style.generators.stylegan2 import Generator, GeneratorSettings
from voice2style.layers import EqualizedConv2d

FILTERS = {"1331": setup_filter([1, 3, 3, 1]), "121": setup_filter([1, 2, 1]),
           "long": setup_filter([1, 2, 5, 9, 9, 4, 2, 1])}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_inputs(up, num_in=4, num_out=2, size=4):
    return (random(2, num_in, size, size), random(num_out, num_in, 3, 3, seed=1), random(2, num_in, seed=2),
            random(size * up, size * up, seed=3), random(num_out, seed=4))


def by_steps(x, weight, styles, noise, bias, *, up, f, clamp=None, gain=None):
    y = modulated_conv2d(x, weight, styles, noise, up=up, padding=1, resample_filter=f, flip_weight=up == 1)
    return bias_act(y, bias, act="lrelu", clamp=clamp, gain=gain)


def in_one(x, weight, styles, noise, bias, *, up, f, clamp=None, gain=None, **chain):
    return modulated_layer(x, weight, styles, up=up, resample_filter=f, noise=noise, bias=bias, clamp=clamp, gain=gain,
                           **chain)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("up", [1, 2])
def test_equals_the_steps_in_values_and_derivatives(up, name, native_device):
    inputs = [t.to(native_device).requires_grad_() for t in layer_inputs(up)]
    options = {"up": up, "f": FILTERS[name].to(native_device), "clamp": 1.5, "gain": 1.2}

    def derivatives(layer):
        y = layer(*inputs, **options)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        return y, *first, *second

    came = derivatives(in_one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "usable", lambda *tensors: False)
        wanted = derivatives(by_steps)
    for one, two in zip(came, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6 * float(two.detach().abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_layer_may_modulate_for_the_next_one(dtype, native_device):
    f = FILTERS["1331"].to(native_device)
    x, w0, s0, n0, b0 = (t.to(native_device) for t in layer_inputs(2, num_out=8))
    _, w1, s1, n1, b1 = (t.to(native_device) for t in layer_inputs(1, num_in=8, size=8))
    wanted = by_steps(by_steps(x, w0, s0, n0, b0, up=2, f=f), w1, s1, n1, b1, up=1, f=None)
    w0, s0, n0, b0, w1, s1, n1, b1 = (t.float() if dtype != torch.float64 else t
                                      for t in (w0, 50 * s0, n0, b0, w1, 50 * s1, n1, b1))
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    y = in_one(x, w0, s0, n0, b0, up=2, f=f, next_styles=s1)
    y = in_one(y, w1, s1, n1, b1, up=1, f=None, modulated=True)
    assert y.dtype == dtype
    error = float((y.double() - wanted).abs().max() / wanted.abs().max())
    assert error < {2: 0.03, 4: 1e-5, 8: 1e-6}[dtype.itemsize]


def test_errors_name_what_came_and_what_is_allowed():
    with pytest.raises(ValueError, match=r"weight of shape \[2, 4, 2, 2\] for pictures .*; allowed: .* an odd k"):
        modulated_layer(random(1, 4, 5, 5), random(2, 4, 2, 2), random(1, 4))


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_a_generator_of_native_layers_draws_the_same(architecture, native_device):
    settings = GeneratorSettings(img_resolution=8, channels=(8, 4), z_dim=8, w_dim=8, mapping_layers=2,
                                 architecture=architecture, conv_clamp=2.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(settings).double().to(native_device)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    ws = random(2, settings.num_ws, 8, seed=5).to(native_device).requires_grad_()
    weights = [p for p in generator.synthesis.parameters() if p.requires_grad]

    def path_lengths(noise_mode):
        picture = generator.synthesis(ws, noise_mode=noise_mode)
        direction = random(*picture.shape, seed=6).to(native_device) / math.sqrt(picture[0, 0].numel())
        (slope,) = torch.autograd.grad((picture * direction).sum(), ws, create_graph=True)
        lengths = slope.square().sum(2).mean(1).sqrt()
        return picture, lengths, *torch.autograd.grad(lengths.sum(), weights, allow_unused=True, materialize_grads=True)

    for noise_mode in ("const", "none"):
        came = path_lengths(noise_mode)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "usable", lambda *tensors: False)
            patch.setattr(layer_tail, "usable", lambda *tensors: False)
            patch.setattr("voice2style.layers.usable", lambda *tensors: False)
            wanted = path_lengths(noise_mode)
        for one, two in itertools.zip_longest(came, wanted):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("factors", "activation"), [({"up": 2}, "lrelu"), ({"down": 2}, "lrelu"), ({}, "swish")])
def test_a_convolution_leaves_its_bias_to_the_native_pass(factors, activation, native_device):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = EqualizedConv2d(3, 4, 3, activation=activation, conv_clamp=1.0, **factors).double().to(native_device)
    layer.bias.data.uniform_(-1, 1)
    x = random(2, 3, 6, 6).to(native_device)

    def derivatives():
        y = layer(x, gain=0.7)
        return y, *torch.autograd.grad(y.square().sum(), (layer.weight, layer.bias))

    came = derivatives()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "usable", lambda *tensors: False)
        patch.setattr("voice2style.layers.usable", lambda *tensors: False)
        wanted = derivatives()
    torch.testing.assert_close(came, wanted, rtol=1e-9, atol=1e-9)
