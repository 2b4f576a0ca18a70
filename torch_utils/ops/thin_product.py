"""A 1x1 convolution to a few planes with weights of each sample's own: in plain torch, and by vector kernels.

The product and its two gradients are bilinear, and each other's derivatives.
"""

import torch

from torch_utils.ops import build, layer_tail, native

MOST_PLANES = 4


def thin_product(x, w):  # [N, C, H, W], [N, K, C] -> [N, K, H, W]
    """Return y[n, k] = sum over c of w[n, k, c] * x[n, c], in x's dtype; differentiable in both to any order."""
    if not usable(x, w):
        return thin_product_reference(x, w)
    if torch.is_grad_enabled() and (x.requires_grad or w.requires_grad):
        return _Product.apply(x, w)
    return _run(x, w)


def thin_product_reference(x, w):
    """Return what thin_product promises, by one batched matrix product over channels-last pixels."""
    n, _, height, width = x.shape
    y = x.permute(0, 2, 3, 1).flatten(1, 2) @ w.to(x.dtype).transpose(1, 2)
    return y.reshape(n, height, width, w.shape[1]).permute(0, 3, 1, 2)


def usable(x, w) -> bool:
    """Return whether the vector kernel runs for these."""
    return (w.shape[1] <= MOST_PLANES and x.dtype != torch.float64 and layer_tail.usable(x, w)
            and x.shape[1] % build.built("simd").v2s_simd_lanes() == 0)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return _run(x, w)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return _run_back(dy, x if ctx.needs_input_grad[1] else None, w, ctx.needs_input_grad[0])
        return (_OfPictures.apply(dy, w) if ctx.needs_input_grad[0] else None,
                _OfWeights.apply(dy, x, w.detach()) if ctx.needs_input_grad[1] else None)


class _OfPictures(torch.autograd.Function):
    """The gradient of x: sum over k of dy[n, k] * w[n, k, c]."""

    @staticmethod
    def forward(ctx, dy, w):
        ctx.save_for_backward(dy, w)
        return _run_back(dy, None, w, True)[0]

    @staticmethod
    def backward(ctx, v):
        dy, w = ctx.saved_tensors
        return (thin_product(v, w) if ctx.needs_input_grad[0] else None,
                _OfWeights.apply(dy, v, w.detach()) if ctx.needs_input_grad[1] else None)


class _OfWeights(torch.autograd.Function):
    """The gradient of w: sum over pixels of dy[n, k] * x[n, c]. w only lends its dtype."""

    @staticmethod
    def forward(ctx, dy, x, w):
        ctx.save_for_backward(dy, x)
        return _run_back(dy, x, w, False)[1]

    @staticmethod
    def backward(ctx, v):
        dy, x = ctx.saved_tensors
        return (thin_product(x, v) if ctx.needs_input_grad[0] else None,
                _OfPictures.apply(dy, v) if ctx.needs_input_grad[1] else None, None)


def _run(x, w):
    x = x.detach().contiguous(memory_format=torch.channels_last)
    y = torch.empty([len(x), w.shape[1], *x.shape[2:]], dtype=x.dtype, memory_format=torch.channels_last)
    _call(x, w.shape[1], weight=w.detach().float().contiguous(), input=x, output=y)
    return y


def _run_back(dy, x, w, wants_pictures):
    """Returns the gradients of x (None unless wanted) and of w (None without x)."""
    dy = dy.detach().contiguous(memory_format=torch.channels_last)
    x = None if x is None else x.detach().to(dy.dtype).contiguous(memory_format=torch.channels_last)
    shape = (len(dy), w.shape[2], *dy.shape[2:])
    dx = torch.empty(shape, dtype=dy.dtype, memory_format=torch.channels_last) if wants_pictures else None
    dw = None if x is None else torch.empty(w.shape, dtype=torch.float32)
    _call(dy, w.shape[1], weight=w.detach().float().contiguous(), input=x, gradient=dy, d_input=dx, d_weight=dw,
          channels=w.shape[2])
    return dx, None if dw is None else dw.to(w.dtype)


def _call(pictures, planes, *, channels=None, **tensors):
    native.call("thin_product", native.ThinProductCall(
        **{name: native.pointer(tensor) for name, tensor in tensors.items()}, pixels=pictures[0, 0].numel() if len(
            pictures) else 0, batch=len(pictures), planes=planes, channels=channels or pictures.shape[1],
        kind=native.KINDS[pictures.dtype], threads=torch.get_num_threads()), "simd")
