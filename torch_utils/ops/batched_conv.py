"""3x3 convolutions of whole batches by the vector kernel of cpu/batched_conv.cpp, channels-last, on a processor."""

import torch

from torch_utils.ops import build, is_plain, is_traced, native

KINDS = (torch.bfloat16, torch.float32)
FORMS = {"same": 0, "down": 1, "up": 2}  # enum Form
PRODUCTS = {"same": 36, "down": 81, "up": 49}
TILE_FLOATS = 1024  # tiles of a strip times the wider side's channels: what the second cache holds
FEWEST_TILES = {"same": 32, "down": 300, "up": 32}  # below, the weights' transform costs more than is saved


def form_of(x, w, shape):
    """Return which of FORMS the convolution of x with w is, or None where the kernel does not run or does not pay.

    shape: a _Shape of convolution.py.
    """
    if x.device.type != "cpu" or x.dtype not in KINDS or w.dtype != x.dtype or x.ndim != 4 or w.shape[2:] != (3, 3):
        return None
    if is_traced() or type(x) is not torch.Tensor or shape.groups != 1:
        return None
    if shape.stride == (1, 1):
        form = "same" if shape.padding == (1, 1) and not any(shape.rest) else None
    elif shape.stride == (2, 2):
        form = "down" if not shape.transposed else "up" if shape.padding == (0, 0) else None
    else:
        form = None
    if form is None or not is_plain(x, w) or len(x) * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) < FEWEST_TILES[form]:
        return None
    library, num_out = build.built("simd"), w.shape[1] if shape.transposed else w.shape[0]
    lanes = 0 if library is None else library.v2s_simd_lanes()
    if not lanes or x.shape[1] % (lanes if x.dtype == torch.float32 else 2 * lanes) or num_out % (2 * lanes):
        return None
    return form


def convolve(x, w, shape, form):
    """Return the convolution of x [N, I, H, W] with w, [O, I, 3, 3], or [I, O, 3, 3] where shape.transposed.

    form: from form_of. float32 (relative error 1e-6), or bfloat16, whose products are rounded once more (1e-2). The
    result does not depend on the number of threads.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shape.transposed:  # the adjoint of a correlation is one with the taps turned around
        w = (w.flip(2, 3) if form == "same" else w).permute(2, 3, 0, 1)
    else:
        w = w.permute(2, 3, 1, 0)
    w = w.float().contiguous()  # [3, 3, in, out]
    (n, num_in, *size), num_out, padding = x.shape, w.shape[3], shape.padding
    out = size
    if form == "down":
        out = [(side + 2 * pad - 3) // 2 + 1 for side, pad in zip(size, padding, strict=True)]
    elif form == "up":  # a tile of it begins one sample before
        out, padding = [2 * side + 1 + rest for side, rest in zip(size, shape.rest, strict=True)], (1, 1)
    y = torch.empty([n, num_out, *out], dtype=x.dtype, memory_format=torch.channels_last)
    transformed = torch.empty([PRODUCTS[form], num_in, num_out], dtype=torch.float32)
    native.call("batched_conv", native.BatchedConvCall(
        *map(native.pointer, (x, w, transformed, y)), n, *size, num_in, *out, num_out, FORMS[form], *padding,
        native.KINDS[x.dtype], max(8, TILE_FLOATS // max(num_in, num_out)), torch.get_num_threads()), "simd")
    return y
