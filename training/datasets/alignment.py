"""Aligns faces: a similarity transform from landmarks to a template or to the FFHQ crop, and the resampling for it.

Points are (x, y) in pixels, y down; the centre of the first pixel is (0.5, 0.5). As complex numbers x + iy, a
similarity without reflection is z -> a z + b.
"""

import dataclasses

import numpy as np

from training.datasets.items import Unusable

METHODS = ("auto", "ffhq", "similarity", "box", "center", "none")

# Left eye, right eye, nose tip, left and right corner of the mouth (left and right of the picture) as shares of the
# side: where they lie in an FFHQ crop of a face whose eye distance is 1, eye-to-mouth distance 1.1, mouth width 0.8.
TEMPLATE = ((0.375, 0.4725), (0.625, 0.4725), (0.5, 0.6425), (0.4, 0.7475), (0.6, 0.7475))

_EYES_68 = (slice(36, 42), slice(42, 48))
_EYES_478 = ((33, 133, 159, 145), (263, 362, 386, 374))  # corners and lids of the face mesh
_BOX_MARGIN = 1.3  # side of the crop around a face's box, in sides of the box


@dataclasses.dataclass(frozen=True)
class Similarity:
    """z -> scale z + shift on complex points; here always from the output's pixels to the source's."""

    scale: complex
    shift: complex

    def __call__(self, points):  # [P, 2] -> [P, 2]
        z = as_complex(points) * self.scale + self.shift
        return np.stack([z.real, z.imag], axis=-1)

    def inverse(self):
        """The way back."""
        return Similarity(1 / self.scale, -self.shift / self.scale)

    @property
    def pixels(self):
        """Source pixels for each output pixel, along a line."""
        return abs(self.scale)


def as_complex(points):  # [..., 2] -> complex [...]
    """Points as complex numbers x + iy."""
    points = np.asarray(points, dtype=np.float64)
    return points[..., 0] + 1j * points[..., 1]


def five_points(landmarks):  # [5 | 6 | 68 | 478, 2] -> float [5, 2]
    """Left eye, right eye, nose tip, left and right mouth corner, in the picture's sense of left and right.

    Takes 5 points; 6 (and the chin, as the drawn world has them); 68 (the iBUG order); 468 or 478 (the face mesh).
    Unusable for other counts, for points that are not finite, and for faces without extent.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise Unusable(f"landmarks have the shape {list(points.shape)}; a list of (x, y) is needed")
    if not np.isfinite(points).all():
        raise Unusable("landmarks are not finite numbers")
    count = len(points)
    if count in (5, 6):
        five = points[:5]
    elif count == 68:
        five = np.stack([points[_EYES_68[0]].mean(0), points[_EYES_68[1]].mean(0), points[30], points[48], points[54]])
    elif count in (468, 478):
        five = np.stack([points[list(_EYES_478[0])].mean(0), points[list(_EYES_478[1])].mean(0), points[1], points[61],
                         points[291]])
    else:
        raise Unusable(f"{count} landmarks; 5, 6, 68, 468 and 478 are known")
    if np.linalg.norm(five[1] - five[0]) < 1 or np.ptp(five, axis=0).max() < 2:
        raise Unusable("landmarks lie on one spot")
    return five


def fit_similarity(source, target):  # [P, 2], [P, 2] -> Similarity from source to target
    """The least-squares similarity without reflection that takes `source` closest to `target` (Umeyama 1991).

    In complex numbers: scale = sum conj(s) t / sum |s|², of points taken from their means.
    """
    source, target = as_complex(source), as_complex(target)
    if source.shape != target.shape or source.size < 2:
        raise ValueError(f"{source.size} and {target.size} points; two or more pairs are needed")
    s, t = source - source.mean(), target - target.mean()
    extent = np.vdot(s, s).real
    if extent == 0:
        raise ValueError("all source points are one")
    scale = complex(np.vdot(s, t) / extent)
    return Similarity(scale, complex(target.mean() - scale * source.mean()))


def template_crop(landmarks, side):  # -> Similarity from the crop's pixels to the picture's
    """The crop of `side` pixels in which the face lies as the template has it."""
    return fit_similarity(five_points(landmarks), np.array(TEMPLATE) * side).inverse()


def ffhq_crop(landmarks, side):  # -> Similarity from the crop's pixels to the picture's
    """The oriented square of FFHQ (Karras et al. 2019, appendix A), from eyes and mouth only.

    With e from eye to eye and m from the eyes to the mouth: the square's half side points along e - i m, is the greater
    of 2 |e| and 1.8 |m|, and its centre is a tenth of m below the eyes.
    """
    left, right, _, mouth_left, mouth_right = as_complex(five_points(landmarks))
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    e, m = right - left, mouth - eyes
    along = e - 1j * m
    if abs(along) < 1e-6 * (abs(e) + abs(m)):
        raise Unusable("landmarks are turned inside out: the mouth is not below the eyes")
    half = along / abs(along) * max(2.0 * abs(e), 1.8 * abs(m))
    return square(eyes + 0.1 * m, half, side)


def square(centre, half, side):  # complex, complex, pixels -> Similarity from the crop's pixels to the picture's
    """The crop whose centre is `centre` and whose right edge's middle is `centre + half`."""
    scale = 2 * half / side
    return Similarity(complex(scale), complex(centre - scale * (1 + 1j) * side / 2))


