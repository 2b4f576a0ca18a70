"""Makes a dataset's face of a picture: opened, found, aligned, judged, written as PNG; or refused with a reason."""

import dataclasses

import numpy as np

from training.datasets import alignment
from training.datasets.face_quality import FaceGates, refuse_aspect, refuse_blur, refuse_size, sharpness
from training.datasets.items import Unusable
from training.datasets.pictures import open_picture, picture_size
from training.datasets.png_file import png_bytes

FILTERS = ("box", "lanczos")
_LEAST_SIDE, _MOST_SIDE = 8, 2048
_SECOND_FACE = 0.5  # a second face of less than this share of the first one's side does not count


@dataclasses.dataclass(frozen=True)
class FaceSettings:
    """How faces are made. `align`: "auto" takes landmarks where there are any (FFHQ's crop from 256 pixels on, the
    template below), else the box, else the centre."""

    resolution: int = 64
    align: str = "auto"
    detector: str | None = None
    model: str | None = None
    resize_filter: str = "lanczos"
    force_channels: int = 3
    background: str = "white"
    gates: FaceGates = dataclasses.field(default_factory=FaceGates)

    def check(self):
        """Raises ValueError for settings that no face can obey."""
        if not _LEAST_SIDE <= self.resolution <= _MOST_SIDE:
            raise ValueError(f"--resolution {self.resolution}: {_LEAST_SIDE} to {_MOST_SIDE} pixels are possible.")
        for name, value, known in (("align", self.align, alignment.METHODS), ("resize filter", self.resize_filter,
                                   FILTERS), ("background", self.background, ("white", "black"))):
            if value not in known:
                raise ValueError(f'{name} is "{value}"; {", ".join(known)} are known.')
        if self.force_channels not in (1, 3):
            raise ValueError(f"--force-channels {self.force_channels}: 1 and 3 are possible here.")
        self.gates.check()


def build_face(content, item, settings, detect=None):  # bytes, Item -> PNG bytes, fields of its row
    """The face of an item as it goes into the dataset. Unusable with the reason if it does not.

    `detect` (see detectors.py) is asked where the item brings no landmarks and the method needs them.
    """
    width, height = picture_size(content)
    landmarks, picture, findings, shrink = item.landmarks, None, [], 1
    if landmarks is None and detect is not None and settings.align in ("auto", "ffhq", "similarity"):
        picture, findings, _ = open_picture(content, background=settings.background)
        landmarks = _detected(detect, np.asarray(picture), settings.gates)
    method, crop = _choose_crop(item, landmarks, settings, width, height)
    if picture is None:
        needed = crop.pixels / 2  # two source pixels for each of ours are left at least
        picture, findings, shrink = open_picture(content, background=settings.background, draft=lambda w, h: needed)
    seen = alignment.Similarity(crop.scale / shrink, crop.shift / shrink)
    side = settings.resolution
    picture = alignment.resample(picture, seen, side, resize_filter=settings.resize_filter)
    if settings.force_channels == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture)
    value = sharpness(pixels)
    if reason := refuse_blur(value, settings.gates):
        raise Unusable(reason)
    fields = {"width": side, "height": side, "aligned": method, "crop_pixels": round(crop.pixels * side, 1),
              "sharpness": round(value, 4)}
    if landmarks is not None and (marks := _row_landmarks(landmarks, crop)):
        fields["landmarks"] = marks
    return png_bytes(pixels), fields | ({"findings": findings} if findings else {})


def _detected(detect, pixels, gates):
    found = detect(pixels)
    if not found:
        raise Unusable("no face: the detector found none")
    if len(found) > 1 and gates.several == "reject" and found[1].side > _SECOND_FACE * found[0].side:
        raise Unusable(f"several faces: the detector found {len(found)}")
    return found[0].landmarks


def _choose_crop(item, landmarks, settings, width, height):  # -> name of the method, Similarity
    method, side = settings.align, settings.resolution
    if method == "auto":
        method = ("ffhq" if side >= 256 else "similarity") if landmarks is not None else (
            "box" if item.box is not None else "center")
    if method in ("ffhq", "similarity"):
        if landmarks is None:
            raise Unusable(f"no landmarks, which --align {method} needs")
        crop = (alignment.ffhq_crop if method == "ffhq" else alignment.template_crop)(landmarks, side)
    elif method == "box":
        if item.box is None:
            raise Unusable("no box of a face, which --align box needs")
        crop = alignment.box_crop(item.box, side)
    else:
        if method == "none" and width != height:
            raise Unusable(f"not square: {width}x{height}, which --align none needs")
        if reason := refuse_aspect(width, height, settings.gates):
            raise Unusable(reason)
        crop = alignment.center_crop(width, height, side)
    if reason := refuse_size(crop.pixels * side, settings.gates, side):
        raise Unusable(reason)
    return method, crop


def _row_landmarks(landmarks, crop):
    """Five points (six with the chin, if it is known) in pixels of the face."""
    points = np.asarray(landmarks, dtype=np.float64)
    five = alignment.five_points(points)
    chin = {6: 5, 68: 8, 468: 152, 478: 152}.get(len(points))
    marks = five if chin is None else np.concatenate([five, points[chin : chin + 1]])
    return [[round(float(x), 3), round(float(y), 3)] for x, y in crop.inverse()(marks)]
