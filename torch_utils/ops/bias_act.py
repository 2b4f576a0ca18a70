"""Add a bias, apply an activation, scale, clamp: the tail of every StyleGAN2 layer."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F


class Activation(NamedTuple):
    """One activation: its function of (x, alpha), its usual alpha, and the gain that keeps the variance near one."""

    function: Callable
    alpha: float
    gain: float


ACTIVATIONS = {
    "linear": Activation(lambda x, alpha: x, 0.0, 1.0),
    "relu": Activation(lambda x, alpha: F.relu(x), 0.0, math.sqrt(2)),
    "lrelu": Activation(lambda x, alpha: F.leaky_relu(x, alpha), 0.2, math.sqrt(2)),
    "tanh": Activation(lambda x, alpha: torch.tanh(x), 0.0, 1.0),
    "sigmoid": Activation(lambda x, alpha: torch.sigmoid(x), 0.0, 1.0),
    "elu": Activation(lambda x, alpha: F.elu(x), 0.0, 1.0),
    "selu": Activation(lambda x, alpha: F.selu(x), 0.0, 1.0),
    "softplus": Activation(lambda x, alpha: F.softplus(x), 0.0, 1.0),
    "swish": Activation(lambda x, alpha: F.silu(x), 0.0, math.sqrt(2)),
}


def bias_act(x, b=None, dim=1, act="linear", alpha=None, gain=None, clamp=None):
    """Return clamp(gain * act(x + b), -clamp, clamp), of x's shape and dtype.

    x: any shape; b: [x.shape[dim]] or None. alpha (slope of lrelu) and gain default to the activation's own values in
    ACTIVATIONS; clamp None means no clamping, 0 is legal. Differentiable to any order.
    """
    check_activation(act)
    spec = ACTIVATIONS[act]
    if b is not None:
        x = x + _bias_beside(x, b, dim)
    x = spec.function(x, spec.alpha if alpha is None else float(alpha))
    gain = spec.gain if gain is None else float(gain)
    if gain != 1:
        x = x * gain
    if clamp is not None:
        if clamp < 0:
            raise ValueError(f"bias_act: clamp is {clamp}; allowed: None (off) or a limit >= 0")
        x = x.clamp(-clamp, clamp)
    return x


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
