"""Draws the background, shoulders, ears, the shaded skin, freckles, wrinkles and beard of a batch of heads."""

import functools

import numpy as np
import torch

from voice2style.demo.face_model import DEPTH, EYE_Y
from voice2style.demo.face_shapes import bell, colour, ellipse, length, power, ridge, smoothstep

SHADOW_TINT = (0.60, 0.47, 0.45)  # reddish shadows look alive
_LATTICE = 128  # side of the freckle lattice, in cells


def draw_background(head):
    """A pastel wall, darker towards the floor, with a soft glow on the light's side."""
    canvas, p = head.canvas, head.p
    down = ((canvas.v + 1) / 2)[:, None]  # [1, 1, R, 1]
    glow = torch.exp(-((canvas.u - 0.35 * p["light"]) ** 2 + (canvas.v + 0.15) ** 2) / 0.9)
    canvas.pixels[:] = head.colour_of("background") * (1 - 0.28 * down) + 0.10 * (1 - down) + 0.10 * glow[:, None]


def draw_body(head):
    """Neck and clothes."""
    canvas, p = head.canvas, head.p
    box = canvas.box(-1, 1, 0.25, 1)
    x, y = canvas.at(DEPTH["neck"], box)
    neck = torch.maximum(x.abs() - head.neck_width - 0.16 * smoothstep(0.72, 1.10, y) ** 2, 0.3 - y)
    shade = (0.62 + 0.20 * smoothstep(0.62, 1.0, y) + 0.10 * p["light"] * x / 0.25).clamp(0.3, 1)
    canvas.paint(head.skin * torch.stack([shade, shade * 0.94, shade * 0.91], 1), canvas.coverage(neck, 0.01), box)
    shoulders = (ellipse(x, y - 1.46, 1.12 + 0.05 * p["neck"], 0.64) - 1) * 0.6
    collar = (1 - ellipse(x, y - 0.80, head.neck_width * 1.12, 0.17)) * 0.17
    shade = (0.92 + 0.16 * p["light"] * x - 0.18 * smoothstep(0.75, 1.0, y)).clamp(0.2, 1.2)
    canvas.paint(
        head.colour_of("clothes") * shade[:, None], canvas.coverage(torch.maximum(shoulders, collar), 0.008), box
    )
    canvas.darken((0.80, 0.78, 0.80), canvas.coverage(collar.abs() - 0.012, 0.01) * canvas.coverage(shoulders), box)


def draw_ears(head):
    """Two ears, behind the outline of the head."""
    canvas, p = head.canvas, head.p
    for side in (-1, 1):
        box = canvas.box(-0.78, -0.22, -0.35, 0.45) if side < 0 else canvas.box(0.22, 0.78, -0.35, 0.45)
        x, y = canvas.at(DEPTH["ears"], box)
        radius = ellipse(x * side - head.half_width * 0.965, y - 0.04, 0.085, 0.145)
        shade = (0.80 + 0.15 * side * p["light"] - 0.12 * smoothstep(0.2, 0.9, 1 - radius)).clamp(0.2, 1.1)
        canvas.paint(
            head.skin * torch.stack([shade, shade * 0.93, shade * 0.90], 1), canvas.coverage((radius - 1) * 0.085), box
        )


def _height_field(head, radius):  # relative radius [N, H, W] -> height [N, H, W]
    """The relief of the face: an ellipsoid, with bumps for sockets, cheeks, brows, chin, lips and nose."""
    canvas, p, whole = head.canvas, head.p, head.face_box
    height = (1 - 0.92 * power(radius.clamp(0, 1), 2.2)).clamp_min_(0.02).sqrt_().mul_(0.62)
    x, y = canvas.at(DEPTH["cheeks"], whole)
    side = x.abs()
    height -= 0.050 * bell(side - head.eye_x, y - EYE_Y, 0.14, 0.085)
    height += (0.030 + 0.010 * p["hollow"]) * bell(side - 0.33, y - 0.14, 0.13, 0.10)
    height += 0.030 * bell(side - 0.19, y - EYE_Y + 0.15, 0.20, 0.05)
    box, part = canvas.inner_box(whole, -0.72, 0.72, -0.05, 0.98)
    x, y = canvas.at(DEPTH["cheeks"], box)
    height[part] += 0.035 * bell(x, y - head.chin * 0.86, 0.13, 0.10) + 0.028 * bell(x, y - 0.43, 0.17, 0.10)
    box, part = canvas.inner_box(whole, -0.42, 0.42, -0.36, 0.55)
    x, y = canvas.at(DEPTH["nose"], box)
    tip, scale = head.nose_tip, head.nose_scale
    along = smoothstep(EYE_Y - 0.10, tip, y) * smoothstep(tip + 0.075, tip - 0.01, y)
    height[part] += 0.052 * ridge(x, 0.058 * scale) * along + 0.046 * bell(x, y - tip, 0.070 * scale, 0.058)
    height[part] += 0.020 * bell(x.abs() - 0.074 * scale, y - tip - 0.02, 0.036 * scale, 0.036)
    return height


