"""Resample pictures: insert zeros, pad or crop, filter with a small FIR kernel, keep every n-th sample.

In plain torch and native (upfirdn2d.h); the plain form is the reference of the native one.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from torch_utils.ops import autocast_off, layer_tail, native


def setup_filter(f, device=None, normalize=True, flip_filter=False, gain=1, separable=None):
    """Return the float32 filter tensor that the other functions of this file take: [taps] (separable) or [H, W].

    f: None (identity), number, list of taps, or 2-D kernel. A list with fewer than 8 taps becomes its outer product
    with itself unless separable says otherwise. normalize: sum 1. gain: factor of the whole 2-D filter.
    """
    f = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32, device=device)
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"filter of shape {list(f.shape)}; allowed: a number, a list of taps, or a 2-D kernel")
    if f.ndim == 0:
        f = f.reshape(1)
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= 8
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    if separable and f.ndim != 1:
        raise ValueError("a 2-D kernel cannot be declared separable; give its list of taps")
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(tuple(range(f.ndim)))
    return f * gain ** (f.ndim / 2)


def upfirdn2d(x, f, up=1, down=1, padding=0, flip_filter=False, gain=1):  # [N, C, H, W] -> [N, C, H', W']
    """Return x up-sampled by zero insertion, padded, filtered and down-sampled; each channel by itself.

    f: from setup_filter, or None for identity. up, down: n or [x, y]. padding: p, [x, y] or [x0, x1, y0, y1], counted
    in up-sampled pixels, negative values crop. flip_filter: False convolves, True correlates. gain: factor of the
    output. H' = (H*up + y0 + y1 - taps) // down + 1. Differentiable in x to any order; the filter is a constant.
    """
    f = check_input(x, f)
    up, down, pad = pair(up, "up"), pair(down, "down"), pad4(padding)
    if f.ndim == 1:  # one pass along x, one along y
        x = apply_plan(x, f[None, :], Plan((up[0], 1), (down[0], 1), (*pad[:2], 0, 0)), flip_filter, gain)
        return apply_plan(x, f[:, None], Plan((1, up[1]), (1, down[1]), (0, 0, *pad[2:])), flip_filter, 1)
    return apply_plan(x, f, Plan(up, down, pad), flip_filter, gain)


def filter2d(x, f, padding=0, flip_filter=False, gain=1):  # [N, C, H, W] -> [N, C, H, W] at padding 0
    """Return x filtered at its own size; padding is added to what keeps the size."""
    fw, fh = filter_size(f)
    extra = (fw // 2, (fw - 1) // 2, fh // 2, (fh - 1) // 2)
    return upfirdn2d(x, f, padding=_sum4(padding, extra), flip_filter=flip_filter, gain=gain)


def upsample2d(x, f, up=2, padding=0, flip_filter=False, gain=1):  # [N, C, H, W] -> [N, C, H*up, W*up]
    """Return x enlarged; the gain makes up for the inserted zeros, so a constant stays the same constant."""
    (ux, uy), (fw, fh) = pair(up, "up"), filter_size(f)
    extra = (*up_padding(fw, ux), *up_padding(fh, uy))
    return upfirdn2d(x, f, up=up, padding=_sum4(padding, extra), flip_filter=flip_filter, gain=gain * ux * uy)


def downsample2d(x, f, down=2, padding=0, flip_filter=False, gain=1):  # [N, C, H, W] -> [N, C, H/down, W/down]
    """Return x reduced."""
    (dx, dy), (fw, fh) = pair(down, "down"), filter_size(f)
    extra = (*down_padding(fw, dx), *down_padding(fh, dy))
    return upfirdn2d(x, f, down=down, padding=_sum4(padding, extra), flip_filter=flip_filter, gain=gain)


def up_padding(taps: int, up: int) -> tuple[int, int]:
    """Return the pads that make up-sampling give exactly size*up (in up-sampled pixels)."""
    return (taps + up - 1) // 2, (taps - up) // 2


def down_padding(taps: int, down: int) -> tuple[int, int]:
    """Return the pads that make down-sampling give exactly size/down."""
    return (taps - down + 1) // 2, (taps - down) // 2


def filter_size(f) -> tuple[int, int]:
    """Return (width, height) of a filter from setup_filter; None is 1 x 1."""
    return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def pair(value, what: str) -> tuple[int, int]:
    """Return a factor given as n or [x, y] as (x, y)."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(v, int) and v >= 1 for v in values):
        raise ValueError(f"{what} is {value!r}; allowed: a whole number >= 1, or two of them [x, y]")
    return values


