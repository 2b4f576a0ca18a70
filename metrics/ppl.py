"""Perceptual path length: how far apart two pictures look whose codes are 1e-4 apart, per squared step.

A Style-Based Generator Architecture (2018) and Analyzing and Improving the Image Quality of StyleGAN (2019), with the
edge rules of the published measurements. Beside it the length that StyleGAN2 regularises, ‖J_wᵀy‖.
"""

import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as F

EPSILON = 1e-4
LARGEST_SIDE = 256


@dataclasses.dataclass(frozen=True)
class PathKind:
    """One of the published measurements: space "z" or "w", sampling "full" (t uniform) or "end" (t = 0), crop."""

    space: str
    sampling: str
    crop: bool


KINDS = {
    "ppl2_wend": PathKind("w", "end", crop=False),
    "ppl_zfull": PathKind("z", "full", crop=True),
    "ppl_wfull": PathKind("w", "full", crop=True),
    "ppl_zend": PathKind("z", "end", crop=True),
    "ppl_wend": PathKind("w", "end", crop=True),
}


def slerp(a, b, t):  # [N, Z], [N, Z], [N, 1] -> [N, Z]
    """Returns the points at t on the great circles from a/|a| to b/|b|, of length 1."""
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    angle = (a * b).sum(1, keepdim=True).clamp(-1, 1).acos()
    across = b - (a * b).sum(1, keepdim=True) * a
    across = across / across.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return a * torch.cos(t * angle) + across * torch.sin(t * angle)


def path_codes(mapping, z0, z1, c, t, space):  # [N, Z], [N, Z], [N, C] or None, [N] -> ws [2N, L, D]
    """Returns the codes of the two ends of every step: first those at t, then those at t + 1e-4.

    `mapping(z, c)` -> ws without truncation. One call maps both ends.
    """
    both = None if c is None else torch.cat([c, c])
    if space == "z":
        t = t[:, None]
        return mapping(torch.cat([slerp(z0, z1, t), slerp(z0, z1, t + EPSILON)]), both)
    w0, w1 = mapping(torch.cat([z0, z1]), both).chunk(2)
    t = t[:, None, None]
    return torch.cat([torch.lerp(w0, w1, t), torch.lerp(w0, w1, t + EPSILON)])


def prepared(images, *, crop, resolution):  # [N, C, H, W] in [-1, 1] -> [N, 3, h, w]
    """Returns what the distance looks at: the middle of the face when cropped, at most 256 a side, three channels.

    With c = H//8 the crop is rows 3c to 7c, columns 2c to 6c. The factor of the box mean comes from `resolution`, the
    side of the whole picture, also after the crop; pictures below 512 are not touched.
    """
    if crop:
        c = images.shape[2] // 8
        images = images[:, :, 3 * c:7 * c, 2 * c:6 * c]
    factor = resolution // LARGEST_SIDE
    if factor > 1:
        images = F.avg_pool2d(images, factor)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def step_lengths(images, distance, *, crop, resolution):  # [2N, C, H, W] in [-1, 1] -> float64 [N]
    """Returns distance / 1e-8 of every step; `images` holds the pictures at t, then those at t + 1e-4."""
    first, second = prepared(images, crop=crop, resolution=resolution).chunk(2)
    return distance(first, second).cpu().double() / EPSILON**2


def trimmed(lengths):  # [N] -> [M]
    """Returns the lengths from the 1st percentile ('lower') to the 99th ('higher')."""
    lengths = np.asarray(lengths, np.float64)
    low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
    return lengths[(lengths >= low) & (lengths <= high)]


def mean_length(lengths, *, seed, rounds=200):  # [N] -> (value, low, high)
    """Returns the mean of the trimmed lengths and its 95 % bootstrap interval over steps, trimmed anew each time."""
    from torch_utils.random_streams import numpy_stream

    lengths = np.asarray(lengths, np.float64)
    value = float(trimmed(lengths).mean())
    if rounds < 2 or len(lengths) < 2:
        return value, None, None
    random = numpy_stream(seed, "ppl bootstrap")
    again = [trimmed(lengths[random.integers(0, len(lengths), len(lengths))]).mean() for _ in range(rounds)]
    low, high = np.percentile(again, [2.5, 97.5])
    return value, float(low), float(high)


def jacobian_lengths(synthesis, ws, y):  # ws [N, L, D], y [N, C, H, W] of N(0, I) -> [N]
    """Returns ‖J_wᵀy‖₂ / √(HW): what StyleGAN2 holds constant in training. It is not a PPL and not comparable with one.

    The gradient with respect to each layer's code is squared and summed over D; the root is of the mean over layers.
    """
    with torch.enable_grad():
        ws = ws.detach().requires_grad_(True)
        images = synthesis(ws)
        (gradient,) = torch.autograd.grad((images * y).sum() / math.sqrt(images.shape[2] * images.shape[3]), ws)
    return gradient.square().sum(2).mean(1).sqrt()
