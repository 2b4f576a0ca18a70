"""Builds: the same bytes after any stop, from any number of workers or shards; nothing is dropped without a reason."""

import csv
import errno
import io
import os
import signal
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image
from small_corpus import SmallPlan, encoded, save, write_corpus

from training.dataset import Dataset
from training.datasets import assembly, journal, pool, writer
from training.datasets.builder import BuildSettings, build_dataset, journal_folder, merge_shards, shard_folder
from training.datasets.checking import find_damage
from training.datasets.face_build import FaceSettings
from training.datasets.items import Item, Person, Rejection
from training.datasets.report_html import report_page
from training.datasets.source_files import Sources
from training.datasets.statistics import describe, statistics_of
from training.datasets.voice_build import VoiceSettings
from training.sources import Voices

SETTINGS = BuildSettings(FaceSettings(resolution=32), VoiceSettings(vad="none"), licence="CC0-1.0")


@pytest.fixture(scope="module", autouse=True)
def small_pieces():
    """Three items a piece, so that a small corpus has six."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "PIECE", 3)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The root of a small corpus and its plan: 4 people, 2 faces and 2 clips each."""
    root = tmp_path_factory.mktemp("corpus")
    return root, write_corpus(root)


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory):
    """The corpus built in one go, as the zip that all other ways must equal."""
    dest = tmp_path_factory.mktemp("built") / "whole.zip"
    build_dataset(corpus[1], dest, SETTINGS, command="made by a test")
    return dest


def rejected(dataset):
    return list(csv.DictReader(io.StringIO(dataset.read_file("rejected.csv").decode())))


def test_everything_arrives_and_is_whole(built, corpus):
    dataset = Dataset(built)
    assert dataset.card["counts"] == {"people": 4, "faces": 8, "voices": 8} and dataset.is_indexed
    assert dataset.card["licence"] == "CC0-1.0" and dataset.card["command"] == "made by a test"
    assert [row["person"] for row in dataset.people("train")] == ["Person 0", "Person 1"]
    assert dataset.people()[2]["gender"] == "f" and dataset.people()[0]["ids"] == ["id0"]
    assert {row["source"] for row in dataset.faces()} == {item.path for item in corpus[1].items if item.kind == "face"}
    assert all(dataset.read_face(row).shape == (32, 32, 3) for row in dataset.faces())
    assert all(len(dataset.read_voice(row)) == 19200 for row in dataset.voices("test"))
    assert rejected(dataset) == [
        {"root": "", "path": "empty/", "person": "", "reason": "empty folder", "stage": "plan"}]
    assert list(find_damage(dataset)) == []
    assert not journal_folder(built).exists()


def test_folder_and_zip_hold_the_same(built, corpus, tmp_path):
    build_dataset(corpus[1], tmp_path / "folder", SETTINGS, command="made by a test")
    folder, whole = Dataset(tmp_path / "folder"), Dataset(built)
    assert folder.names() == whole.names()
    assert all(folder.read_file(name) == whole.read_file(name) for name in whole.names())
    with zipfile.ZipFile(built) as archive:  # the index tells where an independent reader finds them
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert all(archive.read(row["path"]) == whole.read_bytes(row) for row in whole.faces())


def test_workers_give_the_same_bytes(built, corpus, tmp_path):
    told = []
    build_dataset(corpus[1], tmp_path / "whole.zip", SETTINGS, workers=2, command="made by a test",
                  progress=lambda done, total: told.append((done, total)))
    assert (tmp_path / "whole.zip").read_bytes() == built.read_bytes()
    assert told[0] == (0, 16) and told[-1] == (16, 16) and sorted(told) == told


def test_shards_merge_to_the_same_bytes(built, corpus, tmp_path):
    dest = tmp_path / "whole.zip"
    for number in (3, 1, 2):  # in any order, as machines finish
        assert build_dataset(corpus[1], dest, SETTINGS, shard=(number, 3), command="made by a test") is None
    folders = [shard_folder(dest, (number, 3)) for number in (2, 3, 1)]
    with pytest.raises(ValueError, match="of 6 pieces are missing, the first is 0: not all shards were given"):
        merge_shards(folders[:2], dest)
    merge_shards(folders, dest)
    assert dest.read_bytes() == built.read_bytes()
    with pytest.raises(ValueError, match="exists"):
        merge_shards(folders, dest)


