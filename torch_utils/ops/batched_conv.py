"""3x3 convolutions of whole batches by the vector kernel of cpu/batched_conv.cpp, channels-last, on a processor."""

import torch

from torch_utils.ops import build, native

KINDS = (torch.bfloat16, torch.float32)
TILE_FLOATS = 2048  # tiles of a strip times the wider side's channels: what the second cache holds
FEWEST_TILES = 32  # below, transforming the weights costs more than is saved


def usable(x, w, shape) -> bool:
    """Return whether the kernel runs a convolution of x with w; shape: a _Shape of convolution.py."""
    if x.device.type != "cpu" or x.dtype not in KINDS or w.dtype != x.dtype or x.ndim != 4 or w.shape[2:] != (3, 3):
        return False
    if shape.stride != (1, 1) or shape.padding != (1, 1) or shape.groups != 1 or any(shape.rest):
        return False
    if torch.compiler.is_compiling() or type(x) is not torch.Tensor:
        return False
    n, channels, height, width = x.shape
    if n * -(-height // 4) * -(-width // 4) < FEWEST_TILES:
        return False
    library, num_out = build.library("simd"), w.shape[1] if shape.transposed else w.shape[0]
    lanes = library and library.v2s_simd_lanes()
    return library is not None and channels % lanes == 0 and num_out % (2 * lanes) == 0


def convolve(x, w, *, transposed=False):
    """Return the correlation of x [N, I, H, W] with w [O, I, 3, 3], padding 1, or its adjoint with w [I, O, 3, 3].

    float32 (relative error 1e-6), or bfloat16, whose products are rounded once more (1e-2). The result does not depend
    on the number of threads.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    w = w.flip(2, 3).permute(2, 3, 0, 1) if transposed else w.permute(2, 3, 1, 0)
    w = w.float().contiguous()  # [3, 3, in, out]
    (n, num_in, height, width), num_out = x.shape, w.shape[3]
    y = torch.empty([n, num_out, height, width], dtype=x.dtype, memory_format=torch.channels_last)
    transformed = torch.empty([36, num_in, num_out], dtype=torch.float32)
    native.call("batched_conv", native.BatchedConvCall(
        *map(native.pointer, (x, w, transformed, y)), n, height, width, num_in, num_out, native.KINDS[x.dtype],
        max(8, TILE_FLOATS // max(num_in, num_out)), torch.get_num_threads()), "simd")
    return y
