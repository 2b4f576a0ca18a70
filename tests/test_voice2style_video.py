"""Laws of films: the path goes through its keyframes and closes, frames are drawn one by one, files appear whole."""

import sys

import numpy as np
import pytest
import torch

from voice2style import film
from voice2style.video import closed_path, keyframe_order


@pytest.mark.parametrize("kind", ["cubic", "linear"])
@pytest.mark.parametrize("num_keyframes", [1, 2, 3, 7])
def test_a_path_goes_through_its_keyframes_and_closes(kind, num_keyframes):
    keyframes = np.random.default_rng(0).standard_normal([num_keyframes, 6, 4])
    path = closed_path(keyframes, kind=kind)
    for t in range(2 * num_keyframes + 1):
        assert np.allclose(path(t), keyframes[t % num_keyframes], atol=1e-12)
    assert np.array_equal(path(num_keyframes), path(0)) and path(0.3).shape == (6, 4)
    assert np.allclose(path(num_keyframes - 1e-9), path(0), atol=1e-6)


def test_a_linear_path_is_straight():
    path = closed_path(np.array([[0.0], [1.0], [5.0]]), kind="linear")
    assert [path(t).item() for t in (0.25, 1.5, 2.5, 2.75)] == [0.25, 3.0, 2.5, 1.25]


def test_a_cubic_path_is_the_published_one():
    """Published films interpolate over copies of the keyframes; with many copies only the ends would differ."""
    from scipy.interpolate import interp1d

    keyframes, wraps = np.random.default_rng(1).standard_normal([4, 3]), 6
    t = np.arange(-4 * wraps, 4 * (wraps + 1))
    theirs = interp1d(t, np.tile(keyframes, [2 * wraps + 1, 1]), kind="cubic", axis=0)
    ours = closed_path(keyframes)
    for t in np.linspace(0, 4, 33):
        assert np.allclose(ours(t), theirs(t), atol=1e-9)


def test_codes_are_shared_out_among_cells():
    assert keyframe_order(6, 2).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert keyframe_order(3, 2, num_keyframes=2).tolist() == [[0, 1], [2, 0]]
    shuffled = keyframe_order(6, 2, shuffle_seed=3)
    expected = np.arange(6)
    np.random.RandomState(3).shuffle(expected)
    assert shuffled.ravel().tolist() == expected.tolist() != list(range(6))
    with pytest.raises(ValueError, match="5 faces do not fill a grid of 2 cells"):
        keyframe_order(5, 2)
    with pytest.raises(ValueError, match="allowed: cubic, linear"):
        closed_path(np.zeros([2, 3]), kind="square")


# ---- files -------------------------------------------------------------------------------------------------------

def save_array(path, pixels):
    from torch_utils.images import write_png

    write_png(path, pixels)


def shoot(path, frames, comment="hello"):
    with film.open_film(path, fps=30, comment=comment, write_frame=save_array) as add:
        for frame in frames:
            add(frame)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_do_not_go_into_an_mp4(channels):
    with pytest.raises(ValueError, match=f"frames of {channels} channels do not go into mp4 .* give a folder"):
        film._rgb_even(torch.zeros(4, 4, channels, dtype=torch.uint8))


def flat_frames(num, height=16, width=32, channels=3):
    return [torch.full([height, width, channels], 40 * index, dtype=torch.uint8) for index in range(num)]


def test_a_film_without_a_suffix_is_a_folder_of_frames(tmp_path):
    from PIL import Image

    path = film.film_path(tmp_path / "new" / "film")
    for num in (4, 3):  # the second film replaces the first
        shoot(path, flat_frames(num))
        assert sorted(file.name for file in path.iterdir()) == [f"{index:05d}.png" for index in range(num)]
        assert film.film_path(path) == path
    with Image.open(path / "00002.png") as picture:
        assert picture.size == (32, 16) and picture.getpixel((0, 0)) == (80, 80, 80)


@pytest.mark.parametrize("sizes", [(16, 32, 3), (17, 31, 3), (16, 16, 1)])
def test_an_mp4_has_every_frame(tmp_path, sizes):
    encoder = pytest.importorskip("imageio_ffmpeg")
    path = film.film_path(tmp_path / "film.mp4")
    shoot(path, flat_frames(5, *sizes), comment="a comment; with = signs\nand lines")
    frames = encoder.read_frames(str(path))
    about = next(frames)
    assert about["size"] == (sizes[1] + sizes[1] % 2, sizes[0] + sizes[0] % 2) and about["fps"] == 30
    levels = [np.frombuffer(frame, np.uint8).mean() for frame in frames]
    assert np.allclose(levels, [0, 40, 80, 120, 160], atol=3)
    assert b"a comment; with = signs" in path.read_bytes()


@pytest.mark.parametrize("name", ["film.mp4", "film"])
def test_a_film_that_fails_leaves_nothing(tmp_path, name):
    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg")

    def broken():
        yield from flat_frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shoot(film.film_path(tmp_path / name), broken())
    assert not list(tmp_path.iterdir())


def test_an_mp4_without_frames_or_with_other_sizes(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(ValueError, match="one frame or more"):
        shoot(tmp_path / "film.mp4", [])
    with pytest.raises(ValueError, match="one size; got 20x16 after 32x16"):
        shoot(tmp_path / "film.mp4", [*flat_frames(1), *flat_frames(1, 16, 20)])
    with pytest.raises(ValueError, match="too large for mp4"):
        shoot(tmp_path / "film.mp4", [torch.zeros(2, 20000, 3, dtype=torch.uint8)])
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_fails_is_quoted(tmp_path, monkeypatch):
    encoder = pytest.importorskip("imageio_ffmpeg")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\ncat >/dev/null\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(encoder, "get_ffmpeg_exe", lambda: str(program))
    with pytest.raises(ValueError, match="the mp4 encoder failed: Unknown encoder libx264"):
        shoot(tmp_path / "film.mp4", flat_frames(2))
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_without_the_encoder_a_film_is_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert film.film_path(tmp_path / "film.mp4") == tmp_path / "film-frames"
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "imageio-ffmpeg is not installed" in line and "film-frames" in line


def test_what_is_in_the_way_of_a_film(tmp_path):
    with pytest.raises(ValueError, match="an .mp4 file, or a folder"):
        film.film_path(tmp_path / "film.gif")
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("x")
    for name in ("file", "folder"):
        with pytest.raises(ValueError, match="there is something else"):
            film.film_path(tmp_path / name)


def test_a_folder_in_the_way_of_an_mp4(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(ValueError, match="a folder of that name is in the way"):
        film.film_path(tmp_path / "film.mp4")