def _lighting(head, height):  # [N, H, W] -> [N, H, W] in [0, 1]
    """Half-Lambert light on the normals of a height field."""
    slope_y, slope_x = torch.gradient(height, spacing=head.canvas.pixel, dim=(1, 2))
    x, y, z = head.p["light"] * 0.75, -0.42, 0.80
    norms = (slope_x * slope_x).addcmul_(slope_y, slope_y).add_(1).rsqrt_() * (x * x + y * y + z * z).rsqrt()
    return smoothstep(-0.25, 1.05, (z - slope_x * x - slope_y * y) * norms)


def draw_skin(head):  # -> distance [N, H, W] to the outline, over the face box
    """The face itself: shadow to skin colour by the light, a small highlight, and blush on cheeks and nose."""
    canvas, p, box = head.canvas, head.p, head.face_box
    distance, radius = head.outline(*canvas.at(DEPTH["outline"], box))
    lit = _lighting(head, _height_field(head, radius))
    shadow = head.skin * colour(SHADOW_TINT, head.device)
    face = shadow + (head.skin * 1.04 - shadow) * lit[:, None]
    shine = 0.16 * (1.15 - head.skin_luminance) * colour((1.0, 0.97, 0.92), head.device)
    squared = lit * lit
    face.addcmul_(shine, (squared * squared * squared).square_().mul_(squared)[:, None])  # lit ** 14
    x, y = canvas.at(DEPTH["cheeks"], box)
    blush = (0.18 + 0.12 * p["blush"]) * bell(x.abs() - 0.30, y - 0.19, 0.14, 0.10)
    nose_box, part = canvas.inner_box(box, -0.42, 0.42, -0.20, 0.55)
    x, y = canvas.at(DEPTH["nose"], nose_box)
    blush[part] += 0.20 * bell(x, y - head.nose_tip, 0.07, 0.06)
    for channel, strength in enumerate((0.02, 0.17, 0.15)):
        face[:, channel].addcmul_(face[:, channel], blush, value=-strength)
    head.skin_coverage = canvas.coverage(distance)
    canvas.paint(face.clamp_(0, 1), head.skin_coverage, box)
    return distance


