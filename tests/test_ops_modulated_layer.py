"""A synthesis layer in one convolution and one pass may modulate for the next one (see test_equality.py)."""


import pytest
import torch

from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.modulated_conv import modulated_conv2d
from torch_utils.ops.modulated_layer import modulated_layer
from torch_utils.ops.upfirdn2d import setup_filter


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_layer_may_modulate_for_the_next_one(dtype, native_device):
    f = setup_filter([1, 3, 3, 1]).to(native_device)
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