def test_shards_of_other_builds_are_not_mixed_in(corpus, tmp_path):
    build_dataset(corpus[1], tmp_path / "a", SETTINGS, shard=(1, 2))
    build_dataset(corpus[1], tmp_path / "b", BuildSettings(FaceSettings(resolution=16)), shard=(2, 2))
    with pytest.raises(ValueError, match="not of one build"):
        merge_shards([shard_folder(tmp_path / "a", (1, 2)), shard_folder(tmp_path / "b", (2, 2))], tmp_path / "c")
    with pytest.raises(ValueError, match="is no shard of a build"):
        merge_shards([tmp_path], tmp_path / "c")
    (tmp_path / ".c.building").mkdir()
    build_dataset(corpus[1], tmp_path / "c", SETTINGS, shard=(1, 1))
    with pytest.raises(ValueError, match="pieces of another build"):
        build_dataset(corpus[1], tmp_path / "c", BuildSettings(unpaired="keep"), shard=(1, 1))


def _die_at(monkeypatch, owner, name, call):
    """Has the process killed, as by kill -9, at a call of a function."""
    original, calls = getattr(owner, name), []

    def deadly(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, deadly)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("owner", "name", "call"), [
    (journal.os, "replace", 1), (journal.os, "replace", 5),  # while the plan is written down
    (pool, "build_voice", 2), (journal.os, "replace", 9),  # within a piece; between its contents and its outcomes
    (assembly, "_survey", 1), (writer.Writer, "add_row", 7), (writer.Writer, "finish", 1),
    (writer.os, "rename", 1), (journal.Journal, "remove", 1)])
def test_killed_at_any_point_it_goes_on_to_the_same_bytes(built, corpus, tmp_path, monkeypatch, owner, name, call):
    dest = tmp_path / "whole.zip"
    child = os.fork()
    if child == 0:
        _die_at(monkeypatch, owner, name, call)
        build_dataset(corpus[1], dest, SETTINGS, command="made by a test")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    finished = len(list(journal_folder(dest).rglob("pieces/*/*.json")))
    made = []
    original = pool.make_piece
    monkeypatch.setattr(pool, "make_piece", lambda *given, **named: made.append(given[1]) or original(*given, **named))
    if name == "remove":
        with pytest.raises(ValueError, match="exists and is whole"):
            build_dataset(corpus[1], dest, SETTINGS, command="made by a test")
    else:
        build_dataset(corpus[1], dest, SETTINGS, command="made by a test")
        assert len(made) == 6 - finished  # nothing is made twice
    assert dest.read_bytes() == built.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["whole.zip"]


def test_a_damaged_piece_is_made_again(built, corpus, tmp_path):
    dest = tmp_path / "whole.zip"
    build_dataset(corpus[1], dest, SETTINGS, shard=(1, 1), command="made by a test")
    folder = shard_folder(dest, (1, 1))
    content = (folder / "pieces/000/000002.bin").read_bytes()
    (folder / "pieces/000/000002.bin").write_bytes(content[:-1] + b"?")
    with pytest.raises(ValueError, match="piece 2 .* is missing or damaged and was taken out"):
        merge_shards([folder], dest)
    build_dataset(corpus[1], dest, SETTINGS, shard=(1, 1), command="made by a test")
    merge_shards([folder], dest)
    assert dest.read_bytes() == built.read_bytes()


def test_two_builds_of_one_destination_do_not_mix(corpus, tmp_path):
    lock = journal.lock_folder(journal_folder(tmp_path / "x"))
    with lock, pytest.raises(ValueError, match="another process is at work"):
        build_dataset(corpus[1], tmp_path / "x", SETTINGS)


