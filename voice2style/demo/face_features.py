"""Draws nose shadows, mouth, eyes, brows and glasses of a batch of heads."""

import torch

from voice2style.demo.face_model import DEPTH, EYE_Y
from voice2style.demo.face_shapes import IRIS_COLOURS, bell, colour, ellipse, length, power, ramp, ridge, smoothstep


def draw_nose(head):
    """Nostrils, the wings' outline and the shadow under the nose (its relief is part of the skin)."""
    canvas, scale, tip = head.canvas, head.nose_scale, head.nose_tip
    box = canvas.box(-0.4, 0.4, 0.0, 0.52)
    x, y = canvas.at(DEPTH["nostrils"], box)
    side = x.abs()
    canvas.darken((0.55, 0.42, 0.40), 0.40 * bell(x, y - tip - 0.075, 0.085 * scale, 0.028), box)
    nostril = (ellipse(side - 0.042 * scale, y - tip - 0.050, 0.026, 0.0145) - 1) * 0.016
    canvas.darken((0.38, 0.24, 0.22), 0.85 * canvas.coverage(nostril, 0.012), box)
    wing = torch.exp(-((ellipse(side - 0.070 * scale, y - tip - 0.018, 0.040, 0.042) - 1) ** 2) / 0.05)
    canvas.darken((0.66, 0.54, 0.52), 0.36 * wing * smoothstep(0.055 * scale, 0.085 * scale, side), box)


def draw_mouth(head):
    """Lips with cupid's bow, corners that rise with the smile, teeth when the mouth is open."""
    canvas, p = head.canvas, head.p
    box = canvas.box(-0.45, 0.45, 0.12, 0.78)
    x, y = canvas.at(DEPTH["mouth"], box)
    width, gap, fullness = head.mouth_width, 0.5 * p["open"], (1 + 0.36 * p["lips"]).clamp(0.35, 1.9)
    relative = (x / width).clamp(-1.3, 1.3)
    arch = (1 - relative * relative).clamp_min(0)
    line = head.mouth_line(relative)
    bow = (1 - 0.28 * ridge(x, 0.030)) * (0.55 + 0.45 * arch)
    top = line - gap * 0.06 * arch - 0.040 * fullness * arch * bow
    bottom = line + gap * 0.09 * arch + 0.056 * fullness * power(arch, 0.75)
    beyond = x.abs() - width
    lips = torch.maximum(torch.maximum(top - y, y - bottom), beyond)
    shine = bell(x - 0.02 * p["light"], y - (line + gap * 0.09 + 0.026 * fullness), 0.06, 0.014) * 0.16
    tone = head.lip * (1 - 0.20 * smoothstep(0.004, -0.012, y - line))[:, None] + shine[:, None]
    canvas.paint(tone.clamp(0, 1), canvas.coverage(lips, 0.010) * (0.55 + 0.40 * p["lipstick"]), box)
    gap_top, gap_bottom = line - gap * 0.05 * arch, line + gap * 0.09 * arch
    inside = torch.maximum(torch.maximum(gap_top - y, y - gap_bottom), x.abs() - width * 0.93)
    canvas.paint(
        colour((0.25, 0.08, 0.08), head.device), canvas.coverage(inside, 0.004) * smoothstep(0.08, 0.25, p["open"]), box
    )
    teeth = canvas.coverage(torch.maximum(inside + 0.004, y - gap_top - 0.030), 0.006) * smoothstep(
        0.15, 0.4, p["open"]
    )
    canvas.paint(colour((0.95, 0.93, 0.90), head.device), teeth * 0.95, box)
    closed = 1 - smoothstep(0.08, 0.25, p["open"])
    canvas.darken(
        (0.36, 0.18, 0.18), 0.85 * ridge(y - line, 0.011) * canvas.coverage(beyond + 0.005, 0.02) * closed, box
    )
    canvas.darken((0.66, 0.54, 0.52), 0.42 * bell(x, y - bottom - 0.022, 0.09, 0.018), box)
    canvas.darken((0.60, 0.46, 0.44), 0.45 * bell(beyond, y - line, 0.020, 0.018), box)


def draw_eyes(head):
    """Both eyes with their brows."""
    for side in (-1, 1):
        box = head.canvas.box(-0.62, 0.12, -0.48, 0.26) if side < 0 else head.canvas.box(-0.12, 0.62, -0.48, 0.26)
        x, y = head.canvas.at(DEPTH["eyes"], box)
        x, y = x * side - head.eye_x, y - EYE_Y  # outwards from the eye's centre, downwards
        _draw_eye(head, side, x, y, box)
        _draw_brow(head, x, y, box)


