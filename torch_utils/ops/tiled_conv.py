"""Convolutions of float32 or bfloat16 pictures by the vector kernels of cpu/, channels-last, on a CPU.

No gradients. `weight_for` answers None where there is no compiler or no whole number of vectors: use plain torch then.
"""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.ops import build
from torch_utils.ops.native import KINDS, check_answer, pointer

FORMS = ("same", "up", "down")
_KERNELS = {name: number for number, name in enumerate(  # enum Form
    ("same4", "same6", "up4", "down4", "same4 bf16", "up3 bf16", "same2", "up2", "up3", "up1", "same2 bf16",
     "up1 bf16"))}


class TiledWeight(NamedTuple):
    """A weight as the kernel takes it, and what kind of convolution it is for."""

    values: Tensor
    form: str
    kernel: int
    num_out: int
    num_in: int


def _struct(name, pointers, rest):
    """Returns a ctypes.Structure: pointers, then (name, type) of other fields."""
    fields = [*((field, ctypes.c_void_p) for field in pointers), *rest]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _ints(*names):
    return [(name, ctypes.c_int32) for name in names]


_POINTERS = ("input", "weight", "in_scale", "out_scale", "bias", "noise", "taps", "output")
_WinogradCall = _struct("WinogradCall", _POINTERS, [
    ("noise_stride", ctypes.c_int64), ("alpha", ctypes.c_double), ("clamp", ctypes.c_double),
    *_ints("batch", "in_y", "in_x", "out_y", "out_x", "in_channels", "out_channels", "form", "padding", "kind",
           "threads")])
_ToRgbCall = _struct("ToRgbCall", ("input", "weight", "bias", "smaller", "taps", "output"), [
    ("clamp", ctypes.c_double), *_ints("batch", "y", "x", "channels", "planes", "kind", "threads")])
_BlockCall = _struct("BlockCall", (), [("up", _WinogradCall), ("same", _WinogradCall), ("rgb", _ToRgbCall)])
_WeightCall = _struct("WeightCall", ("weight", "output"), [
    ("out_stride", ctypes.c_int64), ("in_stride", ctypes.c_int64), *_ints("flip", "out", "in", "form", "threads")])
_CALLS = {"winograd": _WinogradCall, "winograd_weight": _WeightCall, "to_rgb": _ToRgbCall, "block": _BlockCall}


def weight_for(w, form, *, adjoint=False, side=None, bf16=False):
    """Return w [O, I, 3, 3] float32 for one of FORMS as a TiledWeight, or None where plain torch is to run.

    same: correlation with padding 1, stride 1. up: the transposed convolution of stride 2. down: correlation of stride
    2. adjoint: w is that of the map's adjoint, [I, O, 3, 3] (for "up" thus the weight as conv_transpose2d has it).
    side: shorter side of the results, for the choice of tiles. bf16: numbers are multiplied in bfloat16
    (sums in float32) where the processor can; results then deviate by 4e-3 of their size ("up") or 1e-2 ("same").
    """
    num_out, num_in = w.shape[1::-1] if adjoint else w.shape[:2]
    library = None if w.device.type != "cpu" or w.shape[2:] != (3, 3) else _library()
    if library is None or num_out % library.v2s_simd_lanes() or num_in % library.v2s_simd_lanes():
        return None
    w = w.detach().float().contiguous()
    kernel = _kernel_of(form, side, bf16 and library.v2s_simd_multiplies_bf16())
    values = torch.empty(library.v2s_winograd_bytes(kernel) * num_out * num_in, dtype=torch.uint8)
    strides = (9, 9 * num_out) if adjoint else (9 * num_in, 9)
    flip = adjoint and form == "same"  # the others keep their taps: strided and transposed convolution share a weight
    call = _WeightCall(pointer(w), pointer(values), *strides, flip, num_out, num_in, kernel, torch.get_num_threads())
    check_answer("winograd_weight", library.v2s_winograd_weight(ctypes.byref(call), None), "simd")
    return TiledWeight(values, form, kernel, num_out, num_in)


