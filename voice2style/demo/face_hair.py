"""Draws hair: the mass behind the head, then cap, hairline, sideburns and curtains in front of it."""

import dataclasses

import torch

from voice2style.demo.face_model import DEPTH
from voice2style.demo.face_shapes import choose, positive, power, ridge, smoothstep


@dataclasses.dataclass
class HairShape:
    """What the hair behind and in front of the head share, so that both end at one outer boundary."""

    volume: torch.Tensor  # [N, 1, 1] thickness on top
    is_long: torch.Tensor  # [N, 1, 1] 0 short .. 1 long
    wave: torch.Tensor  # [N, R, R] curls of the boundary
    boundary: torch.Tensor  # [N, R, R] signed distance to the outer edge of the falling hair


def _strands(canvas, phase, frequencies, amounts):
    """Two sines in polar angle, each faded when the pixels cannot hold it."""
    angle, *offsets = phase
    total = 0.0
    for frequency, offset, amount in zip(frequencies, offsets, amounts):
        if canvas.fade(amount) > 0.04:  # a weaker one would change no pixel by half a level
            total = total + torch.sin(frequency * angle + offset) * (0.5 * canvas.fade(amount))
    return total


def draw_back_hair(head):  # -> HairShape
    """The hair behind the head and neck. Bald heads have none."""
    canvas, p = head.canvas, head.p
    x, y = canvas.at(DEPTH["hair_back"])
    angle = torch.atan2(x, -(y + 0.1))
    turn_1, turn_2 = 6.28 * p["texture_1"], 6.28 * p["texture_2"]
    wave = p["curl"] * (0.020 * torch.sin(9 * angle + turn_1) + 0.016 * torch.sin(17 * angle + turn_2))
    volume, is_long = 0.055 + 0.05 * p["hair_vol"], smoothstep(0.15, 0.3, p["hair_len"])
    skull, _ = head.outline(x, y * 0.98 + 0.03)
    end = 1.15 * p["hair_len"] - 0.05  # how far it falls
    flare = smoothstep(-0.1, 0.75, y) * (1 - 0.55 * smoothstep(end - 0.22, end + 0.02, y))
    edge = head.half_width + volume * 0.9 + (0.03 + 0.10 * p["hair_len"]) * flare + wave * 0.8
    side = x.abs()
    boundary = torch.maximum(
        side - edge, y - end - 0.5 * (side - 0.45).clamp_min(0) ** 2 + 0.10 * (side / 0.6).square().square()
    )
    short = 1 - is_long  # short hair must lose its thickness before the ear, or it looks like a helmet
    thickness = volume * (1 - 0.95 * smoothstep(-0.55, -0.04, y) * short) + wave * (
        1 - 0.8 * smoothstep(-0.5, -0.1, y) * short
    )
    long_mass = canvas.coverage(choose(positive(y + 0.02), boundary, skull - thickness), 0.012)
    short_mass = canvas.coverage(torch.maximum(skull - thickness * 0.5, y + 0.06), 0.012)
    rgb = _back_colour(head, x, y, angle) * (0.88 - 0.18 * is_long - 0.12 * smoothstep(0.1, 0.5, y))[:, None]
    canvas.paint(rgb, choose(positive(is_long - 0.5), long_mass, short_mass) * (1 - p["bald"]))
    return HairShape(volume, is_long, wave, boundary)


def _back_colour(head, x, y, angle):  # -> [N, 3, R, R]
    canvas, p = head.canvas, head.p
    phase = (angle, 4 * torch.sin(y * 4 + 6.28 * p["texture_1"]), 5 * x + 6.28 * p["texture_2"])
    strands = _strands(canvas, phase, (23, 61), (38, 100))
    sheen = ridge(y + 0.52 + 0.12 * x * x - 0.05 * p["light"] * x, 0.10)
    shade = 0.80 + 0.06 * strands + 0.26 * sheen + 0.10 * p["light"] * x - 0.22 * smoothstep(-0.2, 0.9, y)
    return (head.hair * shade[:, None] + 0.035 * sheen[:, None]).clamp(0, 1)


