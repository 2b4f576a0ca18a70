"""Tests of the PNG files of built faces: another program reads the very pixels back."""

import io

import numpy as np
import pytest
from PIL import Image

from training.datasets.png_file import png_bytes


@pytest.mark.parametrize("shape", [(1, 1), (1, 7, 3), (9, 1, 3), (5, 8), (64, 64, 3), (33, 70, 3)])
def test_pixels_come_back(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB" if len(shape) == 3 else "L")
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_views_and_smooth_pictures():
    ramp = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8)
    content = png_bytes(ramp[::-1, ::2])
    with Image.open(io.BytesIO(content)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), ramp[::-1, ::2])
    assert len(content) < ramp[::-1, ::2].size / 10  # rows differ by one grey level everywhere


def test_every_chunk_is_checked():
    content = bytearray(png_bytes(np.zeros((8, 8, 3), np.uint8)))
    content[-20] ^= 1  # in the checksum or the data of the picture
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(bytes(content))) as picture:
        picture.load()
