"""Opens pictures of every kind that corpora hold as 8-bit RGB, and says what was changed on the way."""

import io
import warnings

from torch_utils.images import eight_bits
from training.datasets.items import Unusable

MAX_PIXELS = 100_000_000  # a picture of more is refused before it is decoded
_SHRINKS = (8, 4, 2)


def open_picture(content, *, background="white", draft=None):  # bytes -> PIL picture (RGB), findings, shrink
    """The picture upright as RGB, what is odd about it, and by how much it was made smaller while it was decoded.

    `draft(width, height)` says at most how many times smaller will do; JPEGs are then decoded at 1/2, 1/4 or 1/8. It is
    not asked for pictures that have to be turned. Transparent pictures are laid on `background`. Unusable, with the
    reason, for what is no picture, damaged, or larger than 100 megapixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise Unusable("empty file")
    findings, shrink = [], 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes (looked at here) and damaged metadata (not needed)
            with Image.open(io.BytesIO(content)) as picture:
                _refuse_huge(picture)
                frames = getattr(picture, "n_frames", 1)
                if frames > 1:
                    findings.append(f"animated: the first of {frames} frames is used")
                turned = _orientation(picture) not in (0, 1)
                if draft is not None and picture.format == "JPEG" and not turned:
                    shrink = _shrink(picture, draft)
                picture.load()
                if turned:
                    picture = ImageOps.exif_transpose(picture)
                    findings.append("turned upright as its EXIF says")
                return _as_rgb(picture, background, findings), findings, shrink
    except Image.DecompressionBombError:
        raise Unusable("too many pixels, or so its header says") from None
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable(f"not a picture: it starts with {ascii(content[:8])[1:]}") from None
    except (OSError, SyntaxError, EOFError, KeyError, IndexError, OverflowError, ValueError) as error:
        raise Unusable(f"damaged picture: {' '.join(str(error).split()) or type(error).__name__}") from None


def picture_size(content):  # bytes -> (width, height) upright
    """Width and height as the header says them, turned as EXIF says; Unusable if it is no picture."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise Unusable("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as picture:
                _refuse_huge(picture)
                return picture.size[::-1] if _orientation(picture) in (5, 6, 7, 8) else picture.size
    except Image.DecompressionBombError:
        raise Unusable("too many pixels, or so its header says") from None
    except Unusable:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise Unusable(f"not a picture: it starts with {ascii(content[:8])[1:]}") from error


def _refuse_huge(picture):
    if picture.width * picture.height > MAX_PIXELS:
        raise Unusable(f"too many pixels: {picture.width}x{picture.height}, at most {MAX_PIXELS // 10**6} million "
                         "are read")


def _orientation(picture):
    """The EXIF orientation, 1 to 8, without decoding: a PNG would be read to its end for EXIF that comes last."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    return picture.getexif().get(0x0112, 1)


def _shrink(picture, draft):
    """Asks the JPEG decoder for a smaller picture; returns 1, 2, 4 or 8."""
    width, height = picture.size
    most = draft(width, height)
    for factor in _SHRINKS:
        if factor <= most and width >= 4 * factor and height >= 4 * factor:
            picture.draft(None, (width // factor, height // factor))
            return round(width / picture.width)
    return 1


def _as_rgb(picture, background, findings):
    from PIL import Image

    mode = picture.mode
    if mode == "RGB" and "transparency" not in picture.info:
        return picture
    if mode.startswith("I;16") or mode == "I":
        findings.append("16-bit: taken down to 8 bits")
        return eight_bits(picture).convert("RGB")
    if mode == "F":
        raise Unusable("floating-point pixels, whose range is not known")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        findings.append(f"transparent: laid on {background}")
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer).convert("RGB")
    if mode in ("L", "1"):
        findings.append("grayscale")
    elif mode != "P":
        findings.append(f"{mode} taken to RGB")
    return picture.convert("RGB")
