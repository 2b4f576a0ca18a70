"""Laws of torch_utils.images: conversion and its inverse, grids, PNG files that appear whole."""

import numpy as np
import pytest
import torch
from PIL import Image

from torch_utils import images


def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(images.to_uint8(images.to_float(pixels)), pixels)
    assert images.to_float(pixels).min() == -1 and images.to_float(pixels).max() == 1


def test_conversion_truncates_and_clamps():
    values = torch.tensor([-2.0, -1.0, 0.0, 0.9999, 1.0, 3.0])
    expected = np.clip(values.numpy() * np.float32(127.5) + np.float32(128), 0, 255).astype(np.uint8)
    assert images.to_uint8(values).tolist() == expected.tolist() == [0, 0, 128, 255, 255, 255]
    assert images.to_uint8(torch.tensor(0.003)).item() == 128  # 128.38: not rounded up
    assert images.to_uint8(torch.tensor(0.0065)).item() == 128  # 128.83


@pytest.mark.parametrize("num_images, columns, shape", [(5, 3, (3, 8, 18)), (1, None, (3, 4, 6)),
                                                        (4, None, (3, 8, 12))])
def test_grid_puts_pictures_row_by_row(num_images, columns, shape):
    pictures = torch.arange(num_images * 3 * 4 * 6).reshape(num_images, 3, 4, 6).float()
    sheet = images.grid(pictures, columns)
    assert tuple(sheet.shape) == shape
    columns = columns or images.default_columns(num_images)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        assert torch.equal(sheet[:, row * 4:row * 4 + 4, column * 6:column * 6 + 6], picture)


def test_cells_left_over_are_white():
    assert (images.grid(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), 2)[:, :, 2:] == 255).all()
    assert (images.grid(torch.zeros(1, 3, 2, 2), 1, min_rows=2)[:, 2:] == 1).all()
    with pytest.raises(ValueError, match="grid needs pictures"):
        images.grid(torch.zeros(0, 3, 2, 2))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_png_holds_the_pixels(tmp_path, shape):
    pixels = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)
    images.write_png(tmp_path / "a.png", pixels)
    images.write_png(tmp_path / "b.png", torch.from_numpy(pixels))
    for name in "ab":
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.array_equal(np.asarray(picture).reshape(shape), pixels)


def test_png_holds_text_and_xmp(tmp_path):
    text = {"Software": "voice2style", "ai:seed": "3", "Name": "Łódź 声"}
    images.write_png(tmp_path / "a.png", np.zeros([2, 2, 3], np.uint8), text=text, xmp="<x/>")
    assert images.read_png_text(tmp_path / "a.png") == {**text, images.XMP_KEYWORD: "<x/>"}
    with Image.open(tmp_path / "a.png") as picture:
        picture.verify()


def test_a_png_appears_whole_or_not_at_all(tmp_path):
    images.write_png(tmp_path / "a.png", np.zeros([2, 2], np.uint8))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="1 to 79 characters"):
        images.write_png(tmp_path / "a.png", np.zeros([2, 2], np.uint8), text={"": "x"})
    with pytest.raises(ValueError, match="uint8 pixels"):
        images.write_png(tmp_path / "a.png", np.zeros([2, 2], np.float32))
    with pytest.raises(ValueError, match="uint8 pixels"):
        images.write_png(tmp_path / "a.png", np.zeros([2, 2, 5], np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_reading_text_of_something_else_is_a_sentence(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="not a PNG"):
        images.read_png_text(tmp_path / "a.png")
