"""Writes the PNG files of built faces with one filter and fast compression: there are very many of them."""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}  # channels -> colour type of PNG
_UP = 2  # the filter that keeps each byte's difference to the one above
_MEMORY_LEVEL = 9  # the most: 256 KiB


def png_bytes(pixels):  # uint8 [H, W, 3] or [H, W] -> bytes
    """A PNG file of the pixels: about as small as other programs' fast setting, made and read in half their time.

    Programs try five filters on every row. Here all rows have the filter "up", and deflate looks for runs only (Z_RLE).
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as PNG wants it
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY_LEVEL, zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", deflate.compress(filtered) + deflate.flush()), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