def _kernel_of(form, side, bf16):
    few = side and side <= 8  # tiles: those beyond the edge count, and so do the weights
    if bf16 and form != "down":
        return _KERNELS[{"same": "same2" if few else "same4", "up": "up1" if few else "up3"}[form] + " bf16"]
    if form == "up" and side and side <= 128:
        return _KERNELS["up1" if few else "up2" if side <= 32 else "up3"]
    if form != "same":
        return _KERNELS[f"{form}4"]
    if few:
        return _KERNELS["same2"]
    wasted = 1 if side is None else -(-side // 6) * 6 / side  # tiles of 6 reach beyond the edge
    return _KERNELS["same6" if side and (wasted * 8 / 6) ** 2 < 1.5**2 else "same4"]


def convolve(x, weight, size, *, padding=0, taps=None, in_scale=None, out_scale=None, bias=None, noise=None,
             slope=1.0, clamp=None):
    """Return [N, O, *size] channels-last in the dtype of x [N, I, H, W], float32 or bfloat16.

    y = low-pass(convolution(x * in_scale)) * out_scale + bias + noise, then leaky rectifier and clamp. padding: of form
    "down". taps: 4, float32, of a separable low-pass with padding 1 behind form "up". in_scale [N, I], out_scale
    [N, O], bias [O], noise [H', W'] or [N, 1, H', W'], all float32. slope: of the rectifier (1: none). The result does
    not depend on the number of threads. ValueError: other number types or another number of channels.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    after = After(taps, in_scale, out_scale, bias, noise, slope, clamp)
    y = torch.empty(len(x), *size, weight.num_out, dtype=x.dtype).permute(0, 3, 1, 2)
    call, _held = _call(x, x.shape, x.dtype, weight, size, padding, after, y)
    if y.numel():
        check_answer("winograd", _library().v2s_winograd(ctypes.byref(call), None), "simd")
    return y


class After(NamedTuple):
    """What surrounds a convolution, as `convolve` has it."""

    taps: Tensor | None = None
    in_scale: Tensor | None = None
    out_scale: Tensor | None = None
    bias: Tensor | None = None
    noise: Tensor | None = None
    slope: float = 1.0
    clamp: float | None = None


def _call(x, shape, dtype, weight, size, padding, after, y):
    """Returns a WinogradCall and the tensors that it points to; x and y are None where they are not in memory."""
    if dtype not in (torch.float32, torch.bfloat16) or shape[1] != weight.num_in:
        raise ValueError(f"pictures {list(shape)} {dtype} for a convolution of {weight.num_in} channels; allowed: "
                         "float32 or bfloat16 with as many channels")
    small = [None if each is None else each.float().contiguous()
             for each in (after.in_scale, after.out_scale, after.bias, after.noise, after.taps)]
    stride = 0 if after.noise is None or after.noise.ndim == 2 else size[0] * size[1]
    call = _WinogradCall(pointer(x), pointer(weight.values), *map(pointer, small), pointer(y), stride, after.slope,
                         -1.0 if after.clamp is None else after.clamp, shape[0], *shape[2:], *size, weight.num_in,
                         weight.num_out, weight.kernel, padding if weight.form == "down" else 1, KINDS[dtype],
                         torch.get_num_threads())
    return call, small


def draw_block(x, up, same, rgb, *, keep):
    """Return (y, picture): two layers and the block's part of the picture, line by line, in the caches.

    x [N, I, H, W]; up, same: (TiledWeight of form "up" or "same", After), the first with taps; rgb: (weight, bias,
    smaller, taps, clamp) as `to_rgb` has them; keep: y [N, O, 2 H, 2 W] is wanted, else it is None and takes no memory.
    ValueError: weights made for sides of 32 or less.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    size = tuple(2 * side for side in x.shape[2:])
    y = torch.empty(len(x), *size, same[0].num_out, dtype=x.dtype).permute(0, 3, 1, 2) if keep else None
    shape = (len(x), up[0].num_out, *size)
    first, _held = _call(x, x.shape, x.dtype, up[0], size, 0, up[1], None)
    second, _held_too = _call(None, shape, x.dtype, same[0], size, 0, same[1], y)
    picture = torch.empty(len(x), rgb[0].shape[1], *size)
    third, _more = _rgb_call(None, (len(x), same[0].num_out, *size), x.dtype, *rgb, picture)
    problem = _library().v2s_block(ctypes.byref(_BlockCall(first, second, third)), None) if picture.numel() else None
    if problem == b"weights for few tiles":
        raise ValueError(f"a block cannot be drawn line by line with {problem.decode()}; allowed: sides above 32")
    check_answer("block", problem, "simd")
    return y, picture


def to_rgb(x, weight, bias, smaller=None, taps=None, clamp=None):
    """Return [N, K, H, W] float32: clamp(weight [N, K, C] times x [N, C, H, W] + bias [K]) + smaller enlarged.

    x: float32 or bfloat16, C a multiple of `lanes()`. smaller [N, K, H/2, W/2] float32, enlarged by zeros between its
    pixels and a separable low-pass of taps [4], in the order of correlation and with the gain.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty(len(x), weight.shape[1], *x.shape[2:])
    call, _held = _rgb_call(x, x.shape, x.dtype, weight, bias, smaller, taps, clamp, y)
    if y.numel():
        check_answer("to_rgb", _library().v2s_to_rgb(ctypes.byref(call), None), "simd")
    return y


def _rgb_call(x, shape, dtype, weight, bias, smaller, taps, clamp, y):
    """Returns a ToRgbCall and the tensors that it points to; x may be None, as in `_call`."""
    small = [None if each is None else each.float().contiguous() for each in (weight, bias, smaller, taps)]
    call = _ToRgbCall(pointer(x), *map(pointer, small), pointer(y), -1.0 if clamp is None else clamp, shape[0],
                      *shape[2:], shape[1], weight.shape[1], KINDS[dtype], torch.get_num_threads())
    return call, small


def lanes():
    """Return how many float32 a vector of this processor has; None where there are no vector kernels."""
    library = _library()
    return None if library is None else library.v2s_simd_lanes()


def _library():
    """Returns the library with its functions declared, or None."""
    library = build.library("simd")
    if library is not None and library.v2s_winograd.argtypes is None:
        for name, struct in _CALLS.items():
            assert getattr(library, f"v2s_sizeof_{name}")() == ctypes.sizeof(struct), f"{name}: other fields in C"
            function = getattr(library, f"v2s_{name}")
            function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_void_p)
    return library