@functools.lru_cache(maxsize=8)
def _freckle_lattice(device):  # -> [3, cells]: offsets x and y in [0, 1), strength 0 or 1
    """Scattered numbers for each lattice cell, from a table: a hash by sines would differ from device to device."""
    row, column = np.meshgrid(np.arange(_LATTICE) - _LATTICE // 2, np.arange(_LATTICE) - _LATTICE // 2, indexing="ij")
    first = np.sin(column * 12.99 + row * 78.23) * 4375.85 % 1
    second = np.sin(column * 39.35 + row * 11.14) * 2753.55 % 1
    present = (first + 3.7 * second) % 1 > 0.35
    return torch.tensor(np.stack([first, second, present]).reshape(3, -1), dtype=torch.float32, device=device)


def draw_freckles(head):
    """Freckles as jittered dots on a lattice (never sines, which alias)."""
    canvas, p = head.canvas, head.p
    box, part = canvas.inner_box(head.face_box, -0.72, 0.72, -0.34, 0.66)
    x, y = canvas.at(DEPTH["cheeks"], box)
    lattice_x, lattice_y = x * 24 + 7 * p["texture_1"], y * 24 + 7 * p["texture_2"]
    column, row = lattice_x.floor(), lattice_y.floor()
    index = ((row + _LATTICE // 2) * _LATTICE + column + _LATTICE // 2).clamp(0, _LATTICE**2 - 1).long()
    first, second, present = _freckle_lattice(head.device)[:, index]
    distance = length(lattice_x - column - 0.2 - 0.6 * first, lattice_y - row - 0.2 - 0.6 * second)
    where = bell(x.abs() - 0.20, y - 0.15, 0.22, 0.12) * p["freckle"] * 0.85 * head.skin_coverage[part]
    canvas.darken((0.74, 0.60, 0.50), smoothstep(0.24, 0.12, distance) * present * where, box)


def draw_wrinkles(head):
    """Lines of age: each kind in its own box, darkening the skin below it."""
    _draw_hollows(head)
    for left, right, top, bottom, lines in (
        (-0.5, 0.5, -0.70, -0.14, _forehead),
        (-0.72, 0.72, -0.35, 0.26, _eye_lines),
        (-0.5, 0.5, 0.02, 0.85, _folds),
    ):
        box, part = head.canvas.inner_box(head.face_box, left, right, top, bottom)
        x, y = head.canvas.at(DEPTH["cheeks"], box)
        head.canvas.darken((0.66, 0.56, 0.52), lines(head, x, y).clamp_(0, 0.9) * head.skin_coverage[part], box)


def _draw_hollows(head):
    box, part = head.canvas.inner_box(head.face_box, -0.72, 0.72, -0.26, 0.85)
    x, y = head.canvas.at(DEPTH["cheeks"], box)
    depth = (0.14 + 0.18 * head.p["hollow"]).clamp(0, 0.7)
    hollow = depth * bell(x.abs() - 0.30 + 0.25 * (y - 0.30), y - 0.29, 0.075, 0.13)
    head.canvas.darken((0.60, 0.50, 0.47), hollow * head.skin_coverage[part], box)


def _forehead(head, x, y):
    bent = y - (x / 0.3).square_().mul_(0.03)
    heights = enumerate((-0.29, -0.37, -0.45))
    lines = sum(ridge(bent - height - 0.006 * torch.sin(9 * x + 5 * i), 0.013) for i, height in heights)
    return head.p["wrinkle"] * 0.42 * lines * (x / 0.26).square_().square_().neg_().exp_()


def _eye_lines(head, x, y):
    """Bags under the eyes and crow's feet."""
    across, down = x.abs() - head.eye_x, y - EYE_Y
    bag = ridge(down - 0.105 + 0.35 * across * across, 0.016) * (across / 0.11).square_().square_().neg_().exp_()
    crow = sum(ridge(down - 0.005 - slope * (across - 0.12), 0.010) for slope in (-0.45, 0.0, 0.45))
    crow = crow * smoothstep(0.125, 0.15, across) * smoothstep(0.235, 0.18, across)
    return head.p["wrinkle"] * (0.62 * bag + 0.55 * crow)


def _folds(head, x, y):
    """The folds from nose to mouth, and jowls."""
    side, tip, age = x.abs(), head.nose_tip, head.p["wrinkle"]
    fold_x = 0.095 * head.nose_scale + 0.115 * ((y - tip + 0.02) / 0.2).clamp_(0, 1.3)
    fold = ridge(side - fold_x, 0.016) * smoothstep(tip - 0.03, tip + 0.06, y) * smoothstep(0.50, 0.40, y)
    jowl = ridge(side - 0.235, 0.018) * smoothstep(0.44, 0.52, y) * smoothstep(0.66, 0.56, y)
    return age * 0.40 * jowl + (0.16 + 0.62 * age) * fold


def draw_beard(head, distance):  # distance [N, H, W] to the outline, as draw_skin returned it
    """Beard and moustache, soft and faintly textured."""
    canvas, p = head.canvas, head.p
    box, part = canvas.inner_box(head.face_box, -0.72, 0.72, -0.10, 0.98)
    distance = distance[part]
    _, outline_y = canvas.at(DEPTH["outline"], box)
    x, y = canvas.at(DEPTH["cheeks"], box)
    side = x.abs()
    low = smoothstep(0.24, 0.40, outline_y + 0.22 * smoothstep(0.30, 0.46, side)) * smoothstep(
        -0.02, 0.06, 0.05 - distance
    )
    around_mouth = (1 - 0.92 * bell(x, y - 0.425, 0.15, 0.055)) * smoothstep(
        0.12, 0.26, (side / 0.9).square_() * 2 + y - 0.20
    )
    mask = (low * around_mouth + bell(x, y - 0.335, 0.15, 0.035)).clamp(0, 1)
    texture = 0.90
    if canvas.fade(110) > 0.04:
        waves = torch.sin(85 * x + 5 * torch.sin(60 * y)) * torch.sin(75 * y + 4 * torch.sin(50 * x))
        texture = 0.90 + 0.10 * canvas.fade(110) * waves
    amount = (p["beard"] * 1.05).clamp(0, 0.93)
    canvas.paint(head.hair * 0.70, mask * amount * texture * canvas.coverage(distance - 0.01), box)
