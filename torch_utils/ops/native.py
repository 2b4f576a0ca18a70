"""Calls of the native ops: the structs of the .h files with the same fields, filled from tensors, and who may call."""

import ctypes
import functools
import math

import torch

from torch_utils.ops import build, is_plain, is_traced

KINDS = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}  # enum Kind
MOST_ELEMENTS = 2**31 - 1
PATHS = {"best": 0, "any": 1, "packs": 2, "tiles": 3}  # enum Path


def _struct(name, pointers=(), longs=(), doubles=(), ints=()):
    """Returns a ctypes.Structure; the structs of the .h files have their fields in this order of types."""
    fields = [(field, kind) for names, kind in ((pointers, ctypes.c_void_p), (longs, ctypes.c_int64),
                                                (doubles, ctypes.c_double), (ints, ctypes.c_int32)) for field in names]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


_AXES = ("n", "c", "y", "x")
BiasActCall = _struct("BiasActCall", ("input", "other", "saved", "bias", "output"),
                      ("num_elements", "bias_stride", "bias_size"), ("alpha", "gain", "clamp"),
                      ("kind", "bias_kind", "act", "order", "from_output"))
UpfirdnCall = _struct("UpfirdnCall", ("input", "filter", "output"),
                      [f"{side}_stride_{axis}" for side in ("in", "out") for axis in _AXES], ("gain",),
                      ("batch", "channels", "in_y", "in_x", "out_y", "out_x", "up_y", "up_x", "down_y", "down_x",
                       "pad_y", "pad_x", "taps_y", "taps_x", "flip", "kind", "filter_kind", "path"))
TailCall = _struct("TailCall", ("scale", "noise", "strength", "bias", "next"), ("noise_stride",),
                   ("alpha", "gain", "clamp"),
                   ("scale_kind", "noise_kind", "strength_kind", "bias_kind", "next_kind", "act"))

LayerTailCall = _struct("LayerTailCall", ("input", "gradient", "direction", "scale", "noise", "strength", "bias",
                                          "next", "d_scale", "d_next", "d_bias", "d_strength", "taps_x", "taps_y",
                                          "output", "output2", "sums"), ("noise_stride",), ("alpha", "gain", "clamp"),
                        ("batch", "channels", "in_y", "in_x", "out_y", "out_x", "up_y", "up_x", "down_y", "down_x",
                         "pad_y", "pad_x", "num_y", "num_x", "strips", "kind", "threads"))
WeightGradientCall = _struct("WeightGradientCall", ("fine", "coarse", "sums", "output"), ints=(
    "batch", "fine_y", "fine_x", "fine_channels", "coarse_y", "coarse_x", "coarse_channels", "stride", "pad_y", "pad_x",
    "kind", "parts", "groups", "threads"))
BatchedConvCall = _struct("BatchedConvCall", ("input", "weight", "weights", "output"), ints=(
    "batch", "in_y", "in_x", "in_channels", "out_y", "out_x", "out_channels", "form", "pad_y", "pad_x", "kind", "tiles",
    "threads"))
ThinProductCall = _struct("ThinProductCall", ("input", "gradient", "weight", "output", "d_input", "d_weight"),
                          ("pixels",), ints=("batch", "planes", "channels", "kind", "threads"))
ThinLayerCall = _struct("ThinLayerCall", ("input", "at", "gradient", "weight", "bias", "output", "d_input", "sums"),
                        ("pixels",), ("alpha",), ("planes", "channels", "kind", "threads"))


class FusedCall(ctypes.Structure):
    """A filter and what follows it."""

    _fields_ = [("filter", UpfirdnCall), ("tail", TailCall)]


class FusedBackCall(ctypes.Structure):
    """The same, the gradient of its result, and where the sums over pixels go."""

    _fields_ = [("fused", FusedCall), ("gradient", ctypes.c_void_p), ("sums", ctypes.c_void_p)]


