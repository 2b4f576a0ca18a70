"""Pictures of folders and zips, features streamed past collectors: order, checksums, batches, stops, sizes."""

import zipfile

import numpy as np
import pytest
import torch
from metric_stand_ins import picture_folder
from PIL import Image

from metrics.features import FeatureStore, MomentsCollector, ScoreCollector, Streaming, stream_features
from metrics.judges.drawn import DrawnFeatures
from metrics.samples import Drawn, as_pixels, open_pictures, read_labels
from training.dataset import Dataset


class MeanJudge:
    """Six numbers of a picture: means and deviations of its channels."""

    name, sha256, dim, resize, one_size = "means", "0", 6, "none", True

    def prepare(self, picture):
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()

    def __call__(self, batch):
        return torch.cat([batch.mean((2, 3)), batch.std((2, 3))], 1)


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir(), reverse=True):
            archive.write(file, f"00000/{file.name}")
        archive.writestr("00000/notes.txt", "no picture")
    return path


def test_a_folder_and_a_zip_hold_the_same_pictures_in_the_order_of_their_names(tmp_path):
    folder = picture_folder(tmp_path / "a", 5)
    there, packed = open_pictures(folder), open_pictures(zipped(folder, tmp_path / "a.zip"))
    assert len(there) == len(packed) == 5 and there.names[0] == "0000.png" and packed.names[4] == "00000/0004.png"
    assert all(np.array_equal(there.picture(i), packed.picture(i)) for i in range(5))


def test_the_checksum_is_that_of_the_content(tmp_path):
    folder = picture_folder(tmp_path / "a", 3)
    before = open_pictures(folder).facts["sha256"]
    assert open_pictures(picture_folder(tmp_path / "again", 3)).facts["sha256"] == before
    Image.new("RGB", (20, 24)).save(folder / "0001.png")
    assert open_pictures(folder).facts["sha256"] != before
    packed = zipped(folder, tmp_path / "a.zip")
    before = open_pictures(packed).facts["sha256"]
    Image.new("RGB", (20, 24), (1, 2, 3)).save(folder / "0001.png")
    assert open_pictures(zipped(folder, packed)).facts["sha256"] != before


def test_grey_pictures_have_three_equal_channels_and_flips_follow(tmp_path):
    pictures = open_pictures(picture_folder(tmp_path / "grey", 2, mode="L"))
    grey = pictures.picture(0)
    assert grey.shape == (24, 20, 3) and np.array_equal(grey[..., 0], grey[..., 2])
    flipped = pictures.with_flips()
    assert len(flipped) == 4 and np.array_equal(flipped.picture(3), pictures.picture(1)[:, ::-1])
    assert np.array_equal(as_pixels(torch.zeros(1, 1, 2, 2)), np.full([1, 2, 2, 3], 128))


def test_sixteen_bits_become_eight_and_floating_point_is_refused(tmp_path):
    """Pillow would make every value above 255 white."""
    Image.fromarray(np.full([4, 5], 100 * 257, np.uint16)).save(tmp_path / "0.png")
    Image.fromarray(np.full([4, 5], 0.5, np.float32)).save(tmp_path / "1.tif")
    dataset = Dataset(tmp_path)
    for read in (open_pictures(tmp_path).picture, lambda k: dataset.read_face(dataset.faces()[k])):
        assert read(0).shape == (4, 5, 3) and (read(0) == 100).all()
        with pytest.raises(ValueError, match='"1.tif" in .* is not a picture that can be read'):
            read(1)


def test_what_holds_no_pictures_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no zip")
    with pytest.raises(ValueError, match="holds no pictures; known endings are .png"):
        open_pictures(tmp_path / "empty")
    with pytest.raises(ValueError, match="no such folder or zip"):
        open_pictures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        open_pictures(tmp_path / "text.txt")
    (tmp_path / "empty" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match='"broken.png" in .* is damaged'):
        open_pictures(tmp_path / "empty").picture(0)


def test_labels_of_the_stylegan2_programs_are_read(tmp_path):
    folder = picture_folder(tmp_path / "a", 2)
    assert read_labels(folder) is None
    (folder / "dataset.json").write_text('{"labels": [["0000.png", 2], ["0001.png", [0, 1]]]}')
    assert read_labels(folder) == {"0000.png": 2, "0001.png": [0, 1]}
    (folder / "dataset.json").write_text('{"labels": null}')
    assert read_labels(folder) is None
    (folder / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="labels of .* cannot be read"):
        read_labels(folder)