def pad4(padding) -> tuple[int, int, int, int]:
    """Return a padding given as p, [x, y] or [x0, x1, y0, y1] as (x0, x1, y0, y1)."""
    values = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    if len(values) == 2:
        values = (values[0], values[0], values[1], values[1])
    if len(values) != 4 or not all(isinstance(v, int) for v in values):
        raise ValueError(f"padding is {padding!r}; allowed: a whole number, [x, y] or [x0, x1, y0, y1]")
    return values


def check_input(x, f):
    """Return the filter (None made a 1 x 1 one) after checking picture and filter shapes."""
    if x.ndim != 4:
        raise ValueError(f"pictures of shape {list(x.shape)}; allowed: [N, C, H, W]")
    if f is None:
        return torch.ones([1, 1], dtype=torch.float32, device=x.device)
    if f.ndim not in (1, 2):
        raise ValueError(f"filter of shape {list(f.shape)}; allowed: [taps] or [H, W], see setup_filter")
    return f


def _sum4(padding, extra):
    return tuple(a + b for a, b in zip(pad4(padding), extra, strict=True))


class Plan(NamedTuple):
    """Factors and pads of one pass; x first, as everywhere in this file."""

    up: tuple[int, int]
    down: tuple[int, int]
    pad: tuple[int, int, int, int]


def apply_plan(x, f, plan, flip_filter, gain):
    """Return one pass with a 2-D filter f, native or in plain torch; differentiable in x."""
    check_room(x, f, plan)
    differentiate = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
    if native.usable(x, f):
        f = f.detach()
        return _NativePass.apply(x, f, plan, flip_filter, gain, run_native) if differentiate else run_native(
            x, f, plan, flip_filter, gain)
    if layer_tail.usable(x, f) and layer_tail.taps_of(f, x.dtype) is not None:
        f = f.detach()
        return _NativePass.apply(x, f, plan, flip_filter, gain, run_vector) if differentiate else run_vector(
            x, f, plan, flip_filter, gain)
    kernel = f.detach().to(torch.promote_types(x.dtype, torch.float32)) * gain
    kernel = (kernel if flip_filter else kernel.flip(0, 1)).to(x.dtype)  # that of a correlation
    return _Pass.apply(x, kernel, plan) if differentiate else _run(x, kernel, plan)


def check_room(x, f, plan):
    """Raise ValueError when the filter f [H, W] leaves nothing of pictures x."""
    for axis, size in ((0, x.shape[3]), (1, x.shape[2])):
        if size * plan.up[axis] + plan.pad[2 * axis] + plan.pad[2 * axis + 1] < f.shape[1 - axis]:
            raise ValueError(f"picture of shape {list(x.shape)} with padding {list(plan.pad)} is smaller than "
                             f"the filter {list(f.shape)}; nothing would be left")


def plan_of(padding):
    """Return the plan of a pass that only pads by (x0, x1, y0, y1), crops and filters."""
    return Plan((1, 1), (1, 1), padding)


def adjoint_of(plan, size, out, taps):
    """Return the plan of the pass that carries a gradient of the result (x and y sizes out) back to the picture."""
    back = []
    for axis in (0, 1):
        p0 = plan.pad[2 * axis]
        back += [taps[axis] - p0 - 1, size[axis] * plan.up[axis] - out[axis] * plan.down[axis] + p0 - plan.up[axis] + 1]
    return Plan(plan.down, plan.up, tuple(back))


class _Pass(torch.autograd.Function):
    """A pass and its adjoint, which is again a pass: up and down change places, the kernel is turned around."""

    @staticmethod
    def forward(ctx, x, kernel, plan):
        ctx.save_for_backward(kernel)
        ctx.plan, ctx.size = plan, (x.shape[3], x.shape[2])
        return _run(x, kernel, plan)

    @staticmethod
    def backward(ctx, dy):
        (kernel,) = ctx.saved_tensors
        out, taps = (dy.shape[3], dy.shape[2]), (kernel.shape[1], kernel.shape[0])
        plan, kernel = adjoint_of(ctx.plan, ctx.size, out, taps), kernel.flip(0, 1)
        if torch.is_grad_enabled() and dy.requires_grad:
            return _Pass.apply(dy, kernel, plan), None, None
        return _run(dy, kernel, plan), None, None