def _draw_eye(head, side, x, y, box):  # x, y [N, H, W] from the eye's centre, x outwards
    """Eyeball, iris, pupil, highlight, lashes, crease and lower lid of one eye."""
    canvas, p = head.canvas, head.p
    cos, sin = torch.cos(0.10 * p["eye_tilt"] + 0.05), torch.sin(0.10 * p["eye_tilt"] + 0.05)
    x, y = cos * x - sin * y, sin * x + cos * y
    width = 0.118 * (1 + 0.07 * p["eye_size"])
    open_height = 0.060 * (1 + 0.16 * p["eye_size"]) * (1 - 0.30 * p["wrinkle"]) * (1 - 0.18 * p["smile"].clamp_min(0))
    relative = (x / width).clamp(-1.2, 1.2)
    arch = (1 - relative * relative).clamp_min(0)
    upper, lower = -open_height * power(arch, 0.70) * (1 - 0.12 * relative), 0.62 * open_height * power(arch, 0.9)
    # Without the clip at |x| = width a one-pixel line would cross the whole face.
    lids = torch.maximum(torch.maximum(upper - y, y - lower), (x.abs() - width) * 2)
    ball = canvas.coverage(lids, 0.004)
    shade = 1 - 0.30 * smoothstep(0.45, 1.1, relative.abs()) - 0.28 * ridge(y - upper, 0.022)
    canvas.paint(colour((0.96, 0.95, 0.94), head.device) * shade[:, None], ball, box)
    _draw_iris(head, side, x, y, ball, box)
    within, lash = relative.abs(), p["lash"]
    band = ridge(y - upper + 0.004, 0.0125 + 0.006 * lash) * smoothstep(1.16, 1.0, within)
    canvas.darken((0.16, 0.11, 0.10), band * (0.80 + 0.15 * lash), box)
    canvas.darken((0.55, 0.42, 0.40), 0.40 * ridge(y - lower - 0.004, 0.008) * smoothstep(1.05, 0.9, within), box)
    canvas.darken((0.62, 0.50, 0.48), 0.55 * ridge(y - upper * 1.15 + 0.034, 0.011) * smoothstep(1.2, 0.9, within), box)
    canvas.darken((0.75, 0.62, 0.62), (0.16 + 0.18 * lash) * bell(x, y - upper + 0.018, width * 0.9, 0.026), box)


def _draw_iris(head, side, x, y, ball, box):  # ball [N, H, W]: coverage of the eyeball
    """Iris, pupil, and the highlight on the side that the light comes from."""
    canvas, p, device = head.canvas, head.p, head.device
    x, y = x - side * p["gaze"] * 0.022, y + 0.004
    radius = length(x, y)
    iris = ramp(IRIS_COLOURS, head.flat["eye_hue"])[:, :, None, None]
    shade = 0.62 + 0.75 * smoothstep(-0.02, 0.055, y) - 0.45 * smoothstep(0.040, 0.058, radius)
    canvas.paint((iris * shade[:, None]).clamp(0, 1), canvas.coverage(radius - 0.0585, 0.006) * ball, box)
    canvas.paint(colour((0.03, 0.03, 0.03), device), canvas.coverage(radius - 0.025, 0.006) * ball, box)
    spot = length(x - 0.018 * side * p["light"].sign(), y + 0.020) - 0.0125
    canvas.paint(colour((1.0, 1.0, 1.0), device), canvas.coverage(spot, 0.008) * ball * 0.95, box)


def _draw_brow(head, x, y, box):  # x, y [N, H, W] from the eye's centre, x outwards
    """One tapered eyebrow."""
    canvas, p = head.canvas, head.p
    reach = 0.150 * (1 + 0.05 * p["brow_t"])
    along = (x - 0.006) / reach
    centre = -0.150 - 0.022 * p["brow_h"] + 0.012 * p["wrinkle"] - 0.020 * (1 - along * along) + 0.022 * along * along
    centre = centre - p["brow_arch"] * (0.004 * along + 0.012 * ridge(along - 0.35, 0.4))
    thickness = 0.0215 * (1 + 0.40 * p["brow_t"]).clamp(0.35, 2.2)
    thickness = thickness * (1 - 0.55 * smoothstep(-0.1, 1.0, along)) * smoothstep(-1.12, -0.80, along)
    distance = torch.maximum((y - centre).abs() - thickness, (along.abs() - 1) * reach)
    hairs = 0.90 + 0.10 * canvas.fade(75) * torch.sin(70 * x + 26 * y)
    strength = 0.80 * hairs * (1 - 0.35 * p["grey"].clamp(0, 1))
    canvas.paint(head.hair * 0.62 + 0.02, canvas.coverage(distance, 0.012) * strength, box)


def draw_glasses(head):
    """Frames (from square to round), bridge, arms and a faint reflection, where the person wears glasses."""
    canvas, p = head.canvas, head.p
    box = canvas.box(-0.75, 0.75, -0.36, 0.30)
    x, y = canvas.at(DEPTH["glasses"], box)
    centre, half_width = head.eye_x * 1.02, 0.150
    half_height, corner = 0.118 + 0.022 * p["gl_round"], 0.06 + 0.05 * p["gl_round"]
    side, down = x.abs() - centre, y - EYE_Y - 0.012
    over_x, over_y = side.abs() - half_width + corner, down.abs() - half_height + corner
    outside = (over_x.clamp_min(0) ** 2 + over_y.clamp_min(0) ** 2 + 1e-8).sqrt()
    lens = outside + torch.maximum(over_x, over_y).clamp_max(0) - corner
    streak = smoothstep(0.02, 0.0, ((side * 0.8 + down) % 0.30 - 0.06).abs() - 0.02)
    reflection = (canvas.coverage(lens) * 0.07 + canvas.coverage(lens + 0.01) * 0.12 * streak) * p["glasses"]
    canvas.paint(colour((1.0, 1.0, 1.0), head.device), reflection, box)
    bridge = torch.maximum((down + 0.035 - 0.25 * x * x).abs() - 0.010, x.abs() - (centre - half_width))
    arms = torch.maximum(
        (down + 0.045).abs() - 0.010, torch.maximum(centre + half_width - x.abs(), x.abs() - head.half_width * 1.02)
    )
    frame = torch.minimum(torch.minimum(lens.abs() - 0.0125, bridge), arms)
    tint = torch.cat([p["gl_c"] * 0.35 + 0.06, p["gl_c"] * 0.16 + 0.05, p["gl_c"] * 0.10 + 0.06], 1)[..., None]
    canvas.paint(tint, canvas.coverage(frame, 0.004) * p["glasses"], box)