def test_a_file_that_kills_its_reader_is_set_aside(corpus, tmp_path, monkeypatch, capsys):
    original = pool.build_face

    def deadly(content, item, *others):
        if item.path == "Person 1/1.png":
            os._exit(9)
        return original(content, item, *others)

    monkeypatch.setattr(pool, "build_face", deadly)
    monkeypatch.setattr(pool, "_START", "fork")
    build_dataset(corpus[1], tmp_path / "data", SETTINGS, workers=2)
    dataset = Dataset(tmp_path / "data")
    assert dataset.card["counts"] == {"people": 4, "faces": 7, "voices": 8}
    assert {"root": "faces", "path": "Person 1/1.png", "person": "Person 1", "stage": "face",
            "reason": "broken: the process that read it died"} in rejected(dataset)
    assert "A worker process died" in capsys.readouterr().err


def test_workers_that_cannot_start_are_said(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_START", "fork")
    monkeypatch.setattr(pool, "make_piece", _dead)
    with pytest.raises(OSError, match="worker processes die before they read anything"):
        build_dataset(corpus[1], tmp_path / "data", SETTINGS, workers=2)


def _dead(*given, **named):
    os._exit(1)


def _plan_of(root, names, kind="face", person="Ann"):
    return SmallPlan([Person(person, "train", None, None, (), {})],
                     [Item(kind, name, str(root), person, "train") for name in names])


KEEP = BuildSettings(FaceSettings(resolution=16, align="center"), unpaired="keep")


def test_a_bad_file_costs_only_itself(tmp_path):
    """Broken, foreign, escaping, missing and double files are named; the good one is built."""
    root = tmp_path / "faces"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    save(root / "good.png", noise)
    (root / "again.png").write_bytes((root / "good.png").read_bytes())
    (root / "cut.png").write_bytes((root / "good.png").read_bytes()[:80])
    (root / "text.jpg").write_text("hello")
    (root / "folder.jpg").mkdir()
    save(tmp_path / "secret.png", noise)
    (root / "link.png").symlink_to("../secret.png")
    names = ["good.png", "again.png", "cut.png", "text.jpg", "folder.jpg", "link.png", "../secret.png", "none.png"]
    card = build_dataset(_plan_of(root, names), tmp_path / "data", KEEP)
    reasons = {row["path"]: row["reason"] for row in rejected(Dataset(tmp_path / "data"))}
    assert card["counts"]["faces"] == 1 and len(reasons) == 7
    expected = {"again.png": "duplicate: the same content as good.png in faces", "cut.png": "damaged picture",
                "text.jpg": "not a picture", "folder.jpg": "not a file", "none.png": "no such file",
                "link.png": "a link that leads out of the corpus", "../secret.png": "leads out of the corpus"}
    for name, reason in expected.items():
        assert reasons[name].startswith(reason), name
    assert sum(card["rejected"].values()) == 7 and card["rejected"]["face: duplicate"] == 1


def test_roots_are_named_in_reports_whatever_their_place(tmp_path):
    """Two folders of one name and a zip of that name: a double in the third names the file in the first."""
    picture = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    roots = [tmp_path / "a" / "faces", tmp_path / "b" / "faces", tmp_path / "c" / "faces.ZIP"]
    for root in roots[:2]:
        root.mkdir(parents=True)
    (roots[0] / "one.png").write_bytes(picture)
    (roots[1] / "cut.png").write_bytes(picture[:80])
    roots[2].parent.mkdir()
    with zipfile.ZipFile(roots[2], "w") as archive:
        archive.writestr("two.png", picture)
    items = [Item("face", name, str(root), "Ann", "train") for root, name in zip(roots, ("one.png", "cut.png",
                                                                                       "two.png"))]
    plan = SmallPlan([Person("Ann", "train", None, None, (), {})], items,
                     [Rejection("gone.txt", "", "no picture", str(tmp_path / "d"))])
    build_dataset(plan, tmp_path / "data", KEEP)
    gone, cut, double = ((row["root"], row["path"], row["reason"]) for row in rejected(Dataset(tmp_path / "data")))
    assert gone == ("d", "gone.txt", "no picture") and cut[:2] == ("faces (2)", "cut.png")
    assert double == ("faces (3)", "two.png", "duplicate: the same content as one.png in faces")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_not_a_files_fault_is_no_reason_but_ends_the_build(corpus, built, tmp_path, monkeypatch, workers):
    """A missing package or a fault of ours must not look like a thousand bad files; the same command goes on after."""
    original = pool.build_face

    def broken(content, item, *others):
        if item.path == "Person 1/1.png":
            raise ValueError("operands could not be broadcast together")
        return original(content, item, *others)

    monkeypatch.setattr(pool, "_START", "fork")
    with monkeypatch.context() as patch, pytest.raises(
            ValueError, match='no face was made of "Person 1/1.png" in ".*", and that file is not to blame: operands'):
        patch.setattr(pool, "build_face", broken)
        build_dataset(corpus[1], tmp_path / "whole.zip", SETTINGS, workers=workers, command="made by a test")
    assert not (tmp_path / "whole.zip").exists()
    build_dataset(corpus[1], tmp_path / "whole.zip", SETTINGS, command="made by a test")
    assert (tmp_path / "whole.zip").read_bytes() == built.read_bytes()


def test_archives_with_bombs_and_escapes(tmp_path):
    picture = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(100 << 20))
        archive.writestr("../out.png", picture)
        archive.writestr("good.png", picture)
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    names = ["bomb.png", "../out.png", "good.png", "link.png", "none.png"]
    build_dataset(_plan_of(tmp_path / "faces.zip", names), tmp_path / "data", KEEP)
    reasons = {row["path"]: row["reason"] for row in rejected(Dataset(tmp_path / "data"))}
    assert [row["source"] for row in Dataset(tmp_path / "data").faces()] == ["good.png"]
    for name, reason in {"bomb.png": "a zip bomb: ", "../out.png": "leads out of the archive",
                         "link.png": "a link inside an archive", "none.png": "not in the archive"}.items():
        assert reasons[name].startswith(reason), name
    with pytest.raises(ValueError, match="too large"):
        Sources().read(str(tmp_path / "faces.zip"), "good.png", most=10)


