"""The layer that reads a picture, a 1x1 convolution from a few planes with bias and activation: one pass each way.

The kernels are for processors. The layer, with slopes that do not move, and its gradients are each other's derivatives,
so that two autograd Functions give every order.
"""

import torch

from torch_utils.ops import build, is_traced, layer_tail, native
from torch_utils.ops.bias_act import ACTIVATIONS
from torch_utils.ops.convolution import autocast_dtype, waited_for
from torch_utils.ops.thin_product import MOST_PLANES

LAST = torch.channels_last
PART = 4096  # pixels whose sums the kernel keeps apart, as in thin_product.cpp


def usable(x, w, bias, act) -> bool:
    """Return whether the vector kernels run for these, as thin_layer takes them."""
    if is_traced() or act not in layer_tail.STRAIGHT or w.shape[1] > MOST_PLANES or w.shape[2:] != (1, 1):
        return False
    return ((autocast_dtype(x) or x.dtype) in (torch.float32, torch.bfloat16)
            and layer_tail.usable(x, w, bias, fewest=1) and len(w) % build.built("simd").v2s_simd_lanes() == 0)


def thin_layer(x, w, bias, act):  # [N, K, H, W], [C, K, 1, 1], [C] or None -> [N, C, H, W]
    """Return act(conv2d(x, w, bias)), no gain, in x's dtype or autocast's; only where `usable`.

    Operands are rounded to that dtype, sums are float32. Differentiable in all three to any order.
    """
    dtype = autocast_dtype(x) or x.dtype
    x, w, bias = (None if each is None else each.to(dtype) for each in (x, w, bias))
    return _Layer.apply(x, w, bias, None, layer_tail.STRAIGHT[act](ACTIVATIONS[act].alpha))


class _Layer(torch.autograd.Function):
    """The layer; or, with `at` [N, C, H, W], conv2d(x, w, bias) times the activation's slope at the sign of that."""

    @staticmethod
    def forward(ctx, x, w, bias, at, alpha):
        y = torch.empty([len(x), len(w), *x.shape[2:]], dtype=x.dtype, memory_format=LAST)
        _call(alpha, input=x.contiguous(memory_format=LAST), at=at, weight=_planes_first(w),
              bias=None if bias is None else bias.float(), output=y)
        ctx.alpha = alpha
        ctx.save_for_backward(x, w, y if at is None else at)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, at = ctx.saved_tensors
        wanted = tuple(waited_for(ctx, index) for index in range(3))
        return *_Gradients.apply(dy, x, w, at.detach(), ctx.alpha, wanted), None, None


class _Gradients(torch.autograd.Function):
    """The gradients of x, w and bias, None where not wanted."""

    @staticmethod
    def forward(ctx, dy, x, w, at, alpha, wanted):
        dx = torch.empty_like(x, memory_format=LAST) if wanted[0] else None
        sums = torch.empty([-(-x[:, 0].numel() // PART), w.shape[1] + 1, len(w)]) if any(wanted[1:]) else None
        _call(alpha, input=x.contiguous(memory_format=LAST), at=at, gradient=dy.contiguous(memory_format=LAST),
              weight=_planes_first(w), d_input=dx, sums=sums)
        ctx.alpha = alpha
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(dy, x, w, at)
        if sums is None:
            return dx, None, None
        sums = sums.sum(0).to(w.dtype)
        return dx, sums[:-1].t().reshape(w.shape) if wanted[1] else None, sums[-1] if wanted[2] else None

    @staticmethod
    def backward(ctx, vx, vw, vb):
        dy, x, w, at = ctx.saved_tensors
        of_dy, of_x, of_w = (waited_for(ctx, index) for index in range(3))
        d_dy = d_x = d_w = None
        if of_dy and vx is not None:
            d_dy = _Layer.apply(vx, w, None, at, ctx.alpha)
        if of_dy and not (vw is None and vb is None):
            along = _Layer.apply(x, torch.zeros_like(w) if vw is None else vw, vb, at, ctx.alpha)
            d_dy = along if d_dy is None else d_dy + along
        if of_x and vw is not None:
            d_x = _Gradients.apply(dy, x, vw, at, ctx.alpha, (True, False, False))[0]
        if of_w and vx is not None:
            d_w = _Gradients.apply(dy, vx, w, at, ctx.alpha, (False, True, False))[1]
        return d_dy, d_x, d_w, None, None, None


def _planes_first(w):  # [C, K, 1, 1] -> [K, C]
    return w.flatten(1).t().float().contiguous()


def _call(alpha, *, input, weight, **tensors):
    native.call("thin_layer", native.ThinLayerCall(
        input=native.pointer(input), weight=native.pointer(weight), pixels=input[:, 0].numel(), alpha=alpha,
        **{name: native.pointer(tensor) for name, tensor in tensors.items()}, planes=weight.shape[0],
        channels=weight.shape[1], kind=native.KINDS[input.dtype], threads=torch.get_num_threads()), "simd")