class _NativePass(torch.autograd.Function):
    """The pass by run, native; its adjoint is again one, with the filter turned around by a flag."""

    @staticmethod
    def forward(ctx, x, f, plan, flip_filter, gain, run):
        ctx.save_for_backward(f)
        ctx.plan, ctx.size, ctx.flip_filter, ctx.gain = plan, (x.shape[3], x.shape[2]), flip_filter, gain
        ctx.run = run
        return run(x, f, plan, flip_filter, gain)

    @staticmethod
    def backward(ctx, dy):
        (f,) = ctx.saved_tensors
        plan = adjoint_of(ctx.plan, ctx.size, (dy.shape[3], dy.shape[2]), (f.shape[1], f.shape[0]))
        if torch.is_grad_enabled() and dy.requires_grad:
            dx = _NativePass.apply(dy, f, plan, not ctx.flip_filter, ctx.gain, ctx.run)
        else:
            dx = ctx.run(dy, f, plan, not ctx.flip_filter, ctx.gain)
        return dx, None, None, None, None, None


def run_vector(x, f, plan, flip_filter, gain):
    """Return the pass by the processor's vector kernel; f is one that layer_tail.taps_of can split."""
    return layer_tail.filtered(x, layer_tail.taps_of(f, x.dtype), plan, flip_filter, gain)


def run_native(x, f, plan, flip_filter, gain, path="best"):
    """Return the pass by the native op; path names the kernel that is to be used if it can (native.PATHS)."""
    call, y = fill_call(x, f, plan, flip_filter, gain, path)
    native.call("upfirdn2d", call, x.device)
    return y


def fill_call(x, f, plan, flip_filter, gain, path="best"):
    """Return the struct of a native pass and the tensor that it will fill, laid out in memory as x."""
    up, down, pad = plan
    taps = (f.shape[1], f.shape[0])
    width, height = ((size * up[axis] + pad[2 * axis] + pad[2 * axis + 1] - taps[axis]) // down[axis] + 1
                     for axis, size in ((0, x.shape[3]), (1, x.shape[2])))
    shape = (*x.shape[:2], height, width)
    for size in (x.shape, shape):
        native.check_size("upfirdn2d", size)
    memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    f = f.contiguous()
    call = native.UpfirdnCall(
        native.pointer(x), native.pointer(f), native.pointer(y), *x.stride(), *y.stride(), gain, *x.shape, height,
        width, *up[::-1], *down[::-1], pad[2], pad[0], *f.shape, bool(flip_filter), native.KINDS[x.dtype],
        native.KINDS[f.dtype], native.PATHS[path])
    call.keep = f  # alive until the call is done
    return call, y


def _run(x, kernel, plan):
    """The pass itself, by the cheapest library call that gives it."""
    up, down, pad = plan
    with autocast_off(x):
        if up == (1, 1):
            return _correlate(x, kernel, down, pad)
        # A transposed convolution skips the inserted zeros. Depthwise it is slow in 16 bits on a CPU; it cannot crop.
        if min(pad) >= 0 and (x.dtype.itemsize >= 4 or x.is_cuda):
            return _spread(x, kernel, plan)
        return _correlate(_insert_zeros(x, up), kernel, down, pad)


def _correlate(x, kernel, down, pad):
    x0, x1, y0, y1 = pad
    symmetric = x0 == x1 >= 0 and y0 == y1 >= 0
    if not symmetric:
        x = F.pad(x, pad)
    weight = kernel.expand(x.shape[1], 1, *kernel.shape).contiguous()
    return F.conv2d(x, weight, stride=down[::-1], padding=(y0, x0) if symmetric else 0, groups=x.shape[1])


def _insert_zeros(x, up):
    n, c, h, w = x.shape
    memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    y = torch.empty((n, c, h * up[1], w * up[0]), dtype=x.dtype, device=x.device, memory_format=memory_format).zero_()
    y[:, :, :: up[1], :: up[0]] = x
    return y


def _spread(x, kernel, plan):
    up, down, (x0, x1, y0, y1) = plan
    (th, tw), channels = kernel.shape, x.shape[1]
    # Margins of the full result, (size-1)*up + taps, against the wanted one: positive pads, negative crops.
    rest = (x0 - tw + 1, x1 - tw + up[0], y0 - th + 1, y1 - th + up[1])
    crop = (max(0, -max(rest[2:])), max(0, -max(rest[:2])))  # the part that the library crops for us (y, x)
    weight = kernel.flip(0, 1).expand(channels, 1, th, tw).contiguous()
    y = F.conv_transpose2d(x, weight, stride=up[::-1], padding=crop, groups=channels)
    rest = (rest[0] + crop[1], rest[1] + crop[1], rest[2] + crop[0], rest[3] + crop[0])
    if any(rest):
        y = F.pad(y, rest)
    return y if down == (1, 1) else y[:, :, :: down[1], :: down[0]]


def is_channels_last(x) -> bool:
    """Return whether x lies in memory with its channels innermost."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