def test_recordings_in_a_zip_are_those_in_the_folder(corpus, built, tmp_path):
    root, plan = corpus
    with zipfile.ZipFile(tmp_path / "voices.zip", "w") as archive:
        for item in plan.items:
            if item.kind == "voice":
                archive.write(root / "voices" / item.path, item.path)
    items = [item if item.kind == "face" else Item("voice", item.path, str(tmp_path / "voices.zip"), item.person,
                                                   item.split) for item in plan.items]
    build_dataset(SmallPlan(plan.people, items, plan.rejections, plan.notes), tmp_path / "b.zip", SETTINGS,
                  command="made by a test")
    assert (tmp_path / "b.zip").read_bytes() == built.read_bytes()  # roots do not count


def test_people_who_lose_all_faces_go_with_a_reason(corpus, tmp_path):
    root, plan = corpus
    items = [item for item in plan.items if not (item.person == "Person 2" and item.kind == "face")]
    people = [*plan.people, Person("Nobody", "test", None, None, (), {})]
    build_dataset(SmallPlan(people, items), tmp_path / "paired", SETTINGS)
    dataset = Dataset(tmp_path / "paired")
    assert [row["person"] for row in dataset.people()] == ["Person 0", "Person 1", "Person 3"]
    rows = [(row["path"], row["person"], row["reason"]) for row in rejected(dataset)]
    assert ("", "Nobody", "nobody: nothing of this person was kept") in rows
    assert sum(person == "Person 2" and reason == "alone: no face of this person was kept"
               for _, person, reason in rows) == 3  # the person and two clips
    build_dataset(SmallPlan(people, items), tmp_path / "all", BuildSettings(SETTINGS.face, SETTINGS.voice, "keep"))
    assert len(Dataset(tmp_path / "all").voices()) == 8


