"""Draws what each augmentation does to the same faces, to be looked at: one row a transformation."""

import torch

from torch_utils.images import grid, to_hwc, to_uint8, write_png
from torch_utils.random_streams import stream
from training.augment import PIPES, ROWS, AugmentPipe


def augmentation_sheet(images, *, p=1.0, seed=0):  # [N, C, H, W] in [-1, 1] -> uint8 [rows H, N W, C]
    """Returns the pictures in the first row, below them every pipe (`PIPES`) and the fullest row at probability p."""
    names = [*PIPES, list(ROWS)[-1]]
    rows = [images, *(AugmentPipe(name, p)(images, stream(seed, "sheet", name)) for name in names)]
    return to_hwc(to_uint8(grid(torch.cat(rows).clamp(-1, 1), len(images))))


def write_sheet(path, images, *, p=1.0, seed=0):
    """Writes `augmentation_sheet` as PNG."""
    write_png(path, augmentation_sheet(images, p=p, seed=seed))
