"""Pictures filtered by frequency band, with noise, and with a part cut out (Karras et al. 2020, appendix B.3, B.4)."""

import torch
import torch.nn.functional as F

from training.augment_dice import on_active
from training.augment_geometry import reflect_pad
from training.augment_wavelets import octave_bank

BAND_OCTAVES = 1.0
BAND_POWERS = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # what natural pictures have in the bands, from low to high
NOISE_DEVIATION = 0.1
HOLE = 0.5  # side of the part cut out, in sides of the picture


def band_filter(images, dice):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures with each of four frequency bands louder or softer, with probability p each."""
    powers = torch.tensor(BAND_POWERS)
    gains, active = torch.ones(len(images), len(powers)), torch.zeros(len(images), dtype=torch.bool)
    for band in range(len(powers)):
        used, strength = dice.chance(), dice.lognormal(BAND_OCTAVES)
        factors = torch.ones_like(gains)
        factors[:, band] = strength
        factors = factors / (powers * factors.square()).sum(1, keepdim=True).sqrt()  # the expected power stays
        gains = torch.where(used[:, None], gains * factors, gains)
        active = active | used
    return on_active(images, active, lambda rows, k: amplify_bands(rows, gains[k]))


def amplify_bands(images, gains):  # [N, C, H, W], [N, 4] from low to high -> [N, C, H, W]
    """Returns pictures filtered along both axes by Σ gain · band; gains of one leave them as they are."""
    n, c, height, width = images.shape
    dtype = torch.promote_types(images.dtype, torch.float32)
    bank = torch.from_numpy(octave_bank(gains.shape[1])).to(gains.dtype)
    kernels = (gains @ bank).to(images.device, dtype).repeat_interleave(c, 0)  # [N C, taps], symmetric
    taps = kernels.shape[1]
    x = reflect_pad(images.to(dtype), taps // 2).reshape(1, n * c, height + taps - 1, width + taps - 1)
    x = F.conv2d(x, kernels[:, None, None, :], groups=n * c)
    x = F.conv2d(x, kernels[:, None, :, None], groups=n * c)
    return x.reshape(images.shape).to(images.dtype)


def noise(images, dice):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures with white RGB noise of a deviation |N(0, 0.1²)|, with probability p."""
    used, deviation, seeds = dice.chance(), dice.normal(NOISE_DEVIATION).abs(), dice.seeds()

    def add(rows, k):
        grains = torch.stack([_grains(seed, rows) for seed in seeds[k].tolist()])
        return rows + deviation[k].to(rows)[:, None, None, None] * grains

    return on_active(images, used, add)


def _grains(seed, rows):  # -> [C, H, W] ~ N(0, I), on the device of the pictures
    generator = torch.Generator(rows.device).manual_seed(seed)
    return torch.randn(rows.shape[1:], generator=generator, device=rows.device).to(rows.dtype)


def cutout(images, dice):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures with a rectangle of half their sides set to grey, with probability p."""
    used, centre = dice.chance(), dice.uniform(0, 1, 2)

    def cut(rows, k):
        return rows * keep_mask(centre[k].to(rows.device), *rows.shape[2:]).to(rows.dtype)

    return on_active(images, used, cut)


def keep_mask(centre, height, width):  # [N, 2] (x, y) in sides of the picture -> [N, 1, H, W] of 0 and 1
    """Returns 0 inside the rectangle around `centre`, 1 outside."""
    inside = []
    for axis, side in ((0, width), (1, height)):
        low = ((centre[:, axis] - HOLE / 2) * side).round()[:, None]
        high = ((centre[:, axis] + HOLE / 2) * side).round()[:, None]
        place = torch.arange(side, device=centre.device)
        inside.append((place >= low) & (place < high))
    return (~(inside[0][:, None, :] & inside[1][:, :, None])).float()[:, None]
