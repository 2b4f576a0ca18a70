"""Pictures moved without mixing pixels (blit), and turned, scaled, shifted with careful resampling (geom).

Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, appendix B.1. Outside of the picture is
its mirror image. Pixel coordinates are (x, y), x to the right, y down.
"""

import functools
import math

import torch
import torch.nn.functional as F

from torch_utils.ops.upfirdn2d import setup_filter, up_padding, upfirdn2d, upsample2d
from training.augment_dice import on_active
from training.augment_wavelets import symlet

MAX_SHIFT = 0.125  # of whole-pixel and of fractional translation, in sides of the picture
SCALE_OCTAVES = 0.2
_MOMENTS = 6  # of the symlet that doubles and halves pictures
_MATRIX_SIDE = 256  # pictures up to this side are filtered by matrices, larger ones by convolutions


def blit(images, dice):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures mirrored, turned by quarters and moved by whole pixels, each with probability p."""
    height, width = images.shape[2:]
    mirrored = dice.chance() & (dice.choice(2) == 1)
    turns = torch.where(dice.chance(), dice.choice(4), 0)
    share = torch.where(dice.chance()[:, None], dice.uniform(-MAX_SHIFT, MAX_SHIFT, 2), 0.0)
    shifts = (share * torch.tensor([width, height])).round().long()
    active = mirrored | (turns > 0) | (shifts != 0).any(1)
    return on_active(images, active, lambda rows, k: move_pixels(rows, mirrored[k], turns[k], shifts[k]))


def move_pixels(images, mirrored, turns, shifts):  # [N, C, H, W], [N] bool, [N] 0..3, [N, 2] whole pixels
    """Returns pictures mirrored left to right, then turned anticlockwise by quarters, then moved by (x, y) pixels.

    Every pixel of the result is one pixel of the picture. A quarter turn keeps height and width: what then lies
    outside of a picture that is not square is filled with the mirror image.
    """
    n, c, height, width = images.shape
    mirrored, turns, shifts = (wish.to(images.device)[:, None, None] for wish in (mirrored, turns % 4, shifts))
    # Twice the coordinates from the centre, whole numbers for even and odd sides alike.
    x = (2 * torch.arange(width, device=images.device) - (width - 1))[None, None] - 2 * shifts[..., 0]
    y = (2 * torch.arange(height, device=images.device) - (height - 1))[None, :, None] - 2 * shifts[..., 1]
    cos, sin = (turns == 0).long() - (turns == 2).long(), (turns == 1).long() - (turns == 3).long()
    x, y = cos * x - sin * y, sin * x + cos * y  # where the pixel was before it was turned
    x = torch.where(mirrored, -x, x)
    column = _mirror_index(torch.div(x + width - 1, 2, rounding_mode="floor"), width)
    row = _mirror_index(torch.div(y + height - 1, 2, rounding_mode="floor"), height)
    index = (row * width + column).reshape(n, 1, -1)
    return images.flatten(2).gather(2, index.expand(n, c, -1)).reshape(images.shape)


def geometry(images, dice):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures scaled, turned, stretched and shifted, each with probability p (a turn before and one after)."""
    n, _, height, width = images.shape
    matrices, active = torch.eye(3).repeat(n, 1, 1), torch.zeros(n, dtype=torch.bool)

    def then(used, transform):
        nonlocal matrices, active
        matrices = torch.where(used[:, None, None], transform @ matrices, matrices)
        active = active | used

    once = 1 - math.sqrt(max(1 - dice.p, 0.0))  # two turns: at least one of them with probability p
    used, factor = dice.chance(), dice.lognormal(SCALE_OCTAVES)
    then(used, scaling(factor, factor))
    then(dice.chance(once), rotation(dice.uniform(-math.pi, math.pi)))
    used, factor = dice.chance(), dice.lognormal(SCALE_OCTAVES)
    then(used, scaling(factor, 1 / factor))
    then(dice.chance(once), rotation(dice.uniform(-math.pi, math.pi)))
    used, shift = dice.chance(), dice.normal(MAX_SHIFT, 2)
    then(used, translation(shift[:, 0] * width, shift[:, 1] * height))
    return on_active(images, active, lambda rows, k: warp(rows, matrices[k]))


def scaling(x, y):  # [N], [N] -> [N, 3, 3]
    """Returns matrices that enlarge by factors along x and y."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def rotation(angle):  # [N] radians -> [N, 3, 3]
    """Returns matrices that turn anticlockwise, as one sees the picture (y points down)."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], 1).reshape(-1, 3, 3)


def translation(x, y):  # [N], [N] pixels -> [N, 3, 3]
    """Returns matrices that move by (x, y)."""
    moved = torch.eye(3, dtype=x.dtype).repeat(len(x), 1, 1)
    moved[:, 0, 2], moved[:, 1, 2] = x, y
    return moved


def warp(images, matrices):  # [N, C, H, W], [N, 3, 3] from old to new coordinates about the centre -> [N, C, H, W]
    """Returns pictures moved by matrices: doubled with sym6, sampled bilinearly at the double size, halved with sym6.

    The filter is orthogonal: where nothing moves, halving undoes doubling exactly. Computed in float32 at least.
    """
    height, width = images.shape[2:]
    dtype = torch.promote_types(images.dtype, torch.float32)
    double = double_size(images.to(dtype))
    return half_size(resample_bilinear(double, _sampling_grid(matrices, height, width, double))).to(images.dtype)


