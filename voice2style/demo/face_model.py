"""The proportions and colours of a batch of drawn heads, computed once and shared by every part that is drawn."""

import torch

from voice2style.demo.face_shapes import (
    HAIR_COLOURS,
    SKIN_TONES,
    Canvas,
    constant,
    luminance,
    positive,
    power,
    ramp,
    smoothstep,
)

EYE_Y = -0.045
SKULL_HEIGHT = 0.695
POSE = ("roll", "scale", "shift_x", "shift_y", "yaw", "nod")
DEPTH = {  # of the layers, in head coordinates, towards the viewer
    "hair_back": -0.25, "neck": -0.12, "hair_line": -0.10, "ears": -0.07, "outline": 0.0, "hair_front": 0.03,
    "eyes": 0.14, "cheeks": 0.16, "mouth": 0.18, "glasses": 0.22, "nostrils": 0.28, "nose": 0.30,
}  # fmt: skip
# Every number that the renderer takes, one a picture. Shapes are about unit normal; amounts and hues are in [0, 1].
PARAMETERS = (
    "face_width", "jaw", "face_len", "neck", "brow_t", "lips", "eye_size", "nose_w", "nose_len", "mouth_w", "brow_h",
    "hollow", "skin", "undertone", "wrinkle", "grey", "hair_hue", "eye_hue", "eye_gap", "eye_tilt", "hair_len",
    "hair_vol", "curl", "part", "fringe", "glasses", "gl_round", "gl_c", "freckle", "brow_arch", "beard", "blush",
    "lash", "lipstick", "recede", "bald", "texture_1", "texture_2", *POSE, "light", "smile", "open", "gaze",
    "background_r", "background_g", "background_b", "clothes_r", "clothes_g", "clothes_b",
)  # fmt: skip


class Head:
    """N heads on their canvas: parameters `p` (name -> [N, 1, 1]), colours [N, 3, 1, 1], lengths that parts share."""

    def __init__(self, parameters, resolution):  # name -> [N]
        first = next(iter(parameters.values()))
        self.num, self.device = len(first), first.device
        self.flat = parameters
        self.p = p = {name: value.view(-1, 1, 1) for name, value in parameters.items()}
        self.canvas = Canvas(self.num, resolution, {name: p[name] for name in POSE}, self.device)
        self._colours()
        self.half_width = 0.50 * (1 + 0.085 * p["face_width"])
        self.chin = 0.70 * (1 + 0.055 * p["face_len"])
        self.jaw_power = (2.35 + 0.42 * p["jaw"]).clamp(1.75, 3.4)
        self.taper = (0.20 - 0.085 * p["jaw"]).clamp(0.0, 0.38)
        self.eye_x = 0.215 * (1 + 0.06 * p["eye_gap"]) * (1 + 0.045 * p["face_width"])
        self.nose_scale = 1 + 0.20 * p["nose_w"]
        self.nose_tip = EYE_Y + 0.04 + 0.225 * (1 + 0.10 * p["nose_len"])
        self.neck_width = 0.265 * (1 + 0.10 * p["neck"])
        self.mouth_y = 0.425 + 0.02 * p["face_len"]
        self.mouth_width = 0.165 * (1 + 0.16 * p["mouth_w"]) * (1 + 0.06 * p["smile"])
        self.skin_coverage = None  # [N, H, W] of the face box; set when the skin is drawn
        self.face_box = self.canvas.box(-0.72, 0.72, -0.98, 0.98)

    def _colours(self):
        flat, device = self.flat, self.device
        undertone = flat["undertone"]
        warmth = torch.stack([torch.ones_like(undertone), 1 - 0.03 * undertone, 1 - 0.07 * undertone], 1)
        skin = (ramp(SKIN_TONES, flat["skin"]) * warmth).clamp(0, 1)
        grey = flat["grey"].clamp(0, 1)[:, None]
        hair = ramp(HAIR_COLOURS, flat["hair_hue"]) * (1 - grey) + grey * constant((0.80, 0.79, 0.78), device)
        self.skin, self.hair = skin[:, :, None, None], hair[:, :, None, None]
        self.skin_luminance = luminance(skin)[:, :, None, None]
        lip_red = constant((0.74, 0.36, 0.36), device) * 0.48 * (0.45 + 0.55 * luminance(skin))
        self.lip = (skin * 0.52 + lip_red)[:, :, None, None]

    def colour_of(self, name):  # -> [N, 3, 1, 1]
        """The colour given by the three parameters <name>_r, _g, _b."""
        return torch.stack([self.flat[f"{name}_{channel}"] for channel in "rgb"], 1)[:, :, None, None]

    def outline(self, x, y):  # [N, H, W] each -> signed distance, relative radius
        """Distance to the head's outline: a superellipse (|x|/a)^2.25 + (|y|/b)^m, tapered to the jaw."""
        half_width = self.half_width * (1 - self.taper * smoothstep(0.0, 1.0, y / self.chin))
        below = positive(y)
        height, exponent = SKULL_HEIGHT + below * (self.chin - SKULL_HEIGHT), 2.25 + below * (self.jaw_power - 2.25)
        radius = power(power(x.abs() / half_width + 1e-4, 2.25) + power(y.abs() / height + 1e-4, exponent), 1 / 2.3)
        return (x * x + y * y + 1e-6).sqrt_() * (1 - 1 / radius.clamp_min(0.05)), radius

    def mouth_line(self, relative_x):  # x / mouth_width [..] -> y [..]
        """The height at which the lips meet; the corners rise with the smile."""
        return self.mouth_y - 0.045 * self.p["smile"] * (relative_x * relative_x - 0.35)

    def landmarks(self):  # -> [N, 6, 2] pixels
        """Exact positions of left eye, right eye, nose tip, left and right mouth corner, chin."""
        zero = torch.zeros_like(self.eye_x)
        corner_y = self.mouth_line(torch.ones_like(zero))
        points = (
            (-self.eye_x, zero + EYE_Y, "eyes"), (self.eye_x, zero + EYE_Y, "eyes"), (zero, self.nose_tip, "nostrils"),
            (-self.mouth_width, corner_y, "mouth"), (self.mouth_width, corner_y, "mouth"), (zero, self.chin, "outline"),
        )  # fmt: skip
        return torch.stack([self.canvas.project(x, y, DEPTH[layer]) for x, y, layer in points], 1)
