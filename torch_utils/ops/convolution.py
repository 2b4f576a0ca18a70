"""Convolution as three pieces that are each other's derivatives: the map, its adjoint, and the weights' gradient.

PyTorch differentiates its own convolution twice through a general routine that copies layouts and computes parts that
nobody asked for. Here every derivative, of any order, is one of three library calls, and the gradient of the weights is
computed only where somebody waits for it: path length and R1 differentiate in the input first, and drop nothing.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from torch_utils.ops import autocast_off, batched_conv, weight_gradient


class _Shape(NamedTuple):
    """What a convolution is without its tensors; y first, as the library has it. rest: rows that a stride cut off."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    transposed: bool = False
    rest: tuple[int, int] = (0, 0)


def conv2d(x, w, bias=None, *, stride=1, padding=0, groups=1):  # [N, I, H, W], [O, I/groups, kh, kw] -> [N, O, H', W']
    """Return the correlation of x with w, as torch.nn.functional.conv2d; differentiable to any order in all three."""
    return _run(x, w, bias, _Shape(_two(stride), _two(padding), groups))


def conv_transpose2d(x, w, bias=None, *, stride=1, padding=0, groups=1):  # [N, I, H, W], [I, O/groups, kh, kw]
    """Return what torch.nn.functional.conv_transpose2d gives: the adjoint of conv2d with the same w."""
    return _run(x, w, bias, _Shape(_two(stride), _two(padding), groups, transposed=True))


def _run(x, w, bias, shape):
    if torch.compiler.is_compiling():  # it differentiates, once, what it sees
        return _plain(x, w, shape, bias)
    dtype = autocast_dtype(x)
    if dtype is not None:
        x, w, bias = x.to(dtype), w.to(dtype), None if bias is None else bias.to(dtype)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (x, w, bias)):
        return _Convolution.apply(x, w, bias, shape)
    with autocast_off(x):
        return _plain(x, w, shape, bias)


def autocast_dtype(x):
    """Return the dtype in which torch.autocast wants a convolution of x, None where it leaves it alone."""
    kind = x.device.type
    if x.dtype == torch.float64 or not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def _plain(x, w, shape, bias=None):
    form = batched_conv.form_of(x, w, shape) if bias is None else None
    if form is not None:
        return batched_conv.convolve(x, w, shape, form)
    if shape.transposed:
        return F.conv_transpose2d(x, w, bias, shape.stride, shape.padding, shape.rest, shape.groups)
    return F.conv2d(x, w, bias, shape.stride, shape.padding, 1, shape.groups)


class _Convolution(torch.autograd.Function):
    """The map, or with shape.transposed its adjoint; both have the same w."""

    @staticmethod
    def forward(ctx, x, w, bias, shape):
        ctx.save_for_backward(x, w)
        ctx.shape = shape
        with autocast_off(x):  # the dtypes were settled by the caller, and a backward pass may run under autocast too
            return _plain(x, w, shape, bias)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dx = dw = db = None
        if waited_for(ctx, 0):
            dx = _Convolution.apply(dy, w, None, _adjoint(ctx.shape, x, w, dy))
        if waited_for(ctx, 1):
            dw = _WeightGradient.apply(x, dy, w.detach(), ctx.shape)
        if waited_for(ctx, 2):
            db = dy.sum([0, 2, 3])
        return dx, dw, db, None


class _WeightGradient(torch.autograd.Function):
    """The gradient of the weights: bilinear in the input x and the output's gradient dy. w only lends its form."""

    @staticmethod
    def forward(ctx, x, dy, w, shape):
        ctx.save_for_backward(x, dy)
        ctx.shape = shape
        fine, coarse = (dy, x) if shape.transposed else (x, dy)
        if weight_gradient.usable(fine, coarse, w.shape[2:], shape.stride, shape.groups):
            return weight_gradient.weight_gradient(fine, coarse, shape.stride, shape.padding).to(w.dtype)
        with autocast_off(x):
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, shape.stride, shape.padding, (1, 1), shape.transposed, shape.rest, shape.groups,
                (False, True, False))[1]

    @staticmethod
    def backward(ctx, ddw):
        x, dy = ctx.saved_tensors
        dx = ddy = None
        if waited_for(ctx, 0):
            dx = _Convolution.apply(dy, ddw, None, _adjoint(ctx.shape, x, ddw, dy))
        if waited_for(ctx, 1):
            ddy = _Convolution.apply(x, ddw, None, ctx.shape)
        return dx, ddy, None, None


def _adjoint(shape, x, w, dy):
    """Return the shape of the adjoint, which takes dy back to the size of x."""
    if shape.transposed:
        return shape._replace(transposed=False, rest=(0, 0))
    rest = tuple(x.shape[2 + i] - ((dy.shape[2 + i] - 1) * shape.stride[i] - 2 * shape.padding[i] + w.shape[2 + i])
                 for i in (0, 1))
    return shape._replace(transposed=True, rest=rest)


def waited_for(ctx, index):
    """Return whether somebody waits for the gradient of input `index` in the backward pass that is running.

    needs_input_grad only tells whether it could be wanted; the engine knows whether it is. Where the engine cannot be
    asked (a leaf given to torch.autograd.grad, or a torch without the question) the answer is yes, which is safe.
    """
    if not ctx.needs_input_grad[index]:
        return False
    node, ask = ctx.next_functions[index][0], getattr(torch._C, "_will_engine_execute_node", None)
    if ask is None or node is None:
        return True
    try:
        return ask(node)
    except RuntimeError:
        return True


def _two(value):
    return (value, value) if isinstance(value, int) else tuple(value)
