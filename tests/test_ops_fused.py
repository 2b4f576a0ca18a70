"""Laws of fused_layer: its steps one by one, what it leaves out, derivatives to second order, clear errors."""

import math

import pytest
import torch

from torch_utils.ops.fused import fused_layer
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

FILTER = setup_filter([1, 3, 3, 1])


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(n=2, channels=3, size=5, *, out=None):
    out = out or size
    return {"scale": random(n, channels, seed=1), "noise": random(n, 1, out, out, seed=2),
            "strength": random(1, seed=3).reshape([]), "bias": random(channels, seed=4),
            "next_scale": random(n, channels, seed=5)}


def test_equals_its_steps():
    x, a = random(2, 3, 7, 7), arguments(out=6)
    y = fused_layer(x, FILTER, padding=1, filter_gain=4, act="lrelu", gain=1.5, clamp=2, **a)
    p = upfirdn2d(x, FILTER, padding=1, gain=4) * a["scale"][:, :, None, None] + a["strength"] * a["noise"]
    p = p + a["bias"][:, None, None]
    wanted = (torch.where(p < 0, 0.2 * p, p) * 1.5).clamp(-2, 2) * a["next_scale"][:, :, None, None]
    torch.testing.assert_close(y, wanted, rtol=1e-12, atol=1e-12)


def test_what_is_not_given_is_left_out():
    x = random(2, 3, 4, 4)
    assert torch.equal(fused_layer(x, act="linear"), x)
    torch.testing.assert_close(fused_layer(x), math.sqrt(2) * torch.where(x < 0, 0.2 * x, x))
    noise = random(4, 4, seed=2)
    assert torch.equal(fused_layer(x, noise=noise, act="linear"), x + noise)


@pytest.mark.parametrize(("f", "padding", "size"), [(None, 0, 3), (FILTER, 1, 4)])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_derivatives_to_second_order(f, padding, size, act):
    x = random(2, 2, size, size).requires_grad_()
    a = {key: value.requires_grad_() for key, value in arguments(channels=2, out=3).items()}

    def function(x, *values):
        return fused_layer(x, f, padding=padding, act=act, clamp=2.5, **dict(zip(a, values, strict=True)))

    assert torch.autograd.gradcheck(function, (x, *a.values()))
    assert torch.autograd.gradgradcheck(function, (x, *a.values()))


def test_errors_name_what_came_and_what_is_allowed():
    x = torch.zeros(2, 3, 5, 5)
    with pytest.raises(ValueError, match=r"scale of shape \[3\]; allowed for pictures \[2, 3, 5, 5\]: \[2, 3\]"):
        fused_layer(x, scale=torch.zeros(3))
    with pytest.raises(ValueError, match=r"noise of shape \[5, 5\]; allowed .*: \[4, 4\] or \[2, 1, 4, 4\]"):
        fused_layer(x, FILTER, padding=1, noise=torch.zeros(5, 5))
    with pytest.raises(ValueError, match="a strength without a noise"):
        fused_layer(x, strength=torch.zeros([]))
    with pytest.raises(ValueError, match=r"clamp is -1; allowed: None"):
        fused_layer(x, clamp=-1)
    with pytest.raises(ValueError, match=r"'mish' is not known"):
        fused_layer(x, act="mish")
