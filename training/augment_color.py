"""Colours moved, stretched, mirrored and turned: one affine map of RGB for each picture.

Karras et al. 2020, appendix B.2. Pictures are about [-1, 1], grey is 0.
"""

import math

import torch

from training.augment_dice import on_active

BRIGHTNESS, CONTRAST_OCTAVES, SATURATION_OCTAVES = 0.2, 0.5, 1.0


def color(images, dice):  # [N, 3 or 1, H, W] -> the same
    """Returns pictures of another brightness, contrast, luma direction, hue and saturation, each with probability p."""
    matrices, active = color_matrices(len(images), dice)
    return on_active(images, active, lambda rows, k: map_colors(rows, matrices[k]))


def color_matrices(num_images, dice):  # -> [N, 4, 4], [N] bool
    """Returns the maps of homogeneous colours (r, g, b, 1), and which of them change anything."""
    matrices, active = torch.eye(4).repeat(num_images, 1, 1), torch.zeros(num_images, dtype=torch.bool)

    def then(used, transform):
        nonlocal matrices, active
        matrices = torch.where(used[:, None, None], transform @ matrices, matrices)
        active = active | used

    then(dice.chance(), brighter(dice.normal(BRIGHTNESS)))
    then(dice.chance(), contrasted(dice.lognormal(CONTRAST_OCTAVES)))
    then(dice.chance() & (dice.choice(2) == 1), luma_mirror().expand(num_images, 4, 4))
    then(dice.chance(), hue_rotation(dice.uniform(-math.pi, math.pi)))
    then(dice.chance(), saturated(dice.lognormal(SATURATION_OCTAVES)))
    return matrices, active


def map_colors(images, matrices):  # [N, C, H, W], [N, 4, 4] -> [N, C, H, W]
    """Returns pictures with the colours mapped; grey pictures take what happens to a grey pixel's mean."""
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"pictures have {channels} channels; colour augmentation takes 3 (RGB) or 1 (grey)")
    dtype = torch.promote_types(images.dtype, torch.float32)
    matrices = matrices.to(images.device, dtype)
    linear, shift = matrices[:, :3, :3], matrices[:, :3, 3]
    if channels == 1:
        linear, shift = linear.sum(2).mean(1)[:, None, None], shift.mean(1, keepdim=True)
    mapped = linear @ images.to(dtype).flatten(2) + shift[:, :, None]
    return mapped.reshape(images.shape).to(images.dtype)


def brighter(amount):  # [N] -> [N, 4, 4]
    """Returns maps that add the same to all three."""
    moved = torch.eye(4, dtype=amount.dtype).repeat(len(amount), 1, 1)
    moved[:, :3, 3] = amount[:, None]
    return moved


def contrasted(factor):  # [N] -> [N, 4, 4]
    """Returns maps that multiply all three."""
    return torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], 1))


def _luma_projection():
    """Returns the projection [4, 4] onto the grey axis v = (1, 1, 1)/√3."""
    v = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    return torch.outer(v, v)


def luma_mirror():  # -> [4, 4]
    """Returns the map that swaps dark and light and keeps hue and saturation: I - 2 v vᵀ."""
    return torch.eye(4) - 2 * _luma_projection()


def hue_rotation(angle):  # [N] radians -> [N, 4, 4]
    """Returns rotations about the grey axis (Rodrigues' formula)."""
    a, along = 1 / math.sqrt(3), _luma_projection()
    cross = torch.zeros(4, 4)
    cross[:3, :3] = torch.tensor([[0, -a, a], [a, 0, -a], [-a, a, 0]])
    plane = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])) - along
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return (torch.eye(4) - plane) + cos * plane + sin * cross


def saturated(factor):  # [N] -> [N, 4, 4]
    """Returns maps that multiply what is not grey and keep the luma."""
    along = _luma_projection()
    plane = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])) - along
    return (torch.eye(4) - plane) + factor[:, None, None] * plane
