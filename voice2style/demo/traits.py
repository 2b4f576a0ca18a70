"""Which face trait hears which property of the voice, and how strongly: the ground truth of the drawn world.

A heard trait is rho * heard factor + sqrt(1 - rho^2) * noise, all of unit variance, so the best reachable R^2 of that
trait from any amount of that person's voice is rho^2, exactly.
"""

import dataclasses

HEARD = ("pitch", "vtl", "age", "breath", "rate", "nasal", "spread", "rough")  # the audible factors of a person


@dataclasses.dataclass(frozen=True)
class Trait:
    """A face trait, the audible direction that it follows ("masc" or a factor; "-" is its opposite), how strongly."""

    name: str
    hears: str
    rho: float
    draws: str


TRAITS = (
    Trait("masc", "masc", 0.95, "brows, lashes, beard, lips and hairline together"),
    Trait("age_look", "age", 0.92, "wrinkles, grey hair, receding hair"),
    Trait("face_width", "vtl", 0.85, "width of the face"),
    Trait("jaw", "masc", 0.85, "squareness of the jaw"),
    Trait("neck", "masc", 0.85, "width of the neck"),
    Trait("brow_t", "masc", 0.80, "thickness of the brows"),
    Trait("face_len", "-pitch", 0.80, "length of the lower face"),
    Trait("eye_size", "pitch", 0.75, "size of the eyes"),
    Trait("nose_len", "vtl", 0.60, "length of the nose"),
    Trait("lips", "breath", 0.85, "fullness of the lips"),
    Trait("nose_w", "nasal", 0.85, "width of the nose"),
    Trait("mouth_w", "spread", 0.85, "width of the mouth"),
    Trait("brow_h", "rate", 0.75, "height of the brows"),
    Trait("hollow", "rough", 0.70, "hollowness of the cheeks"),
)

# Face-only traits, uniform in [0, 1] and independent of everything audible. Skin tone is deliberately among them: any
# dependence of a generated skin tone on the voice is a measured bias, with a true zero to compare with.
UNHEARD = (
    "skin", "undertone", "hair_hue", "eye_hue", "eye_gap", "eye_tilt", "hair_len", "hair_vol", "curl", "part", "fringe",
    "glasses", "gl_round", "gl_c", "freckle", "brow_arch", "beard", "blush", "lash0", "bald0", "texture_1", "texture_2",
)  # fmt: skip


def direction(heard, hears):  # name -> [N], name of a direction -> [N] of unit variance
    """The audible quantity that a trait follows."""
    if hears == "masc":
        return (heard["vtl"] - heard["pitch"]) / 3.2**0.5
    return -heard[hears[1:]] if hears.startswith("-") else heard[hears]