def double_size(images):  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Returns pictures doubled with sym6; small ones by matrices, which a processor does many times faster."""
    if max(images.shape[2:]) <= _MATRIX_SIDE:
        down, across = (_doubling(side).to(images) for side in images.shape[2:])
        return down @ images @ across.t()
    margin = 2 * _MOMENTS
    taps = setup_filter(symlet(_MOMENTS), device=images.device, separable=True)
    return upsample2d(reflect_pad(images, margin), taps)[:, :, 2 * margin:-2 * margin, 2 * margin:-2 * margin]


def half_size(images):  # [N, C, 2H + 10, 2W + 10], with the margin that the filter needs -> [N, C, H, W]
    """Returns pictures halved with sym6 turned around."""
    sides = [side // 2 - _MOMENTS + 1 for side in images.shape[2:]]
    if max(sides) <= _MATRIX_SIDE:
        down, across = (_halving(side).to(images) for side in sides)
        return down @ images @ across.t()
    taps = setup_filter(symlet(_MOMENTS), device=images.device, separable=True)
    return upfirdn2d(images, taps, down=2, flip_filter=True)


@functools.lru_cache(maxsize=16)
def _doubling(side):  # -> [2 side, side]
    """Returns the matrix of doubling a row: y[n] = √2 Σ_k h[n + M - 1 - 2k] x[k], x mirrored at its ends."""
    taps = torch.tensor(symlet(_MOMENTS))
    matrix = torch.zeros(2 * side, side)
    for n in range(2 * side):
        k = torch.arange(n // 2 - _MOMENTS, n // 2 + _MOMENTS + 1)
        tap = n + _MOMENTS - 1 - 2 * k
        inside = (tap >= 0) & (tap < 2 * _MOMENTS)
        matrix[n].index_add_(0, _mirror_index(k[inside], side), math.sqrt(2) * taps[tap[inside]])
    return matrix


@functools.lru_cache(maxsize=16)
def _halving(side):  # -> [side, 2 side + 2 M - 2]
    """Returns the matrix of halving a row with margins: y[m] = 1/√2 Σ_j h[j] x[2m + j]."""
    taps = torch.tensor(symlet(_MOMENTS)) / math.sqrt(2)
    matrix = torch.zeros(side, 2 * side + 2 * _MOMENTS - 2)
    for m in range(side):
        matrix[m, 2 * m:2 * m + 2 * _MOMENTS] = taps
    return matrix


def _sampling_grid(matrices, height, width, like):  # -> [N, 2H + taps - 2, 2W + taps - 2, 2] in [-1, 1]
    """Returns where in the doubled picture each pixel of the doubled result (with the filter's margin) comes from.

    The matrices are small and inverted where they are; the grid is made on the device of `like`, in its dtype.
    """
    num_taps = len(symlet(_MOMENTS))
    before, after = (num_taps - 1) // 2, (num_taps - 2) // 2
    # A picture's pixel k is centred on pixel 2k + centre of the doubled picture: the filter is not quite symmetric.
    centre = sum(k * tap for k, tap in enumerate(symlet(_MOMENTS))) / math.sqrt(2) - up_padding(num_taps, 2)[1]
    x, y = ((torch.arange(-before, 2 * side + after, device=like.device, dtype=like.dtype) - centre) / 2
            - (side - 1) / 2 for side in (width, height))
    back = torch.linalg.inv(matrices.double()).to(like.device, like.dtype)[:, :2, :, None, None]  # [N, 2, 3, 1, 1]
    grid = []
    for row, side in ((0, width), (1, height)):
        source = back[:, row, 0] * x[None, None, :] + back[:, row, 1] * y[None, :, None] + back[:, row, 2]
        grid.append((2 * (2 * source + (side - 1) + centre) + 1) / (2 * side) - 1)
    return torch.stack(grid, -1)


def resample_bilinear(images, grid):  # [N, C, H, W], [N, H', W', 2] -> [N, C, H', W']
    """Returns images sampled at grid points in [-1, 1], mirrored at their borders; differentiable to any order.

    Only in the images, not in the grid. Linear in the images, so the derivative of a derivative is a sampling again;
    torch before 2.13 has no second derivative of its own here.
    """
    return _Sample.apply(images, grid)


def _sample(images, grid):
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, grid):
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return _sample(images, grid)

    @staticmethod
    def backward(ctx, gradient):
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The adjoint of sampling: every sampled value goes back to the four pixels that it was mixed of."""

    @staticmethod
    def forward(ctx, gradient, grid, shape):
        ctx.save_for_backward(grid)
        with torch.enable_grad():
            anywhere = gradient.new_zeros(shape).requires_grad_()
            (spread,) = torch.autograd.grad(_sample(anywhere, grid), anywhere, gradient)
        return spread

    @staticmethod
    def backward(ctx, gradient):
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradient, grid), None, None


def reflect_pad(images, amount):  # [N, C, H, W] -> [N, C, H + 2 amount, W + 2 amount]
    """Returns pictures continued by their mirror image (the border pixel repeated), as far as one likes."""
    for dim in (2, 3):
        side = images.shape[dim]
        index = _mirror_index(torch.arange(-amount, side + amount, device=images.device), side)
        images = images.index_select(dim, index)
    return images


def _mirror_index(index, side):
    """Returns whole numbers folded into 0..side-1: .. 1 0 | 0 1 2 .. side-1 | side-1 side-2 .."""
    index = index % (2 * side)
    return torch.minimum(index, 2 * side - 1 - index)
