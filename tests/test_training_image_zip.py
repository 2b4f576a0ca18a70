"""StyleGAN-style pictures: what is written is read back, labels and all, and what does not fit is said."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from small_corpus import save

from training.dataset import Dataset
from training.datasets.image_source import open_pictures
from training.datasets.image_zip import ImageSettings, transformed, write_pictures
from training.datasets.world import WorldSettings, write_world
from training.reals import RealFaces


def noise(width, height, mode="RGB", seed=0):
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode)


def convert(source, dest, **changes):
    settings = ImageSettings(**changes)
    settings.check()
    pictures, total, left_out = open_pictures(source, settings)
    return *write_pictures(pictures, dest, settings=settings), total, left_out


@pytest.fixture
def folder(tmp_path):
    """Three pictures of 16² with labels."""
    for number in range(3):
        save(tmp_path / "src" / f"sub{number % 2}" / f"{number}.png", noise(16, 16, seed=number))
    labels = [["sub0/0.png", 2], ["sub1/1.png", 0], ["sub0/2.png", 1]]
    (tmp_path / "src" / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path / "src"


@pytest.mark.parametrize("name", ["out.zip", "out"])
def test_written_pictures_are_read_with_their_labels(folder, tmp_path, name):
    assert convert(folder, tmp_path / name) == (3, 16, 3, [])
    dataset = Dataset(tmp_path / name)
    assert dataset.card["resolution"] == 16 and dataset.card["counts"] == {"people": 0, "faces": 3, "voices": 0}
    rows = dataset.faces("train")
    assert [row["path"] for row in rows] == [f"00000/img{number:08d}.png" for number in range(3)]
    assert [row["label"] for row in rows] == [2, 1, 0] and not dataset.voices() and not dataset.faces("test")
    for row, seed in zip(rows, (0, 2, 1)):  # in the order of the names
        assert np.array_equal(dataset.read_face(row), np.asarray(noise(16, 16, seed=seed)))


def test_the_zip_is_as_published_code_writes_it(folder, tmp_path):
    convert(folder, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert json.loads(archive.read("dataset.json")) == {"labels": [
            ["00000/img00000000.png", 2], ["00000/img00000001.png", 1], ["00000/img00000002.png", 0]]}
        size = archive.getinfo("00000/img00000000.png").file_size
        assert size > 16 * 16 * 3  # compress_level 0: deflate only stores
    (folder / "dataset.json").unlink()
    convert(folder, tmp_path / "bare.zip")
    assert json.loads(Dataset(tmp_path / "bare.zip").read_file("dataset.json")) == {"labels": None}
    assert "label" not in Dataset(tmp_path / "bare.zip").faces()[0]


def test_such_a_zip_feeds_gan_training(folder, tmp_path):
    convert(folder, tmp_path / "out.zip")
    reals = RealFaces(Dataset(tmp_path / "out.zip"), resolution=16)
    assert len(reals) == 3 and reals.batch(0, 4).shape == (4, 3, 16, 16)


def test_vectors_as_labels(folder, tmp_path):
    (folder / "dataset.json").write_text(json.dumps(
        {"labels": [["sub0/0.png", [0.5, 1]], ["sub1\\1.png", [1, 0]], ["sub0/2.png", [0, 0]]]}))
    convert(folder, tmp_path / "out.zip")
    rows = Dataset(tmp_path / "out.zip").faces()
    assert rows[0]["label"] == [0.5, 1] and rows[0]["person"] == "00000/img00000000.png"


def test_a_dataset_of_ours_becomes_pictures_labelled_by_person(tmp_path):
    write_world(WorldSettings(people=3, faces_per=2, clips_per=0, resolution=16), tmp_path / "ours.zip")
    assert convert(tmp_path / "ours.zip", tmp_path / "out.zip", max_images=5)[0] == 5
    ours, out = Dataset(tmp_path / "ours.zip"), Dataset(tmp_path / "out.zip")
    assert [row["label"] for row in out.faces()] == [0, 0, 1, 1, 2]
    assert np.array_equal(out.read_face(out.faces()[3]), ours.read_face(ours.faces()[3]))


def test_center_crop_takes_the_largest_centred_square():
    wide = noise(40, 20)
    expected = np.asarray(wide)[:, 10:30]
    settings = ImageSettings((20, 20), "center-crop")
    assert np.array_equal(np.asarray(transformed(wide, settings)), expected)
    box = transformed(noise(32, 64), ImageSettings((8, 8), "center-crop", "box"))
    assert np.abs(np.asarray(box, float) - np.asarray(noise(32, 64), float)[16:48].reshape(8, 4, 8, 4, 3).mean(
        (1, 3))).max() < 1  # two passes, each rounded


def test_center_crop_wide_puts_the_ratio_on_black():
    picture = Image.new("RGB", (100, 100), (9, 99, 199))
    wide = np.asarray(transformed(picture, ImageSettings((64, 32), "center-crop-wide")))
    assert wide.shape == (64, 64, 3) and (wide[:16] == 0).all() and (wide[48:] == 0).all()
    assert (wide[16:48] == (9, 99, 199)).all()


@pytest.mark.parametrize(("pictures", "changes", "message"), [
    ([noise(16, 8)], {}, '"0.png" is 16x8; pictures must be square'), ([noise(12, 12)], {}, "power of two"),
    ([noise(16, 16), noise(32, 32)], {}, '"1.png" is 32x32 while "0.png" is 16x16'),
    ([noise(16, 16), noise(16, 16, "L")], {}, '"1.png" is L while "0.png" is RGB; give --force-channels 3')])
def test_pictures_that_do_not_fit_are_named(tmp_path, pictures, changes, message):
    for number, picture in enumerate(pictures):
        save(tmp_path / "src" / f"{number}.png", picture)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "src", tmp_path / "out.zip", **changes)
    assert not (tmp_path / "out.zip").exists() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_forced(tmp_path, channels):
    for number, mode in enumerate(("RGB", "L", "RGBA")):
        save(tmp_path / "src" / f"{number}.png", noise(16, 16, mode))
    convert(tmp_path / "src", tmp_path / "out", force_channels=channels)
    for row in Dataset(tmp_path / "out").faces():
        with Image.open(tmp_path / "out" / row["path"]) as picture:
            assert len(picture.getbands()) == channels


def test_broken_pictures_are_left_out_and_named(tmp_path):
    save(tmp_path / "src" / "a.png", noise(16, 16))
    (tmp_path / "src" / "b.png").write_bytes((tmp_path / "src" / "a.png").read_bytes()[:90])
    count, _, _, left_out = convert(tmp_path / "src", tmp_path / "out.zip")
    assert count == 1 and left_out[0][0] == "b.png" and left_out[0][1].startswith("damaged picture")
    (tmp_path / "src" / "a.png").unlink()
    with pytest.raises(ValueError, match="no picture could be read; nothing was written"):
        convert(tmp_path / "src", tmp_path / "none.zip")


@pytest.mark.parametrize(("labels", "message"), [
    ("{", "is not of the form"), ('{"labels": [["sub0/0.png"]]}', "is not of the form"), ("[]", "is not of the form"),
    ('{"labels": [["sub0/0.png", 1], ["sub1/1.png", [1]]]}', "several kinds"),
    ('{"labels": [["sub0/0.png", "cat"]]}', "several kinds"),
    ('{"labels": [["sub0/0.png", 1]]}', "no label for 2 pictures")])
def test_labels_that_cannot_be_read(folder, labels, message):
    (folder / "dataset.json").write_text(labels)
    with pytest.raises(ValueError, match=message):
        Dataset(folder)


@pytest.mark.parametrize(("changes", "message"), [
    ({"transform": "center-crop"}, "needs --resolution"), ({"force_channels": 2}, "2 channels"),
    ({"transform": "center-crop", "resolution": (8, 4)}, "makes squares"),
    ({"resolution": (65536, 65536)}, "pictures of at most 100 million pixels are made"),
    ({"transform": "center-crop-wide", "resolution": (65536, 8)}, "pictures of at most 100 million pixels are made"),
    ({"resize_filter": "cubic"}, "box and lanczos"),
    ({"transform": "center-crop-wide", "resolution": (4, 8)}, "width of at least the height"),
    ({"transform": "magic"}, "center-crop and center-crop-wide")])
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        ImageSettings(**changes).check()


def test_sources_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("x")
    for name, message in (("nowhere", "no pictures at"), ("empty", "holds no pictures"), ("text.zip", "neither a")):
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / name, tmp_path / "out")


def test_names_out_of_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil.png", b"x")
    with pytest.raises(ValueError, match="not a plain path inside"):
        Dataset(tmp_path / "evil.zip")
