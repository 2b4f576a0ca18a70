"""Pictures between [-1, 1] floats, uint8 and PNG files: conversion, grids, files with their provenance inside."""

import math

from dnnlib.files import atomic_path

XMP_KEYWORD = "XML:com.adobe.xmp"  # the iTXt keyword under which PNG readers look for an XMP packet
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
PNG_CHANNELS = tuple(_MODES)


def to_uint8(images):  # float [...] in [-1, 1] -> uint8 [...]
    """Returns pixels 0..255 by x·127.5 + 128, clamped and truncated, as StyleGAN2 command lines do."""
    import torch

    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def to_float(pixels):  # uint8 [...] -> float32 [...] in [-1, 1]
    """Returns x/127.5 - 1; `to_uint8` gives the same pixels back."""
    return pixels.float() / 127.5 - 1


class UnknownRange(ValueError):
    """A picture of floating-point pixels: nobody knows what is black and what is white."""


def eight_bits(picture):  # PIL picture -> PIL picture
    """Returns a 16-bit grey picture taken down to 8 bits, others as they are: Pillow's own conversion makes it white.

    UnknownRange for floating-point pixels.
    """
    import numpy as np
    from PIL import Image

    if picture.mode == "F":
        raise UnknownRange("floating-point pixels, whose range is not known")
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    top = 65535 if picture.mode != "I" or values.max(initial=0) > 255 else 255
    return Image.fromarray(np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8))


def default_columns(num_images):
    """Returns the number of columns that makes a sheet of `num_images` pictures nearly square."""
    return max(1, math.ceil(math.sqrt(num_images)))


def grid(images, columns=None, *, min_rows=1):  # [N, C, H, W] -> [C, rows*H, columns*W]
    """Returns the pictures side by side, row by row; cells left over are white. Keeps the number type."""
    import torch

    if images.ndim != 4 or not len(images):
        raise ValueError(f"a grid needs pictures [N, C, H, W] with N of 1 or more, got shape {tuple(images.shape)}.")
    num_images, channels, height, width = images.shape
    columns = columns or default_columns(num_images)
    rows = max(min_rows, -(-num_images // columns))
    white = 1.0 if images.is_floating_point() else 255
    cells = torch.full((rows * columns, channels, height, width), white, dtype=images.dtype, device=images.device)
    cells[:num_images] = images
    cells = cells.reshape(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def to_hwc(image):  # [C, H, W] -> [H, W, C]
    """Returns a picture in the order that files want: rows, columns, channels."""
    return image.permute(1, 2, 0)


def write_png(path, pixels, *, text=None, xmp=None):  # uint8 [H, W] or [H, W, C], C of 1, 3, 4
    """Writes a PNG that appears whole or not at all, with text chunks and an XMP packet when they are given.

    `pixels` is a tensor or an array. `text` maps keywords (1-79 Latin-1 characters) to values; values that
    Latin-1 cannot hold become UTF-8 iTXt chunks. An existing file of that name is replaced.
    """
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        if not 0 < len(keyword) < 80:
            raise ValueError(f'a PNG text keyword has 1 to 79 characters, got "{keyword}".')
        info.add_text(keyword, str(value))
    if xmp is not None:
        info.add_itxt(XMP_KEYWORD, xmp)
    picture = _picture(pixels)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=info)


def read_png_text(path):
    """Returns the text chunks of a PNG, XMP packet included, as keyword -> str."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return {str(keyword): str(value) for keyword, value in picture.text.items()}
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f'"{path}" is not a PNG picture, or it is damaged.') from error


def _picture(pixels):
    """Returns a PIL image of uint8 pixels; ValueError for another type or shape."""
    from PIL import Image

    if hasattr(pixels, "detach"):
        pixels = pixels.detach().cpu().numpy()
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if str(pixels.dtype) != "uint8" or pixels.ndim not in (2, 3) or channels not in _MODES or not pixels.size:
        raise ValueError(f"a PNG needs uint8 pixels [H, W] or [H, W, 1|3|4], got {pixels.dtype} {pixels.shape}.")
    height, width = pixels.shape[:2]
    return Image.frombytes(_MODES[channels], (width, height), pixels.tobytes())
