"""Draws the background, shoulders, ears, the shaded skin, freckles, wrinkles and beard of a batch of heads."""

import functools

import numpy as np
import torch

from voice2style.demo.face_model import DEPTH, EYE_Y
from voice2style.demo.face_shapes import bell, colour, ellipse, length, ridge, smoothstep

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
    canvas.paint(head.colour_of("clothes") * shade[:, None], canvas.coverage(torch.maximum(shoulders, collar), 0.008), box)
    canvas.darken((0.80, 0.78, 0.80), canvas.coverage(collar.abs() - 0.012, 0.01) * canvas.coverage(shoulders), box)


def draw_ears(head):
    """Two ears, behind the outline of the head."""
    canvas, p = head.canvas, head.p
    for side in (-1, 1):
        box = canvas.box(-0.78, -0.22, -0.35, 0.45) if side < 0 else canvas.box(0.22, 0.78, -0.35, 0.45)
        x, y = canvas.at(DEPTH["ears"], box)
        radius = ellipse(x * side - head.half_width * 0.965, y - 0.04, 0.085, 0.145)
        shade = (0.80 + 0.15 * side * p["light"] - 0.12 * smoothstep(0.2, 0.9, 1 - radius)).clamp(0.2, 1.1)
        canvas.paint(head.skin * torch.stack([shade, shade * 0.93, shade * 0.90], 1), canvas.coverage((radius - 1) * 0.085), box)


def _height_field(head, radius):  # relative radius [N, H, W] -> height [N, H, W]
    """The relief of the face: an ellipsoid, with bumps for sockets, cheeks, brows, chin, lips and nose."""
    canvas, p, box = head.canvas, head.p, head.face_box
    x, y = canvas.at(DEPTH["cheeks"], box)
    side = x.abs()
    height = 0.62 * (1 - 0.92 * radius.clamp(0, 1) ** 2.2).clamp_min(0.02).sqrt()
    height = height - 0.050 * bell(side - head.eye_x, y - EYE_Y, 0.14, 0.085)
    height = height + (0.030 + 0.010 * p["hollow"]) * bell(side - 0.33, y - 0.14, 0.13, 0.10)
    height = height + 0.030 * bell(side - 0.19, y - EYE_Y + 0.15, 0.20, 0.05)
    height = height + 0.035 * bell(x, y - head.chin * 0.86, 0.13, 0.10) + 0.028 * bell(x, y - 0.43, 0.17, 0.10)
    x, y = canvas.at(DEPTH["nose"], box)
    tip, scale = head.nose_tip, head.nose_scale
    along = smoothstep(EYE_Y - 0.10, tip, y) * smoothstep(tip + 0.075, tip - 0.01, y)
    height = height + 0.052 * ridge(x, 0.058 * scale) * along + 0.046 * bell(x, y - tip, 0.070 * scale, 0.058)
    return height + 0.020 * bell(x.abs() - 0.074 * scale, y - tip - 0.02, 0.036 * scale, 0.036)