CALLS = {"bias_act": BiasActCall, "upfirdn2d": UpfirdnCall, "fused_layer": FusedCall, "fused_back": FusedBackCall}
VECTOR_CALLS = {"layer_tail": LayerTailCall, "layer_tail_back": LayerTailCall, "layer_tail_back_twice": LayerTailCall,
                "bent_filter": LayerTailCall, "bent_filter_back": LayerTailCall, "batched_conv": BatchedConvCall,
                "weight_gradient": WeightGradientCall, "thin_product": ThinProductCall,
                "thin_layer": ThinLayerCall}


def usable(x, *others) -> bool:
    """Return whether a native op is to run on x beside the small tensors others (None among them is ignored).

    Not while torch compiles or exports (it fuses plain torch itself), not for other number types or tensor classes, not
    inside torch.func and for forward-mode differentiation.
    """
    if is_traced() or x.dtype not in KINDS or build.library(x.device.type) is None:
        return False
    tensors = [x, *(other for other in others if other is not None)]
    ours = all(type(t) in (torch.Tensor, torch.nn.Parameter) and t.device == x.device and t.dtype in KINDS
               for t in tensors)
    return ours and is_plain(*tensors)


def check_size(op: str, shape) -> None:
    """Raise ValueError when a picture of this shape has more elements than the kernels can count."""
    count = math.prod(shape)
    if count > MOST_ELEMENTS:
        raise ValueError(f"{op}: shape {list(shape)} has {count} elements; the native op allows {MOST_ELEMENTS}: "
                         "take a smaller batch, or V2S_OPS=ref")


def call(op: str, values, device) -> None:
    """Run an op: values is a filled struct from CALLS or VECTOR_CALLS; RuntimeError as check_answer.

    device: a torch.device, or "simd" for the vector kernels of the processor.
    """
    if device == "simd":
        problem = _function(build.library("simd"), op)(ctypes.byref(values), None)
    elif device.type == "cuda":
        function = _function(build.library("cuda"), op)
        with torch.cuda.device(device):
            problem = function(ctypes.byref(values), torch.cuda.current_stream().cuda_stream)
    else:
        problem = _function(build.library(device.type), op)(ctypes.byref(values), None)
    check_answer(op, problem, device)


def check_answer(op: str, problem, device) -> None:
    """Raise RuntimeError with what an op says of its failure (CUDA's words, or that memory lacks), None: it has run."""
    if problem is not None:
        raise RuntimeError(f"the native op {op} failed on {device}: {problem.decode(errors='replace')}")


def path_of(values, device) -> str:
    """Return which kernel an UpfirdnCall gets, a key of PATHS."""
    function = build.library(device.type).v2s_upfirdn2d_path
    function.argtypes = (ctypes.c_void_p,)
    return list(PATHS)[function(ctypes.byref(values))]


def count_strips(values, device) -> int:
    """Return how many parts the sums of a FusedBackCall have; 0 where there is no kernel for its shapes."""
    function = build.library(device.type).v2s_fused_back_strips
    function.restype, function.argtypes = ctypes.c_int64, (ctypes.c_void_p,)
    return function(ctypes.byref(values))


@functools.cache
def _function(library, op):
    size, here = getattr(library, f"v2s_sizeof_{op}")(), ctypes.sizeof({**CALLS, **VECTOR_CALLS}[op])
    assert size == here, f"{op}: the struct has {size} bytes in C, {here} here"
    function = getattr(library, f"v2s_{op}")
    function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_void_p)
    return function


def pointer(tensor):
    """Return the address of a tensor's first element, None for None."""
    return None if tensor is None else tensor.data_ptr()


def kind_of(tensor) -> int:
    """Return the number of a tensor's dtype, 0 for None."""
    return 0 if tensor is None else KINDS[tensor.dtype]


def is_dense(x) -> bool:
    """Return whether x's elements fill one block of memory without holes and overlaps, in whatever order of axes."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return True
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def dense(x):
    """Return x, or a copy of it without holes."""
    return x if is_dense(x) else x.contiguous()


def laid_out_as(x, pattern):
    """Return x with the strides of pattern, a dense tensor of the same shape; a copy only where they differ."""
    if x.stride() == pattern.stride():
        return x
    return torch.empty_strided(pattern.shape, pattern.stride(), dtype=x.dtype, device=x.device).copy_(x)
