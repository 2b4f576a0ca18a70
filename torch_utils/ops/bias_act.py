"""Add a bias, apply an activation, scale, clamp: the tail of every StyleGAN2 layer; in plain torch and native."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from torch_utils.ops import is_plain, is_traced, native
from torch_utils.ops.upfirdn2d import is_channels_last


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


NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}  # enum Act


def bias_act(x, b=None, dim=1, act="linear", alpha=None, gain=None, clamp=None, *, overwrite=False):
    """Return clamp(gain * act(x + b), -clamp, clamp), of x's shape and dtype.

    x: any shape; b: [x.shape[dim]] or None. alpha (slope of lrelu) and gain default to the activation's own values in
    ACTIVATIONS; clamp None means no clamping, 0 is legal. Differentiable to any order; native, the smooth activations
    to the third. overwrite: the caller needs x no more, its memory may be used.
    """
    check_activation(act)
    if clamp is not None and clamp < 0:
        raise ValueError(f"bias_act: clamp is {clamp}; allowed: None (off) or a limit >= 0")
    spec = ACTIVATIONS[act]
    spec = Spec(dim, act, spec.alpha if alpha is None else float(alpha), spec.gain if gain is None else float(gain),
                clamp)
    if b is not None:
        _check_bias(x, b, dim)
    if native.usable(x, b):
        return _native(x, b, spec, overwrite)
    return bias_act_reference(x, b, spec, overwrite)


class Spec(NamedTuple):
    """The arguments of bias_act that are no tensors, defaults filled in."""

    dim: int
    act: str
    alpha: float
    gain: float
    clamp: float | None

    @property
    def straight(self) -> bool:
        """Whether the activation is a straight line on both sides of 0, and its slope can be read off the result."""
        return self.act in ("linear", "relu") or (self.act == "lrelu" and self.alpha >= 0)


def bias_act_reference(x, b, spec, overwrite=False):
    """Return what bias_act promises in plain torch: the definition, and what runs where nothing native does."""
    dim, act, alpha, gain, clamp = spec
    function, homogeneous = ACTIVATIONS[act].function, ACTIVATIONS[act].homogeneous
    if b is not None:
        if dim == 1 and _is_thin(x):
            lines = x.permute(0, 2, 3, 1).flatten(2)
            y = bias_act_reference(lines, b.repeat(x.shape[3]), spec._replace(dim=2), overwrite)
            return y.unflatten(2, (x.shape[3], x.shape[1])).permute(0, 3, 1, 2)
        b, overwrite = _beside(x, b, dim), True
        # Compiled, torch 2.14 forgets this alpha where x is a product of matrices; it fuses the two passes by itself.
        if homogeneous and gain > 0 and gain != 1 and not torch.compiler.is_compiling():  # gain * (x + b) in one pass
            x, gain = torch.add(b * gain, x, alpha=gain), 1.0
        else:
            x = x + b
    x = function(x, alpha, overwrite)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def _is_thin(x):
    """Return whether x is a picture of few channels side by side, which a processor passes faster line by line."""
    return (x.ndim == 4 and 1 < x.shape[1] < 8 and x.device.type == "cpu" and not is_traced() and is_plain(x)
            and is_channels_last(x))


def check_activation(act: str) -> None:
    """Raise ValueError unless act is a row of ACTIVATIONS."""
    if act not in ACTIVATIONS:
        raise ValueError(f"activation {act!r} is not known; allowed: {', '.join(ACTIVATIONS)}")


def _check_bias(x, b, dim):
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"bias_act: dim {dim} does not exist in x of shape {list(x.shape)}")
    if b.ndim != 1 or b.shape[0] != x.shape[dim]:
        raise ValueError(f"bias_act: bias of shape {list(b.shape)}; allowed: [{x.shape[dim]}], "
                         f"the size of dimension {dim} of x {list(x.shape)}")


def _beside(x, b, dim):  # [K] -> [1, .., K, .., 1] in x's dtype
    shape = [1] * x.ndim
    shape[dim] = -1
    return b.to(x.dtype).reshape(shape)


def _native(x, b, spec, overwrite):
    native.check_size("bias_act", x.shape)
    if torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad)):
        return _BiasAct.apply(x, b, spec)
    return _run(0, spec, x, b=b, overwrite=overwrite)


class _BiasAct(torch.autograd.Function):
    """The op; keeps its result for the straight activations, else x, for the backward pass."""

    @staticmethod
    def forward(ctx, x, b, spec):
        y = _run(0, spec, x, b=b)
        ctx.spec = spec
        ctx.save_for_backward(y if spec.straight else x, b)
        return y

    @staticmethod
    def backward(ctx, dy):
        saved, b = ctx.saved_tensors
        dx = _Slopes.apply(dy, saved.detach() if ctx.spec.straight else saved, b, ctx.spec)
        return dx, _bias_gradient(ctx, dx, b), None


class _Slopes(torch.autograd.Function):
    """dy times the first derivative at each place; saved is the result or the argument of the op."""

    @staticmethod
    def forward(ctx, dy, saved, b, spec):
        ctx.spec = spec
        ctx.save_for_backward(dy, saved, b)
        return _run(1, spec, dy, saved=saved, b=b)

    @staticmethod
    def backward(ctx, v):
        dy, saved, b = ctx.saved_tensors
        d_dy = _Slopes.apply(v, saved, b, ctx.spec) if ctx.needs_input_grad[0] else None
        if ctx.spec.act in ("linear", "relu", "lrelu") or not any(ctx.needs_input_grad[1:3]):
            return d_dy, None, None, None
        dx = _Curvatures.apply(v, dy, saved, b, ctx.spec)
        return d_dy, dx, _bias_gradient(ctx, dx, b, index=2), None


class _Curvatures(torch.autograd.Function):
    """v * dy times the second derivative at x + b."""

    @staticmethod
    def forward(ctx, v, dy, x, b, spec):
        ctx.spec = spec
        ctx.save_for_backward(v, dy, x, b)
        return _run(2, spec, v, dy=dy, saved=x, b=b)

    @staticmethod
    @once_differentiable
    def backward(ctx, w):
        v, dy, x, b = ctx.saved_tensors
        with torch.enable_grad():  # rare enough to leave it to plain torch
            p = (x if b is None else x + _beside(x, b, ctx.spec.dim)).detach().requires_grad_()
            (first,) = torch.autograd.grad(bias_act_reference(p, None, ctx.spec).sum(), p, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), p, create_graph=True)
            (third,) = torch.autograd.grad(second.sum(), p)
        dx = w * v * dy * third
        return w * dy * second.detach(), w * v * second.detach(), dx, _bias_gradient(ctx, dx, b, index=3), None


def _bias_gradient(ctx, dx, b, index=1):
    if b is None or not ctx.needs_input_grad[index]:
        return None
    axes = [axis for axis in range(dx.ndim) if axis != ctx.spec.dim % dx.ndim]
    exact = torch.promote_types(dx.dtype, b.dtype)  # a sum over many pixels may leave the range of float16
    return (dx.sum(axes, dtype=exact) if axes else dx).to(b.dtype)


def _run(order, spec, x, *, saved=None, dy=None, b=None, overwrite=False):
    """One pass of the kernel over x, or for order 1 and 2 over what comes back (x), at saved, times dy."""
    pattern = native.dense(x if saved is None else saved)
    x, dy = native.laid_out_as(x, pattern), None if dy is None else native.laid_out_as(dy, pattern)
    out = x if overwrite else torch.empty_like(pattern, dtype=x.dtype)
    if x.numel() == 0:
        return out
    b = None if b is None else b.contiguous()
    from_output = order == 1 and spec.straight
    saved = None if saved is None else pattern
    native.call("bias_act", native.BiasActCall(
        native.pointer(x), native.pointer(dy), native.pointer(saved), None if from_output else native.pointer(b),
        native.pointer(out), x.numel(), max(1, x.stride(spec.dim)) if b is not None else 1,
        x.shape[spec.dim] if b is not None else 1, spec.alpha, spec.gain, -1.0 if spec.clamp is None else spec.clamp,
        native.KINDS[x.dtype], native.kind_of(b), NUMBERS[spec.act], order, from_output), x.device)
    return out