def draw_skin(head):
    """The face itself: half-Lambert shading and a small highlight from the normals of the height field."""
    canvas, p, box = head.canvas, head.p, head.face_box
    distance, radius = head.outline(*canvas.at(DEPTH["outline"], box))
    slope_y, slope_x = torch.gradient(_height_field(head, radius), spacing=canvas.pixel, dim=(1, 2))
    light_x, light_y, light_z = p["light"] * 0.75, -0.42, 0.80
    norms = torch.rsqrt(slope_x * slope_x + slope_y * slope_y + 1) / (light_x * light_x + light_y**2 + light_z**2).sqrt()
    lit = smoothstep(-0.25, 1.05, (light_z - slope_x * light_x - slope_y * light_y) * norms)
    highlight = (lit**14 * 0.16)[:, None] * (1.15 - head.skin_luminance) * colour((1.0, 0.97, 0.92), head.device)
    shadow = head.skin * colour(SHADOW_TINT, head.device)
    face = shadow + (head.skin * 1.04 - shadow) * lit[:, None] + highlight
    x, y = canvas.at(DEPTH["cheeks"], box)
    nose_x, nose_y = canvas.at(DEPTH["nose"], box)
    blush = 0.30 * bell(x.abs() - 0.30, y - 0.19, 0.14, 0.10) * (0.6 + 0.4 * p["blush"])
    blush = blush + 0.20 * bell(nose_x, nose_y - head.nose_tip, 0.07, 0.06)
    face = face * (1 - blush[:, None] * colour((0.02, 0.17, 0.15), head.device))
    head.skin_coverage = canvas.coverage(distance)
    canvas.paint(face.clamp(0, 1), head.skin_coverage, box)
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
    canvas, p, box = head.canvas, head.p, head.face_box
    x, y = canvas.at(DEPTH["cheeks"], box)
    lattice_x, lattice_y = x * 24 + 7 * p["texture_1"], y * 24 + 7 * p["texture_2"]
    column, row = lattice_x.floor(), lattice_y.floor()
    index = ((row + _LATTICE // 2) * _LATTICE + column + _LATTICE // 2).clamp(0, _LATTICE**2 - 1).long()
    first, second, present = _freckle_lattice(head.device)[:, index]
    distance = length(lattice_x - column - 0.2 - 0.6 * first, lattice_y - row - 0.2 - 0.6 * second)
    where = bell(x.abs() - 0.20, y - 0.15, 0.22, 0.12) * p["freckle"] * 0.85 * head.skin_coverage
    canvas.darken((0.74, 0.60, 0.50), smoothstep(0.24, 0.12, distance) * present * where, box)


def draw_wrinkles(head):
    """Lines of age (forehead, crow's feet, bags, jowls, nasolabial folds) and hollow cheeks."""
    canvas, p, box = head.canvas, head.p, head.face_box
    x, y = canvas.at(DEPTH["cheeks"], box)
    side, tip, age = x.abs(), head.nose_tip, p["wrinkle"]
    forehead = sum(
        ridge(y - height - 0.03 * (x / 0.3) ** 2 - 0.006 * torch.sin(9 * x + 5 * i), 0.013) for i, height in enumerate((-0.29, -0.37, -0.45))
    ) * torch.exp(-((x / 0.26) ** 4))
    fold_x = 0.095 * head.nose_scale + 0.115 * ((y - tip + 0.02) / 0.2).clamp(0, 1.3)
    fold = ridge(side - fold_x, 0.016) * smoothstep(tip - 0.03, tip + 0.06, y) * smoothstep(0.50, 0.40, y)
    from_eye = side - head.eye_x
    bag = ridge(y - EYE_Y - 0.105 + 0.35 * from_eye**2, 0.016) * torch.exp(-((from_eye / 0.11) ** 4))
    crow = sum(ridge(y - EYE_Y - 0.005 - slope * (from_eye - 0.12), 0.010) for slope in (-0.45, 0.0, 0.45))
    crow = crow * smoothstep(0.125, 0.15, from_eye) * smoothstep(0.235, 0.18, from_eye)
    jowl = ridge(side - 0.235, 0.018) * smoothstep(0.44, 0.52, y) * smoothstep(0.66, 0.56, y)
    hollow = (0.14 + 0.18 * p["hollow"]).clamp(0, 0.7) * bell(side - 0.30 + 0.25 * (y - 0.30), y - 0.29, 0.075, 0.13)
    canvas.darken((0.60, 0.50, 0.47), hollow * head.skin_coverage, box)
    lines = age * (0.42 * forehead + 0.62 * bag + 0.55 * crow + 0.40 * jowl) + (0.16 + 0.62 * age) * fold
    canvas.darken((0.66, 0.56, 0.52), lines.clamp(0, 0.9) * head.skin_coverage, box)


def draw_beard(head, distance):  # distance [N, H, W] to the outline, as draw_skin returned it
    """Beard and moustache, soft and faintly textured."""
    canvas, p, box = head.canvas, head.p, head.face_box
    outline_x, outline_y = canvas.at(DEPTH["outline"], box)
    x, y = canvas.at(DEPTH["cheeks"], box)
    side = x.abs()
    low = smoothstep(0.24, 0.40, outline_y + 0.22 * smoothstep(0.30, 0.46, side)) * smoothstep(-0.02, 0.06, 0.05 - distance)
    around_mouth = (1 - 0.92 * bell(x, y - 0.425, 0.15, 0.055)) * smoothstep(0.12, 0.26, (side / 0.9) ** 2 * 2 + y - 0.20)
    mask = (low * around_mouth + bell(x, y - 0.335, 0.15, 0.035)).clamp(0, 1)
    waves = torch.sin(85 * x + 5 * torch.sin(60 * y)) * torch.sin(75 * y + 4 * torch.sin(50 * x))
    texture = 0.90 + 0.10 * canvas.fade(110) * waves
    amount = (p["beard"] * 1.05).clamp(0, 0.93)
    canvas.paint(head.hair * 0.70, mask * amount * texture * canvas.coverage(distance - 0.01), box)
