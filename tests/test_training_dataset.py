"""Datasets: what the world writer writes the reader reads, byte for byte the same each time, and damage is named."""

import concurrent.futures
import hashlib
import json
import multiprocessing
import pickle
import zipfile

import numpy as np
import pytest

from torch_utils.images import to_uint8
from training.dataset import Dataset
from training.datasets.contact_sheet import contact_sheet
from training.datasets.world import WorldSettings, split_of, write_world
from voice2style.demo.voices import to_int16
from voice2style.demo.world import World

SETTINGS = WorldSettings(people=12, faces_per=2, clips_per=2, resolution=32, seed=8, min_seconds=0.3, max_seconds=0.5)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same small dataset as a zip and as a folder."""
    root = tmp_path_factory.mktemp("datasets")
    for name in ("small.zip", "small"):
        write_world(SETTINGS, root / name, command="made by a test")
    return root


@pytest.fixture
def folder(tmp_path):
    """A dataset in a folder that the test may damage: one person, one face, one clip."""
    settings = WorldSettings(people=1, resolution=16, min_seconds=0.2, max_seconds=0.2)
    write_world(settings, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["small.zip", "small"])
def test_everything_written_is_read(written, name):
    dataset = Dataset(written / name)
    assert dataset.card["counts"] == {"people": 12, "faces": 24, "voices": 24}
    assert dataset.card["resolution"] == 32 and dataset.card["command"] == "made by a test"
    assert dataset.card["ceilings"]["masc"] == pytest.approx(0.95**2)
    assert (len(dataset.people()), len(dataset.faces()), len(dataset.voices())) == (12, 24, 24)
    for row in dataset.faces():
        assert dataset.read_face(row).shape == (32, 32, 3) == (row["height"], row["width"], 3)
        assert hashlib.sha256(dataset.read_bytes(row)).hexdigest() == row["sha256"]
    for row in dataset.voices():
        wave = dataset.read_voice(row)
        assert wave.dtype == np.float32 and len(wave) == round(row["seconds"] * 16000)


def test_contents_are_the_worlds(written):
    dataset, world = Dataset(written / "small.zip"), World(seed=8)
    people = world.people(range(12))
    for place, row in enumerate(dataset.people()):
        assert row["person"] == place and row["group"] == people.group[place]
        assert row["heard"] == pytest.approx({k: v[place] for k, v in people.heard.items()}, abs=1e-6)
        assert row["traits"] == pytest.approx({k: v[place] for k, v in people.traits.items()}, abs=1e-6)
    row = dataset.faces()[9]
    assert (row["person"], row["path"]) == (4, "faces/00000/00000004_1.png")
    image, landmarks = world.faces(people[4], 1, 32)
    difference = dataset.read_face(row).astype(int) - to_uint8(image[0]).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(difference).max() <= 1 and np.abs(np.array(row["landmarks"]) - landmarks[0].numpy()).max() < 1e-3
    row = dataset.voices()[9]
    wave = world.voice(4, 1, seconds=(0.3, 0.5))
    assert np.array_equal(dataset.read_voice(row), to_int16(wave).astype(np.float32) / 32768)


def test_splits_are_by_person_and_whole(written):
    dataset = Dataset(written / "small")
    for rows in (dataset.people, dataset.faces, dataset.voices):
        parts = {split: rows(split) for split in ("train", "val", "test")}
        assert sum(map(len, parts.values())) == len(rows())
        assert {row["person"] for row in parts["test"]} == {9} and {row["person"] for row in parts["val"]} == {8}
    assert [split_of(person) for person in (0, 7, 8, 9, 10, 1238)] == ["train", "train", "val", "test", "train", "val"]
    with pytest.raises(ValueError, match='no split "dev"; there are train, val, test'):
        dataset.faces("dev")


def test_folder_and_zip_hold_the_same_bytes(written):
    with zipfile.ZipFile(written / "small.zip") as archive:
        names = sorted(archive.namelist())
        files = sorted(path.relative_to(written / "small").as_posix() for path in (written / "small").rglob("*.*"))
        assert names == files
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        for name in names:
            assert archive.read(name) == (written / "small" / name).read_bytes()


def test_the_same_settings_give_the_same_bytes_with_any_workers(written, tmp_path):
    write_world(SETTINGS, tmp_path / "again.zip", workers=2, command="made by a test")
    assert (tmp_path / "again.zip").read_bytes() == (written / "small.zip").read_bytes()


def test_people_do_not_depend_on_where_a_dataset_starts(written, tmp_path):
    part = WorldSettings(
        people=2, faces_per=1, clips_per=1, resolution=32, seed=8, first_person=5, min_seconds=0.3, max_seconds=0.5
    )
    write_world(part, tmp_path / "part")
    whole, part = Dataset(written / "small"), Dataset(tmp_path / "part")
    assert part.people() == whole.people()[5:7]
    assert np.array_equal(part.read_voice(part.voices()[0]), whole.read_voice(whole.voices()[10]))


def test_faces_or_voices_alone_and_wav(tmp_path):
    write_world(
        WorldSettings(people=2, faces_per=0, audio="wav", min_seconds=0.2, max_seconds=0.2), tmp_path / "voices.zip"
    )
    write_world(WorldSettings(people=2, clips_per=0, resolution=16), tmp_path / "faces.zip")
    voices, faces = Dataset(tmp_path / "voices.zip"), Dataset(tmp_path / "faces.zip")
    assert not voices.faces() and len(voices.voices()) == 2 and voices.voices()[0]["path"].endswith(".wav")
    assert voices.read_voice(voices.voices()[1]).shape == (3200,)
    assert not faces.voices() and len(faces.faces()) == 2


def test_a_stopped_run_leaves_nothing(tmp_path):
    def stop(people):
        raise KeyboardInterrupt

    for name in ("data.zip", "data"):
        with pytest.raises(KeyboardInterrupt):
            write_world(WorldSettings(people=1, clips_per=0, resolution=16), tmp_path / name, progress=stop)
    assert list(tmp_path.iterdir()) == []


def _read_all(dataset):  # in a worker process
    return [dataset.read_face(row).sum() for row in dataset.faces()]


@pytest.mark.parametrize("name", ["small.zip", "small"])
def test_workers_read_at_the_same_time(written, name):
    """A dataset that is already open is forked to workers, and pickled."""
    dataset = Dataset(written / name)
    expected = _read_all(dataset)
    context = multiprocessing.get_context("fork")
    global _forked
    _forked = dataset
    with concurrent.futures.ProcessPoolExecutor(3, context) as pool:
        assert all(sums == expected for sums in pool.map(_read_forked, range(6)))
    assert _read_all(pickle.loads(pickle.dumps(dataset))) == expected


def _read_forked(_):
    return _read_all(_forked)


def test_contact_sheet_shows_people(written):
    dataset = Dataset(written / "small.zip")
    sheet = contact_sheet(dataset, num_people=6, cell=64)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3
    one = contact_sheet(dataset, split="test", cell=32)
    assert np.array_equal(one[4:36, 4:36], dataset.read_face(dataset.faces("test")[0]))
    assert (one[36:] != 250).any()  # the wave
    with pytest.raises(ValueError, match="0 people"):
        contact_sheet(dataset, num_people=0)


def test_contact_sheet_of_an_empty_split(folder):
    with pytest.raises(ValueError, match="neither faces nor voices in the split test"):
        contact_sheet(Dataset(folder), split="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"people": 0}, "--people 0: 1 or more"),
        ({"faces_per": -1}, "--faces-per -1: 0 or more"),
        ({"resolution": 8}, "resolution 8"),
        ({"seed": -1}, "seed -1"),
        ({"audibility": 2.0}, "audibility 2.0"),
        ({"audio": "mp3"}, 'audio is "mp3"; flac and wav'),
        ({"min_seconds": 5.0, "max_seconds": 4.0}, "clips of 5.0 to 4.0 s"),
        ({"first_person": 10**8}, "99999999"),
    ],
)
def test_bad_settings(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_world(WorldSettings(**{"people": 1} | change), tmp_path / "data.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_destination_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data.zip").write_text("precious")
    for name in ("data", "data.zip"):
        with pytest.raises(ValueError, match="exists"):
            write_world(WorldSettings(people=1), tmp_path / name)
    assert (tmp_path / "data.zip").read_text() == "precious"


def test_not_a_dataset(tmp_path):
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, message in (
        ("nowhere", "no dataset at"),
        ("text.zip", "neither a folder nor a zip"),
        ("empty", "it has no card.json"),
        ("other.zip", "it has no card.json"),
    ):
        with pytest.raises(ValueError, match=message):
            Dataset(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("card.json", "{", "not JSON"),
        ("card.json", '{"format": "voice2style-dataset/9"}', 'format "voice2style-dataset/9"; this version reads'),
        ("card.json", "[]", 'format "None"'),
        ("manifest.jsonl", "{\n", "line 1 of .* is not JSON"),
        ("manifest.jsonl", '{"kind": "cat"}\n', 'line 1 of .* has the kind "cat"'),
        ("manifest.jsonl", '{"kind": ["face"]}\n', "has the kind"),
        ("manifest.jsonl", '{"kind": "face", "person": 1, "split": "train"}\n', "lacks path"),
        ("manifest.jsonl", '{"kind": "person", "person": 1, "split": "dev"}\n', 'split "dev"'),
    ],
)
def test_damaged_card_or_manifest(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        Dataset(folder)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../b", "", "c:/x", 7])
def test_paths_out_of_the_dataset_are_refused(folder, path):
    row = {"kind": "face", "path": path, "person": 1, "split": "train"}
    (folder / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="not a plain path inside"):
        Dataset(folder)


@pytest.mark.parametrize("damage", ["change", "truncate", "delete"])
@pytest.mark.parametrize("kind", ["faces", "voices"])
def test_a_damaged_item_is_named(folder, kind, damage):
    dataset = Dataset(folder)
    row = getattr(dataset, kind)()[0]
    path = folder / row["path"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(content if damage == "change" else content[:40])
    read = dataset.read_face if kind == "faces" else dataset.read_voice
    with pytest.raises(ValueError, match=row["path"]):
        read(row)
    without_digest = {key: value for key, value in row.items() if key != "sha256"}
    if damage == "truncate":
        with pytest.raises(ValueError, match=row["path"]):
            read(without_digest)


def test_a_damaged_zip_names_the_item(written, tmp_path):
    content = bytearray((written / "small.zip").read_bytes())
    row = Dataset(written / "small.zip").faces()[0]
    start = content.index(row["path"].encode()) + len(row["path"])
    content[start + 100] ^= 255
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(ValueError, match=row["path"]):
        Dataset(tmp_path / "bad.zip").read_face(row)


@pytest.mark.parametrize("name", ["small.zip", "small"])
def test_rows_by_the_index_are_the_rows_of_the_manifest(written, name):
    dataset = Dataset(written / name)
    assert dataset.is_indexed
    lines = [json.loads(line) for line in dataset.read_file("manifest.jsonl").splitlines()]
    for kind, rows in (("person", dataset.people), ("face", dataset.faces), ("voice", dataset.voices)):
        assert list(rows()) == [line for line in lines if line["kind"] == kind]
        assert rows("val") == [line for line in lines if line["kind"] == kind and line["split"] == "val"]
    faces = dataset.faces()
    assert faces[-1] == list(faces)[-1] and faces[2:5] == list(faces)[2:5] and len(faces[::2]) == 12
    with pytest.raises(IndexError):
        faces[24]


def test_an_edited_manifest_is_read_row_by_row(written, tmp_path):
    import shutil

    shutil.copytree(written / "small", tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"split": "val"', '"split": "train"'))
    dataset = Dataset(tmp_path / "data")
    assert not dataset.is_indexed and len(dataset.faces("val")) == 0 and len(dataset.faces("train")) == 22
    assert dataset.read_face(dataset.faces()[0]).shape == (32, 32, 3)


def test_an_index_that_lies_is_not_believed(written, tmp_path):
    """A card whose checksums fit a forged index: rows are still validated when they are read."""
    import shutil

    shutil.copytree(written / "small", tmp_path / "data")
    index = np.load(tmp_path / "data" / "index.npy")
    index["split"] = 0
    np.save(tmp_path / "data" / "index.npy", index)
    assert not Dataset(tmp_path / "data").is_indexed
    card = json.loads((tmp_path / "data" / "card.json").read_text())
    card["checksums"]["index.npy"] = hashlib.sha256((tmp_path / "data" / "index.npy").read_bytes()).hexdigest()
    (tmp_path / "data" / "card.json").write_text(json.dumps(card))
    rows = Dataset(tmp_path / "data").faces("train")
    with pytest.raises(ValueError, match="is not what the index says"):
        list(rows)


@pytest.mark.parametrize("change", ["rewritten", "appended", "comment lost"])
def test_a_zip_that_others_changed_is_read_by_its_directory(written, tmp_path, change):
    source, changed = written / "small.zip", tmp_path / "changed.zip"
    expected = Dataset(source)
    if change == "appended":
        changed.write_bytes(source.read_bytes())
        with zipfile.ZipFile(changed, "a") as archive:
            archive.writestr("notes.txt", "hello")
    else:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
            for name in reversed(old.namelist()):
                new.writestr(name, old.read(name))
            new.comment = old.comment if change == "rewritten" else b""
    dataset = Dataset(changed)
    for row in dataset.faces():
        assert np.array_equal(dataset.read_face(row), expected.read_face(row))
    assert dataset.card == expected.card


def test_a_large_zip_has_its_directory_beyond_4_gib(tmp_path):
    """The places of a zip with the records of zip64 are found: a sparse file of 5 GiB."""
    from training.datasets.zip_tail import read_places

    with (tmp_path / "large.zip").open("w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a", b"first")
            file.seek(5 << 30)
            archive.start_dir = file.tell()
            archive.writestr("card.json", b"{}")
            place = file.tell() - 2
            archive.comment = json.dumps({"directory": file.tell(), "places": {"card.json": [place, 2]}}).encode()
        assert read_places(file) == {"card.json": (place, 2)}
        file.seek(place)
        assert file.read(2) == b"{}"
