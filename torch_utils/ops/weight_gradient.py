"""The gradient of 3x3 weights by the vector kernel of cpu/weight_gradient.cpp, channels-last, on a processor."""

import torch

from torch_utils.ops import build, is_plain, is_traced, native

KINDS = (torch.bfloat16, torch.float32)
ROWS = 8  # coarse channels come in eights, and in whole vectors
FEWEST_TILES = 48  # below, clearing the sums and undoing their transform costs more than is saved
TILES_A_CHANNEL = 2  # of coarse, for a thread to have tiles of its own; with fewer, threads share out the channels
PRODUCTS = {1: 36, 2: 81}  # of a tile of 4 x 4, by the stride


def usable(fine, coarse, size, stride, groups) -> bool:
    """Return whether the kernel gives the gradient of size x size weights between these pictures [N, C, H, W]."""
    if fine.device.type != "cpu" or fine.dtype not in KINDS or fine.dtype != coarse.dtype or groups != 1:
        return False
    if tuple(size) != (3, 3) or stride not in ((1, 1), (2, 2)) or type(fine) is not torch.Tensor:
        return False
    if is_traced() or not is_plain(fine, coarse) or count_tiles(coarse) < FEWEST_TILES:
        return False
    vector = _vector(fine.dtype)
    return vector > 0 and fine.shape[1] % vector == 0 and coarse.shape[1] % max(ROWS, vector) == 0


def _vector(dtype):
    """Returns how many channels the kernel takes at a time, 0 where there is none; of bfloat16 two vectors."""
    library = build.built("simd")
    return 0 if library is None else library.v2s_simd_lanes() * (1 if dtype == torch.float32 else 2)


def count_tiles(coarse):
    """Return how many tiles of 4 x 4 cover the pictures."""
    n, _, height, width = coarse.shape
    return n * -(-height // 4) * -(-width // 4)


def weight_gradient(fine, coarse, stride, padding):  # [N, I, H, W], [N, O, H', W'] -> [O, I, 3, 3]
    """Return the sum over n, y, x of coarse[n, o, y, x] * fine[n, i, stride y + j - padding, stride x + k - padding].

    stride, padding: (y, x), both strides alike. float32, or bfloat16 whose products are rounded once more (a relative
    error of 1e-2 of the sums' scatter); the result is float32 and depends on the number of threads in its last digits.
    """
    fine, coarse = (x.contiguous(memory_format=torch.channels_last) for x in (fine, coarse))
    (n, i, fine_y, fine_x), (_, o, coarse_y, coarse_x) = fine.shape, coarse.shape
    threads = torch.get_num_threads()
    parts = max(1, min(threads, count_tiles(coarse) // (TILES_A_CHANNEL * o)))
    groups = max(1, min(threads // parts, o // max(ROWS, _vector(fine.dtype))))
    sums = torch.empty([parts, PRODUCTS[stride[0]], o, i], dtype=torch.float32)
    output = torch.empty([o, 3, 3, i], dtype=torch.float32)
    native.call("weight_gradient", native.WeightGradientCall(
        *map(native.pointer, (fine, coarse, sums, output)), n, fine_y, fine_x, i, coarse_y, coarse_x, o, stride[0],
        *padding, native.KINDS[fine.dtype], parts, groups, threads), "simd")
    return output.permute(0, 3, 1, 2)