def test_features_are_kept_and_said(tmp_path):
    np.save(tmp_path / "1.npy", np.ones((900, 64)))
    item = Item("voice", "1.npy", str(tmp_path), "Ann", "train", extra={"features": "logmel64", "video": "abc"})
    plan = SmallPlan([Person("Ann", "train", None, None, (), {})], [item])
    build_dataset(plan, tmp_path / "data", KEEP)
    dataset = Dataset(tmp_path / "data")
    row = dataset.voices()[0]
    assert row["path"].endswith(".npy") and row["features"] == "logmel64" and row["extra"] == {"video": "abc"}
    assert dataset.read_features(row).shape == (900, 64) and dataset.read_features(row).dtype == np.float32
    with pytest.raises(ValueError, match=r"holds features \(logmel64\), not a wave"):
        dataset.read_voice(row)
    with pytest.raises(ValueError, match=r"1 of the 1 voices .* are features without sound \(logmel64\)"):
        Voices(dataset, crop_s=1.0, seed=0)
    assert "1 clips are features without waves" in describe(dataset) and list(find_damage(dataset)) == []


@pytest.mark.parametrize("place", [(writer.Writer, "add"), (journal.Journal, "write_piece"), (pool, "build_face")])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(corpus, built, tmp_path, monkeypatch, place):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "a file")

    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(OSError, match="is full; make room, then give the same command again"):
            build_dataset(corpus[1], tmp_path / "whole.zip", SETTINGS, command="made by a test")
    assert not (tmp_path / "whole.zip").exists()
    build_dataset(corpus[1], tmp_path / "whole.zip", SETTINGS, command="made by a test")
    assert (tmp_path / "whole.zip").read_bytes() == built.read_bytes()


def test_an_existing_destination_is_left_alone(corpus, tmp_path):
    (tmp_path / "data.zip").write_text("precious")
    with pytest.raises(ValueError, match="exists; remove it"):
        build_dataset(corpus[1], tmp_path / "data.zip", SETTINGS)
    assert (tmp_path / "data.zip").read_text() == "precious" and len(list(tmp_path.iterdir())) == 1


def test_an_empty_plan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to build"):
        build_dataset(SmallPlan([], []), tmp_path / "data", SETTINGS)


def test_statistics_of_the_card_are_those_of_the_rows(built):
    dataset = Dataset(built)
    stated = statistics_of(dataset)
    assert stated["splits"]["train"] == {"people": 2, "faces": 4, "voices": 4, "seconds": 4.8}
    assert stated["genders"]["train"] == {"f": 1, "m": 1, "unknown": 0} and stated["aligned"] == {"similarity": 8}
    assert stated["nationalities"] == {"USA": 3, "unknown": 1}
    del dataset.card["statistics"]
    assert statistics_of(dataset) == stated
    assert all(sum(part["counts"]) == 8 for part in stated["histograms"].values())


def test_the_report_is_one_page_that_fetches_nothing(built):
    page = report_page(Dataset(built))
    assert page.count("<img") == 4 and "http" not in page and "src='data:image/png;base64," in page
    assert "empty folder" in page and "drawn for a test" in page and "men among known" in page


@pytest.mark.parametrize(("change", "message"), [
    ("byte", "sha256 is not that of the manifest"), ("stray", "in no row of the manifest"), ("gone", "is not whole"),
    ("manifest", '"manifest.jsonl" was changed'), ("split", "is in the splits val and train"),
    ("twice", "is named twice"), ("count", "the card says 9 faces, the manifest has 8")])
def test_check_finds_every_damage(corpus, tmp_path, change, message):
    build_dataset(corpus[1], tmp_path / "data", SETTINGS)
    manifest, face = tmp_path / "data/manifest.jsonl", next((tmp_path / "data/faces").rglob("*.png"))
    text = manifest.read_text()
    if change == "byte":
        face.write_bytes(face.read_bytes()[:-1] + b"?")
    elif change == "gone":
        face.unlink()
    elif change == "stray":
        (tmp_path / "data/faces/extra.png").write_bytes(b"x")
    elif change == "count":
        card = (tmp_path / "data/card.json").read_text()
        (tmp_path / "data/card.json").write_text(card.replace('"faces": 8', '"faces": 9', 1))
    else:
        lines = text.splitlines(keepends=True)
        changed = {"manifest": text.replace("Person 0", "Person X"), "twice": text + lines[-1],
                   "split": "".join([lines[0].replace('"split": "train"', '"split": "val"'), *lines[1:]])}[change]
        manifest.write_text(changed)
    assert any(message in line for line in find_damage(Dataset(tmp_path / "data")))
