"""A picture file as pixels of the size and number of channels that a network draws."""

import warnings


def read_target(path, height, width, *, channels=3):  # -> uint8 tensor [C, H, W]
    """Returns a picture upright, cropped in its middle to the wanted shape, and resized to it.

    Its orientation tag is obeyed, transparent parts become white, of an animation the first picture is taken.
    `channels` is 3, or 1 for a network that draws in gray. ValueError when the file is no picture that can be read.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps, UnidentifiedImageError

    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ValueError(f"pictures of {channels} channels cannot be compared; allowed are networks that draw 1 or 3.")
    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = _opaque(ImageOps.exif_transpose(opened))
    except FileNotFoundError as error:
        raise ValueError(f'no such file: "{path}".') from error
    except UnidentifiedImageError as error:
        raise ValueError(f'"{path}" is not a picture that can be read (png, jpg, webp, bmp, tif, gif, ...).') from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f'cannot read the picture "{path}": {getattr(error, "strerror", None) or error}.') from error
    fitted = ImageOps.fit(picture.convert(mode), (width, height), method=Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1).contiguous()


def _opaque(picture):
    """Returns a picture in RGB or gray; 16 bits or floats become 8, transparent parts white."""
    import numpy as np
    from PIL import Image

    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, np.float64)
        highest = 65535 if picture.mode != "F" else max(1.0, float(values.max()))
        return Image.fromarray((values / highest * 255).clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
