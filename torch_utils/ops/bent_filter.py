"""A filter behind a layer's bias and activation, y = fir(phi(x + b)): plain torch, and one pass on a processor."""

import torch

from torch_utils.ops import layer_tail
from torch_utils.ops.bias_act import ACTIVATIONS, bias_act
from torch_utils.ops.upfirdn2d import adjoint_of, check_room, pad4, plan_of, upfirdn2d


def bent_filter(x, f, bias, *, padding=0, act="lrelu", gain=None):  # [N, C, H, W] -> [N, C, H', W']
    """Return upfirdn2d(bias_act(x, bias, act, gain), f, padding); differentiable in x and bias to any order."""
    if not usable(x, f, bias, act):
        return bent_filter_reference(x, f, bias, padding=padding, act=act, gain=gain)
    spec, plan = ACTIVATIONS[act], plan_of(pad4(padding))
    check_room(x, f, plan)
    gain = spec.gain if gain is None else float(gain)
    return _Bent.apply(x, f.detach(), bias, (layer_tail.STRAIGHT[act](spec.alpha), gain), plan)


def bent_filter_reference(x, f, bias, *, padding=0, act="lrelu", gain=None):
    """Return what bent_filter promises, step by step."""
    return upfirdn2d(bias_act(x, bias, act=act, gain=gain), f, padding=padding)


def usable(x, f, bias, act) -> bool:
    """Return whether the vector kernel runs for these."""
    return act in layer_tail.STRAIGHT and layer_tail.usable(x, f, bias) and layer_tail.taps_of(f, x.dtype) is not None


class _Bent(torch.autograd.Function):
    """The filter of phi(x + bias); phi is straight on both sides of 0."""

    @staticmethod
    def forward(ctx, x, f, bias, bend, plan):
        ctx.bend, ctx.plan = bend, plan
        ctx.save_for_backward(x, f, bias)
        return layer_tail.bent(x, bias, bend, **_filtering(f, x, plan))

    @staticmethod
    def backward(ctx, dy):
        x, f, bias = ctx.saved_tensors
        dx, db = _BentBack.apply(dy, x.detach(), f, bias.detach(), ctx.bend, ctx.plan)
        return dx, None, db, None, None


class _BentBack(torch.autograd.Function):
    """The gradients of x and bias: linear in dy, with slopes that do not move."""

    @staticmethod
    def forward(ctx, dy, x, f, bias, bend, plan):
        ctx.bend, ctx.plan = bend, plan
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, f, bias)
        back = adjoint_of(plan, (x.shape[3], x.shape[2]), (dy.shape[3], dy.shape[2]), (f.shape[1], f.shape[0]))
        dx, db = layer_tail.bent_back(dy, x, bias, bend, **_filtering(f, x, back, turned=True))
        return dx, db.to(bias.dtype)

    @staticmethod
    def backward(ctx, v, vb):
        x, f, bias = ctx.saved_tensors
        return _BentAlong.apply(v, vb, x, f, bias, ctx.bend, ctx.plan), None, None, None, None, None


class _BentAlong(torch.autograd.Function):
    """The filter of (v + vb) times the slopes: the adjoint of _BentBack, and it of this."""

    @staticmethod
    def forward(ctx, v, vb, x, f, bias, bend, plan):
        ctx.bend, ctx.plan = bend, plan
        ctx.save_for_backward(x, f, bias)
        v = torch.zeros_like(x) if v is None else v
        return layer_tail.bent(v, bias, bend, at=x, added=vb, **_filtering(f, x, plan))

    @staticmethod
    def backward(ctx, dy):
        x, f, bias = ctx.saved_tensors
        return *_BentBack.apply(dy, x, f, bias, ctx.bend, ctx.plan), None, None, None, None, None


def _filtering(f, x, plan, turned=False):
    return {"taps": layer_tail.taps_of(f, x.dtype), "plan": plan, "flip_filter": turned, "gain": 1.0}
