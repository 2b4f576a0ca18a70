"""Add a bias, apply an activation, scale, clamp: the tail of every StyleGAN2 layer."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F


class Activation(NamedTuple):
    """One activation.

    function(x, alpha, overwrite): overwrite allows to reuse x's memory. gain keeps the variance near one.
    homogeneous: function(g * x) = g * function(x) for every g > 0, so that a gain may be applied early.
    """

    function: Callable
    alpha: float
    gain: float
    homogeneous: bool = False


def _lrelu(x, alpha, overwrite):
    return F.leaky_relu(x, alpha, inplace=overwrite and alpha > 0)


ACTIVATIONS = {
    "linear": Activation(lambda x, alpha, overwrite: x, 0.0, 1.0, homogeneous=True),
    "relu": Activation(lambda x, alpha, overwrite: F.relu(x, inplace=overwrite), 0.0, math.sqrt(2), homogeneous=True),
    "lrelu": Activation(_lrelu, 0.2, math.sqrt(2), homogeneous=True),
    "tanh": Activation(lambda x, alpha, overwrite: torch.tanh(x), 0.0, 1.0),
    "sigmoid": Activation(lambda x, alpha, overwrite: torch.sigmoid(x), 0.0, 1.0),
    "elu": Activation(lambda x, alpha, overwrite: F.elu(x), 0.0, 1.0),
    "selu": Activation(lambda x, alpha, overwrite: F.selu(x), 0.0, 1.0),
    "softplus": Activation(lambda x, alpha, overwrite: F.softplus(x), 0.0, 1.0),
    "swish": Activation(lambda x, alpha, overwrite: F.silu(x), 0.0, math.sqrt(2)),
}


def bias_act(x, b=None, dim=1, act="linear", alpha=None, gain=None, clamp=None, *, overwrite=False):
    """Return clamp(gain * act(x + b), -clamp, clamp), of x's shape and dtype.

    x: any shape; b: [x.shape[dim]] or None. alpha (slope of lrelu) and gain default to the activation's own values in
    ACTIVATIONS; clamp None means no clamping, 0 is legal. Differentiable to any order. overwrite: the caller needs x no
    more, its memory may be used.
    """
    check_activation(act)
    if clamp is not None and clamp < 0:
        raise ValueError(f"bias_act: clamp is {clamp}; allowed: None (off) or a limit >= 0")
    spec = ACTIVATIONS[act]
    alpha, gain = spec.alpha if alpha is None else float(alpha), spec.gain if gain is None else float(gain)
    if b is not None:
        b, overwrite = _bias_beside(x, b, dim), True
        if spec.homogeneous and gain > 0 and gain != 1:  # gain * (x + b) in one pass
            x, gain = torch.add(b * gain, x, alpha=gain), 1.0
        else:
            x = x + b
    x = spec.function(x, alpha, overwrite)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


class _BiasedLrelu(torch.autograd.Function):
    """gain * lrelu(x + bias) in two passes instead of three, as lrelu(gain * x + gain * bias)."""

    @staticmethod
    def forward(ctx, x, bias, alpha, gain):
        y = F.leaky_relu_(torch.add(bias * gain, x, alpha=gain), alpha)
        ctx.save_for_backward(y)
        ctx.alpha, ctx.gain, ctx.bias_shape = alpha, gain, bias.shape
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        dx = _LreluSlopes.apply(dy, y.detach(), ctx.alpha, ctx.gain)
        return dx, dx.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[1] else None, None, None


class _LreluSlopes(torch.autograd.Function):
    """dy times the slope at each place (gain, or gain * alpha); linear in dy, so its adjoint is itself."""

    @staticmethod
    def forward(ctx, dy, y, alpha, gain):
        ctx.save_for_backward(y)
        ctx.alpha, ctx.gain = alpha, gain
        return torch.ops.aten.leaky_relu_backward(dy, y, alpha, True).mul_(gain)

    @staticmethod
    def backward(ctx, ddx):
        (y,) = ctx.saved_tensors
        return _LreluSlopes.apply(ddx, y, ctx.alpha, ctx.gain), None, None, None


def check_activation(act: str) -> None:
    """Raise ValueError unless act is a row of ACTIVATIONS."""
    if act not in ACTIVATIONS:
        raise ValueError(f"activation {act!r} is not known; allowed: {', '.join(ACTIVATIONS)}")


def _bias_beside(x, b, dim):  # [K] -> [1, .., K, .., 1] in x's dtype
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"bias_act: dim {dim} does not exist in x of shape {list(x.shape)}")
    if b.ndim != 1 or b.shape[0] != x.shape[dim]:
        raise ValueError(f"bias_act: bias of shape {list(b.shape)}; allowed: [{x.shape[dim]}], "
                         f"the size of dimension {dim} of x {list(x.shape)}")
    shape = [1] * x.ndim
    shape[dim] = -1
    return b.to(x.dtype).reshape(shape)