def _hairline(head, x):  # [N, H, W] -> y [N, H, W]
    """The height of the hairline: a parabola about the parting, receding, or covered by a fringe."""
    p = head.p
    side, recede = p["part"] * 0.16, p["recede"]
    line = -0.47 + 0.03 * p["hair_vol"] + 1.32 * power((x - side).abs().clamp_max(0.8), 2.6)
    line = (
        line
        - recede * (0.09 + 0.16 * ridge(x.abs() - 0.30, 0.13))
        + 0.030 * torch.sin(p["part"] * 3 + 3 * x) * (1 - recede)
    )
    fringe = -0.235 + 0.0175 * torch.sin(22 * x + 6 * p["texture_1"]) + 0.45 * x * x + 0.10 * x * p["part"].sign()
    line = choose(positive(p["fringe"] * (1 - recede) - 0.5), torch.maximum(line, fringe), line)
    return line + p["curl"] * (0.016 * torch.sin(31 * x + 6 * p["texture_2"]) + 0.012 * torch.sin(47 * x))


def draw_front_hair(head, shape):  # HairShape of draw_back_hair
    """Cap, sideburns or curtains, and the shadow that they cast on the forehead."""
    canvas, p = head.canvas, head.p
    box = canvas.box(-0.85, 0.85, -1, 1)
    x, y = canvas.at(DEPTH["hair_front"], box)
    far_x, far_y = canvas.at(DEPTH["hair_line"], box)
    skull, _ = head.outline(far_x, far_y * 0.985 + 0.02)
    is_long, short = shape.is_long, 1 - shape.is_long
    line = _hairline(head, x)
    inner = head.half_width * (
        0.86 - 0.10 * is_long + (0.15 - 0.02 * is_long) * smoothstep(-0.42, 0.06 + 0.25 * is_long, far_y)
    )
    thickness = (shape.volume * 0.85 + shape.wave[:, box[0], box[1]]) * (
        1 - 0.9 * smoothstep(-0.55, -0.06, far_y) * short
    )
    cap = skull - thickness
    falls = positive(p["hair_len"] - 0.15)
    top = torch.maximum(cap, y - choose(falls, line, line.clamp_max(-0.10)))
    sideburn = torch.maximum(cap, far_y - 0.05 - 0.25 * (far_x.abs() - head.half_width * 0.9))
    low = choose(falls, shape.boundary[:, box[0], box[1]], sideburn)
    sides = torch.maximum(
        choose(positive(far_y), low, torch.maximum(low, cap)), torch.maximum(inner - far_x.abs(), -far_y - 0.50)
    )
    shadow = 0.34 * ridge((y - line).clamp_min(0), 0.05) * canvas.coverage(skull + 0.03)
    canvas.darken((0.72, 0.62, 0.60), shadow * (1 - p["bald"]), box)
    under = 0.30 * ridge((y - line).clamp_max(0), 0.06) * (1 - smoothstep(-0.30, -0.03, y))
    locks = 0.22 * smoothstep(-0.1, 0.6, y) + 0.18 * ridge(far_x.abs() - inner, 0.05) * smoothstep(-0.4, -0.1, y)
    rgb = _front_colour(head, x, y, under + is_long * locks)
    canvas.paint(rgb, canvas.coverage(torch.minimum(top, sides), 0.012) * (1 - p["bald"]), box)


def _front_colour(head, x, y, shadow):  # -> [N, 3, H, W]
    canvas, p = head.canvas, head.p
    angle = torch.atan2(x - p["part"] * 0.16, -(y + 0.12))
    phase = (angle, 6 * p["texture_2"] + 3 * torch.sin(y * 5), 5 * torch.sin(y * 4))
    strands = _strands(canvas, phase, (21, 57), (35, 95))
    sheen = ridge(y + 0.56 + 0.30 * (x - 0.12 * p["light"]) ** 2, 0.085)
    shade = 0.90 + 0.06 * strands + 0.27 * sheen + 0.14 * p["light"] * x - shadow
    return (head.hair * shade[:, None] + 0.03 * sheen[:, None]).clamp(0, 1)