@pytest.mark.parametrize("batch, workers", [(1, 1), (7, 3), (50, 2)])
def test_batches_and_threads_change_nothing(tmp_path, batch, workers):
    pictures, judge = open_pictures(picture_folder(tmp_path / "a", 23)), MeanJudge()
    moments, store = MomentsCollector(6), FeatureStore(tmp_path / "features.npy", 23, 6)
    stream_features(pictures, judge, {"moments": moments, "features": store}, Streaming(batch, workers, show=False))
    expected = judge(torch.stack([judge.prepare(pictures.picture(i)) for i in range(23)])).numpy()
    assert np.allclose(store.gathered, expected, rtol=1e-5)
    assert np.allclose(moments.gathered.whole().covariance(ddof=1), np.cov(expected, rowvar=False), rtol=1e-4)


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    """The drawing fails after 20 of 36 pictures; the second run draws the rest only, and the numbers are the same."""
    drawn, limit = [], [20]

    def draw(indices):
        if indices[0] >= limit[0]:
            raise KeyboardInterrupt
        drawn.extend(indices)
        random = np.random.default_rng(0).random([36, 3, 6, 6])
        return torch.from_numpy(random[indices]).float()

    def collectors(name):
        return {"moments": MomentsCollector(6), "features": FeatureStore(tmp_path / name, 36, 6)}

    source, streaming = Drawn(36, draw, {}), Streaming(4, 2, folder=tmp_path / "work", show=False)
    with pytest.raises(KeyboardInterrupt):
        stream_features(source, MeanJudge(), collectors("a.npy"), streaming)
    assert drawn == list(range(20))
    limit[0], second = 99, collectors("a.npy")
    other = MomentsCollector(6)  # a run that gathers something else cannot go on there
    stream_features(Drawn(16, draw, {}), MeanJudge(), {"moments": other}, streaming)
    assert other.moments.whole().count == 16 and drawn[20:] == list(range(16))
    del drawn[20:]
    stream_features(source, MeanJudge(), second, streaming)
    assert drawn[20:] == list(range(16, 36))  # the batch that was drawn ahead but not yet looked at comes again
    whole = collectors("b.npy")
    stream_features(source, MeanJudge(), whole, Streaming(36, 1, show=False))
    assert np.allclose(second["features"].gathered, whole["features"].gathered)
    assert second["moments"].gathered.whole().count == 36
    assert np.allclose(second["moments"].gathered.whole().mean, whole["moments"].gathered.whole().mean)


def test_scores_of_a_stopped_run(tmp_path):
    judge = DrawnFeatures(head="probabilities")
    limit = [8]

    def draw(indices):
        if indices[0] >= limit[0]:
            raise KeyboardInterrupt
        return torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))[indices] * 2 - 1

    streaming, source = Streaming(4, folder=tmp_path, show=False), Drawn(16, draw, {})
    with pytest.raises(KeyboardInterrupt):
        stream_features(source, judge, {"scores": ScoreCollector(16)}, streaming)
    limit[0], again, whole = 99, ScoreCollector(16), ScoreCollector(16)
    stream_features(source, judge, {"scores": again}, streaming)
    stream_features(source, judge, {"scores": whole}, Streaming(16, show=False))
    assert np.allclose(again.gathered.scores(), whole.gathered.scores())


def test_a_network_that_takes_one_size_refuses_several(tmp_path):
    folder = picture_folder(tmp_path / "a", 2)
    Image.new("RGB", (9, 7)).save(folder / "other.png")
    with pytest.raises(ValueError, match="several sizes .9x7 and 20x24.*fid_clean"):
        stream_features(open_pictures(folder), MeanJudge(), {"m": MomentsCollector(6)}, Streaming(show=False))
    judge = DrawnFeatures()  # resizes each picture
    collector = MomentsCollector(judge.dim)
    stream_features(open_pictures(folder), judge, {"m": collector}, Streaming(show=False))
    assert collector.gathered.whole().count == 3


def test_features_have_a_stated_limit(tmp_path):
    with pytest.raises(ValueError, match="need 76 GB on disk, the limit is 16 GB"):
        FeatureStore(tmp_path / "f.npy", 10_000_000, 2048)
