"""Decides whether a face is good enough for a dataset: how large, how sharp, how long; each refusal has its reason."""

import dataclasses

import numpy as np

_SHARPNESS_SIDE = 64


@dataclasses.dataclass(frozen=True)
class FaceGates:
    """Limits for faces; None switches a gate off."""

    min_face: float | None = None  # side of the crop in pixels of the source; None: half of the resolution
    min_sharpness: float | None = 0.005
    max_aspect: float | None = 3.0  # longer to shorter side of the picture, where it is cut without landmarks
    several: str = "reject"  # "reject" or "largest": what to do where a detector finds more than one face

    def check(self):
        """Raises ValueError for limits that make no sense."""
        for name, low in (("min_face", 0), ("min_sharpness", 0), ("max_aspect", 1)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise ValueError(f"--{name.replace('_', '-')} {value}: {low} or more is needed.")
        if self.several not in ("reject", "largest"):
            raise ValueError(f'several faces: "{self.several}"; reject and largest are known.')


def sharpness(pixels):  # uint8 [H, W] or [H, W, 3] -> float
    """The variance of the Laplacian divided by the variance of the grey values, at 64 pixels a side.

    0 for one colour; does not change with brightness or contrast. Median over drawn faces of 256²: 0.5 as they are,
    0.08 blown up from 32 pixels, 0.014 from 16, 0.006 from 12, 0.003 from 8.
    """
    from PIL import Image

    picture = Image.fromarray(pixels).convert("L")
    if max(picture.size) > _SHARPNESS_SIDE:
        picture = picture.resize((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BOX)
    grey = np.asarray(picture, dtype=np.float64)
    if min(grey.shape) < 3 or grey.var() < 1e-9:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var() / grey.var())


def refuse_size(side, gates, resolution):  # side of the crop in source pixels -> reason or None
    """The reason why a face of `side` pixels is too small, or None."""
    least = resolution / 2 if gates.min_face is None else gates.min_face
    if side < least:
        return f"too small: the crop has {side:.0f} pixels a side, {least:g} are needed"
    return None


def refuse_aspect(width, height, gates):
    """The reason why a picture is too long, or None."""
    aspect = max(width, height) / max(1, min(width, height))
    if gates.max_aspect is not None and aspect > gates.max_aspect:
        return f"aspect: {width}x{height} is {aspect:.1f} times as long as wide, {gates.max_aspect:g} at most"
    return None


def refuse_blur(value, gates):
    """The reason why a face is too blurred, or None."""
    if gates.min_sharpness is not None and value < gates.min_sharpness:
        return f"blurred: sharpness {value:.4f}, at least {gates.min_sharpness:g} is needed"
    return None
