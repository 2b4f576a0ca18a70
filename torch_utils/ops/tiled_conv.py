"""Convolutions of float32 or bfloat16 pictures by the vector kernels of cpu/, channels-last, on a CPU.

No gradients. `weight_for` answers None where there is no compiler or no whole number of vectors: use plain torch then.
"""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.ops import build
from torch_utils.ops.native import KINDS, pointer

FORMS = ("same", "up", "down")
_KERNELS = {"same4": 0, "same6": 1, "up": 2, "down": 3, "same bf16": 4, "up bf16": 5}  # enum Form


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


_Call = _struct("WinogradCall", ("input", "weight", "in_scale", "out_scale", "bias", "noise", "taps", "output"), [
    ("noise_stride", ctypes.c_int64), ("alpha", ctypes.c_double), ("clamp", ctypes.c_double),
    *_ints("batch", "in_y", "in_x", "out_y", "out_x", "in_channels", "out_channels", "form", "padding", "kind",
           "threads")])
_ToRgbCall = _struct("ToRgbCall", ("input", "weight", "bias", "smaller", "taps", "output"), [
    ("clamp", ctypes.c_double), *_ints("batch", "y", "x", "channels", "planes", "kind", "threads")])


def weight_for(w, form, *, adjoint=False, side=None, bf16=False):
    """Return w [O, I, 3, 3] float32 for one of FORMS as a TiledWeight, or None where plain torch is to run.

    same: correlation with padding 1, stride 1. up: the transposed convolution of stride 2. down: correlation of stride
    2. adjoint: w is that of the map's adjoint, [I, O, 3, 3] (for "up" thus the weight as conv_transpose2d has it).
    side: shorter side of the pictures that will come, for the choice of tiles. bf16: numbers are multiplied in bfloat16
    (sums in float32) where the processor can; results then deviate by 4e-3 of their size ("up") or 2e-2 ("same").
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
    library.v2s_winograd_weight(pointer(w), *strides, flip, num_out, num_in, kernel,
                                pointer(values))
    return TiledWeight(values, form, kernel, num_out, num_in)


def _kernel_of(form, side, bf16):
    if bf16 and form != "down":
        return _KERNELS[f"{form} bf16"]
    if form != "same":
        return _KERNELS[form]
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
    if x.dtype not in (torch.float32, torch.bfloat16) or x.shape[1] != weight.num_in:
        raise ValueError(f"pictures {list(x.shape)} {x.dtype} for a convolution of {weight.num_in} channels; allowed: "
                         "float32 or bfloat16 with as many channels")
    y = torch.empty(len(x), *size, weight.num_out, dtype=x.dtype).permute(0, 3, 1, 2)
    noise = None if noise is None else noise.contiguous()
    small = [None if each is None else each.contiguous() for each in (in_scale, out_scale, bias)]
    call = _Call(pointer(x), pointer(weight.values), *map(pointer, (*small, noise, taps, y)),
                 0 if noise is None or noise.ndim == 2 else size[0] * size[1], slope, -1.0 if clamp is None else clamp,
                 len(x), *x.shape[2:], *size, weight.num_in, weight.num_out, weight.kernel,
                 padding if weight.form == "down" else 1, KINDS[x.dtype], torch.get_num_threads())
    if y.numel():
        _library().v2s_winograd(ctypes.byref(call), None)
    return y


def to_rgb(x, weight, bias, smaller=None, taps=None, clamp=None):
    """Return [N, K, H, W] float32: clamp(weight [N, K, C] times x [N, C, H, W] + bias [K]) + smaller enlarged.

    x: float32 or bfloat16, C a multiple of `lanes()`. smaller [N, K, H/2, W/2] float32, enlarged by zeros between its
    pixels and a separable low-pass of taps [4], in the order of correlation and with the gain.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    small = [None if each is None else each.contiguous() for each in (weight, bias, smaller, taps)]
    y = torch.empty(len(x), weight.shape[1], *x.shape[2:])
    call = _ToRgbCall(pointer(x), *map(pointer, small), pointer(y), -1.0 if clamp is None else clamp, len(x),
                      *x.shape[2:], x.shape[1], weight.shape[1], KINDS[x.dtype], torch.get_num_threads())
    if y.numel():
        _library().v2s_to_rgb(ctypes.byref(call), None)
    return y


def lanes():
    """Return how many float32 a vector of this processor has; None where there are no vector kernels."""
    library = _library()
    return None if library is None else library.v2s_simd_lanes()


def _library():
    """Returns the library with its functions declared, or None."""
    library = build.library("simd")
    if library is not None and library.v2s_winograd.argtypes is None:
        assert library.v2s_sizeof_winograd() == ctypes.sizeof(_Call), "the struct of winograd.cpp has other fields"
        assert library.v2s_sizeof_to_rgb() == ctypes.sizeof(_ToRgbCall), "the struct of to_rgb.cpp has other fields"
        library.v2s_to_rgb.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        library.v2s_winograd_weight.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_int] * 4,
                                                ctypes.c_void_p)
        library.v2s_winograd.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    return library