def box_crop(box, side):
    """The upright square around a face's box (left, top, right, bottom), with a margin."""
    left, top, right, bottom = (float(x) for x in box)
    if not (right > left and bottom > top):
        raise Unusable(f"the box {list(box)} is empty; left, top, right, bottom are needed")
    half = _BOX_MARGIN * max(right - left, bottom - top) / 2
    return square(complex(left + right, top + bottom) / 2, half, side)


def center_crop(width, height, side):
    """The largest centred square."""
    return square(complex(width, height) / 2, min(width, height) / 2, side)


def resample(picture, crop, side, *, resize_filter="lanczos"):  # PIL picture, Similarity -> PIL picture [side, side]
    """The picture seen through `crop`, without aliasing: more pixels than asked for are taken, then resized.

    Where the crop reaches beyond the picture, the picture is mirrored and fades into a blur of itself.
    """
    from PIL import Image

    method = Image.Resampling.BOX if resize_filter == "box" else Image.Resampling.LANCZOS
    picture, crop = _cut_out(picture, crop, side)
    if crop.pixels > 4:  # far more pixels than are needed: average whole blocks first
        factor = int(crop.pixels / 2)
        picture, crop = picture.reduce(factor), Similarity(crop.scale / factor, crop.shift / factor)
    times = max(1, int(np.ceil(crop.pixels - 0.01)))
    fine = Similarity(crop.scale / times, crop.shift)
    a, b = fine.scale, fine.shift
    size = (side * times, side * times)
    if abs(a - 1) < 1e-9 and abs(b.real - round(b.real)) < 1e-6 and abs(b.imag - round(b.imag)) < 1e-6:
        left, top = round(b.real), round(b.imag)  # no turn, no scale: the pixels themselves
        picture = picture.crop((left, top, left + size[0], top + size[1]))
    else:
        matrix = (a.real, -a.imag, b.real, a.imag, a.real, b.imag)
        picture = picture.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return picture if times == 1 else picture.resize((side, side), method)


def _cut_out(picture, crop, side):  # -> the part of the picture that the crop needs, padded; the crop in its pixels
    corners = crop([(0, 0), (side, 0), (0, side), (side, side)])
    border = 3 + int(np.ceil(2 * crop.pixels))  # what the filters reach
    left, top = (int(x) for x in np.floor(corners.min(0)) - border)
    right, bottom = (int(x) for x in np.ceil(corners.max(0)) + border)
    inner = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    if inner[0] >= inner[2] or inner[1] >= inner[3]:
        raise Unusable("the face lies outside the picture")
    beyond = np.array([inner[0] - left, inner[1] - top, right - inner[2], bottom - inner[3]])
    part = picture.crop(inner)
    if beyond.any():
        outside = max(0.0, -corners.min(), corners[:, 0].max() - picture.width, corners[:, 1].max() - picture.height)
        part = _pad(part, beyond, reach=float(crop.pixels * side), visible=outside > 0.5)
    return part, Similarity(crop.scale, crop.shift - complex(left, top))


def _pad(picture, beyond, *, reach, visible):  # PIL picture, (left, top, right, bottom) -> PIL picture
    """The picture mirrored at its edges; what lies beyond fades into a blur, and far out into its median colour.

    `reach` is the side of the crop in pixels: the fade takes a third of it, the blur's radius is 2 % of it.
    """
    from PIL import Image, ImageFilter

    left, top, right, bottom = (int(x) for x in beyond)
    pixels = np.asarray(picture)
    edges = ((top, bottom), (left, right)) + ((0, 0),) * (pixels.ndim - 2)
    padded = np.pad(pixels, edges, mode="symmetric")
    if not visible:
        return Image.fromarray(padded)
    height, width = pixels.shape[:2]
    out_x = np.maximum(np.maximum(left - np.arange(padded.shape[1]), np.arange(padded.shape[1]) - left - width + 1), 0)
    out_y = np.maximum(np.maximum(top - np.arange(padded.shape[0]), np.arange(padded.shape[0]) - top - height + 1), 0)
    depth = np.maximum(out_x[None], out_y[:, None]) / (reach / 3)  # 0 within the picture
    depth = depth[..., None] if pixels.ndim == 3 else depth
    blurred = np.asarray(Image.fromarray(padded).filter(ImageFilter.GaussianBlur(0.02 * reach)), dtype=np.float32)
    mixed = padded + (blurred - padded) * np.clip(3 * depth, 0, 1)
    mixed += (np.median(pixels, axis=(0, 1)) - mixed) * np.clip(depth, 0, 1)
    return Image.fromarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))
