"""Turns a person's traits and one picture's circumstances into the numbers that the renderer draws."""

import numpy as np

WALLS = (
    (0.62, 0.74, 0.84),
    (0.86, 0.76, 0.66),
    (0.68, 0.80, 0.70),
    (0.80, 0.72, 0.82),
    (0.72, 0.72, 0.74),
    (0.90, 0.84, 0.70),
    (0.58, 0.66, 0.72),
)
CLOTHES = (
    (0.20, 0.26, 0.40),
    (0.46, 0.18, 0.20),
    (0.22, 0.36, 0.32),
    (0.84, 0.82, 0.78),
    (0.25, 0.25, 0.27),
    (0.55, 0.45, 0.60),
    (0.80, 0.58, 0.30),
    (0.35, 0.50, 0.66),
)
SHAPES = (
    "face_width", "jaw", "face_len", "neck", "brow_t", "lips", "eye_size", "nose_w", "nose_len", "mouth_w", "brow_h",
    "hollow",
)  # fmt: skip


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def person_parameters(traits):  # name -> [N] -> name -> [N]
    """What stays the same in every picture of a person.

    What is drawn of some unheard traits (hair length, beard, baldness, lashes, brow arch) depends on masc and age_look.
    """
    p = {name: np.clip(traits[name], -2.2, 2.2) for name in SHAPES}
    masc, age = _sigmoid(2.4 * traits["masc"]), _sigmoid(1.7 * traits["age_look"])  # both in (0, 1)
    skin, bald, lash = traits["skin"], traits["bald0"], traits["lash0"]
    p["skin"], p["undertone"] = skin, traits["undertone"] * 2 - 1
    p["wrinkle"] = np.maximum(age - 0.30, 0) / 0.7
    p["grey"] = np.clip((age - 0.55) / 0.35 + (bald - 0.5) * 0.5, 0, 1)
    p["eye_hue"] = traits["eye_hue"] * np.where(skin > 0.55, 0.35, 1.0)
    p["eye_gap"], p["eye_tilt"] = traits["eye_gap"] * 3 - 1.5, traits["eye_tilt"] * 2.4 - 1.2
    p["freckle"] = np.clip((traits["freckle"] - 0.75) / 0.25, 0, 1) * (skin < 0.5)
    p["brow_arch"] = traits["brow_arch"] * 2 - 0.6 - 0.8 * masc
    p["blush"] = traits["blush"] * (1 - 0.5 * masc)
    p["lash"] = (1 - masc) * (0.4 + 0.6 * lash)
    p["lipstick"] = np.clip(0.25 + 0.55 * (1 - masc) * (0.4 + 0.6 * lash), 0, 1)
    p["glasses"], p["gl_round"], p["gl_c"] = (traits["glasses"] > 0.78) * 1.0, traits["gl_round"], traits["gl_c"]
    p["texture_1"], p["texture_2"] = traits["texture_1"], traits["texture_2"]
    return p | _hair_parameters(traits, masc, age)


def _hair_parameters(traits, masc, age):  # masc, age in (0, 1)
    p = {
        "hair_vol": traits["hair_vol"],
        "curl": np.clip((traits["curl"] - 0.55) / 0.45, 0, 1),
        "part": traits["part"] * 2 - 1,
    }
    hue, skin, bald = traits["hair_hue"], traits["skin"], traits["bald0"]
    p["hair_hue"] = np.where(hue < 0.35 + 0.5 * skin, hue * 0.45, hue)  # dark hair is more usual
    p["bald"] = ((masc > 0.7) & (bald > 0.86)) * 1.0
    fall = traits["hair_len"] * 0.75 + 0.45 * (1 - masc) - 0.25
    fall = np.where(
        fall > 0.30, np.clip(fall, 0.30, 1.0), np.clip(fall * 0.12, -0.05, 0.06)
    )  # short or long, nothing between
    p["hair_len"] = np.where(p["bald"] > 0.5, -0.05, fall)
    p["fringe"] = (traits["fringe"] > 0.78 + 0.25 * masc) * 1.0
    p["recede"] = np.clip(masc * (age - 0.25) * 2.2 * bald, 0, 1)
    p["beard"] = np.clip((traits["beard"] - 0.55) / 0.45, 0, 1) ** 0.7 * (masc > 0.62)
    return p


def shot_parameters(random, nuisance):  # Counters of N keys, factor -> name -> [N]
    """The circumstances of one picture: pose, light, expression, wall and clothes. With nuisance 0 always the same."""

    def normal(name, limit=np.inf):
        return np.clip(random.normal(name) * nuisance, -limit, limit)

    p = {"yaw": 0.16 * normal("yaw", 2), "nod": 0.10 * normal("nod", 2), "roll": 0.035 * normal("roll", 4)}
    p["shift_x"], p["shift_y"] = 0.012 * normal("shift_x", 4), 0.02 + 0.012 * normal("shift_y", 4)
    p["scale"] = 1 + 0.025 * normal("scale", 4)
    p["light"], p["gaze"] = 0.55 * normal("light", 2), 0.35 * normal("gaze", 2)
    p["smile"] = 0.35 + 0.45 * normal("smile", 1.8)
    p["open"] = np.clip((random.uniform("open") * nuisance - 0.72) / 0.28, 0, 1) * (p["smile"] > 0)
    wall = _choose(WALLS, random.uniform("wall"), nuisance)
    wall = wall * (0.88 + 0.12 * random.uniform("wall shade") * min(nuisance, 1))[:, None]
    clothes = _choose(CLOTHES, random.uniform("clothes"), nuisance)
    for channel, letter in enumerate("rgb"):
        p[f"background_{letter}"], p[f"clothes_{letter}"] = wall[:, channel], clothes[:, channel]
    return p


def _choose(table, uniform, nuisance):  # K colours, [N] in (0, 1) -> [N, 3]
    index = (uniform * len(table)).astype(int) if nuisance > 0 else np.zeros(len(uniform), int)
    return np.asarray(table)[index]
