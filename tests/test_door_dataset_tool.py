"""dataset_tool.py from the command line: datasets, sheets, and one clear line for bad input."""

import pytest
from click.testing import CliRunner
from PIL import Image

import dataset_tool
from training.dataset import Dataset

SMALL = ["world", "--people", "3", "--resolution", "16", "--seconds", "0.2"]


def run(*words):
    return CliRunner().invoke(dataset_tool.main, [str(word) for word in words])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("door") / "small.zip"
    result = run(*SMALL, "--faces-per", 2, "--dest", path)
    assert result.exit_code == 0, result.output
    return path


def test_world_writes_a_dataset(data):
    dataset = Dataset(data)
    assert (len(dataset.people()), len(dataset.faces()), len(dataset.voices())) == (3, 6, 3)
    assert dataset.card["command"].startswith("python dataset_tool.py world --people 3 --faces-per 2")
    assert str(data) not in dataset.card["command"]


def test_world_says_what_it_wrote_and_takes_underscores(tmp_path):
    words = [
        "--clips_per",
        0,
        "--faces_per",
        1,
        "--first_person",
        40,
        "--audibility",
        0.5,
        "--nuisance",
        0,
        "--seed",
        3,
    ]
    result = run(*SMALL, *words, "--dest", tmp_path / "new" / "data")
    assert result.exit_code == 0, result.output
    assert "3 people, 3 faces of 16x16, 0 clips" in result.output
    dataset = Dataset(tmp_path / "new" / "data")
    assert [row["person"] for row in dataset.people()] == [40, 41, 42]
    assert dataset.card["world"]["audibility"] == 0.5 and not dataset.voices()


def test_show_draws_a_sheet(data, tmp_path):
    result = run("show", "--data", data, "--dest", tmp_path / "sheet.png", "--people", 2, "--cell", 32)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert f"{sheet.size[0]}x{sheet.size[1]}" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SMALL, "--people", 0], "--people 0: 1 or more is needed"),
        ([*SMALL, "--people", "many"], "not a valid integer"),
        ([*SMALL, "--faces-per", -2], "--faces-per -2: 0 or more"),
        ([*SMALL, "--resolution", 8], "resolution 8"),
        ([*SMALL, "--resolution", 100000], "resolution 100000"),
        ([*SMALL, "--seed", -1], "seed -1"),
        ([*SMALL, "--audibility", 1.5], "audibility 1.5"),
        ([*SMALL, "--nuisance", "nan"], "'--nuisance': nan is not a number"),
        ([*SMALL, "--seconds", "8-3"], "clips of 8.0 to 3.0 s"),
        ([*SMALL, "--seconds", "long"], "not a length in seconds"),
        ([*SMALL, "--audio", "mp3"], "'flac', 'wav'"),
        ([*SMALL, "--workers", 0], "--workers"),
        (["world"], "--people"),
    ],
)
def test_bad_numbers(words, message, tmp_path):
    result = run(*words, "--dest", tmp_path / "data.zip")
    assert result.exit_code == 2
    assert message in result.output and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_bad_destinations(data, tmp_path):
    (tmp_path / "file").write_text("x")
    for dest, message in ((data, "exists"), (tmp_path, "exists"), (tmp_path / "file" / "data.zip", "file")):
        result = run(*SMALL, "--dest", dest)
        assert result.exit_code == 2 and message in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_bad_data_for_show(data, tmp_path):
    (tmp_path / "text.zip").write_text("x")
    for source, dest, message in (
        (tmp_path / "nowhere", "sheet.png", "no dataset at"),
        (tmp_path / "text.zip", "sheet.png", "neither a folder nor a zip"),
        (data, "sheet.jpg", "does not end in .png"),
    ):
        result = run("show", "--data", source, "--dest", tmp_path / dest)
        assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    result = run("show", "--data", data, "--dest", tmp_path / "sheet.png", "--split", "test")
    assert result.exit_code == 2 and "in the split test" in result.output


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A plain corpus of two people on the disk, with one broken picture."""
    from small_corpus import write_corpus

    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root, people=2, faces=1, clips=1)
    (root / "faces" / "Person 0" / "broken.png").write_text("no picture")
    return root


def build_words(corpus, *more):
    return ["build", "--voices", corpus / "voices", "--faces", corpus / "faces", "--workers", 1, "--vad", "none",
            "--resolution", 32, *more]


@pytest.mark.parametrize("decoder, words", [(None, "1; nothing here decodes them"), ("PyAV", "1, decoded by PyAV")])
def test_who_decodes_m4a_is_said(corpus, tmp_path, monkeypatch, decoder, words):
    film = tmp_path / "voices" / "Person 0"
    film.mkdir(parents=True)
    (film / "1.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    monkeypatch.setattr("voice2style.audio.decoding.find_film_decoder", lambda: decoder)
    result = run(*build_words(corpus, "--voices", tmp_path / "voices", "--dest", tmp_path / "data"))
    assert result.exit_code == 0 and f"m4a, mp4 or the like: {words}" in result.output


def test_build_check_stats_and_report(corpus, tmp_path):
    dest = tmp_path / "data.zip"
    result = run(*build_words(corpus, "--split", "hash:100/0/0", "--dest", dest, "--report"))
    assert result.exit_code == 0, result.output
    assert "2 people, 2 faces, 2 clips; 1 rejected" in result.output
    assert "| gender unknown" in result.output and "| nationality | people |" in result.output  # found, and kept
    assert "2 faces came without landmarks" in result.output  # said once, loudly
    assert "no picture" not in (tmp_path / "data.html").read_text() and "broken.png" in (
        tmp_path / "data.html").read_text()
    result = run("check", "--data", dest)
    assert result.exit_code == 0 and "whole, 6 rows" in result.output
    result = run("stats", "--data", dest)
    assert result.exit_code == 0 and "face: not a picture" in result.output and "men among known" in result.output
    content = bytearray(dest.read_bytes())
    content[200] ^= 255
    (tmp_path / "bad.zip").write_bytes(content)
    result = run("check", "--data", tmp_path / "bad.zip")
    assert result.exit_code == 1 and "1 faults" in result.output


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_built(data, corpus, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "data.html").mkdir()
    for report in (("--report", tmp_path / "file" / "x.html"), ("--report",)):
        for words in (build_words(corpus, "--dest", tmp_path / "data.zip"),
                      ["merge", tmp_path / "nowhere", "--dest", tmp_path / "data.zip"],
                      *([["stats", "--data", data]] if len(report) > 1 else [])):
            result = run(*words, *report)
            assert result.exit_code == 2 and "cannot be written" in result.output, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.html", "file"]


def test_shards_and_merge_at_the_door(corpus, tmp_path):
    dest = tmp_path / "data.zip"
    words = build_words(corpus, "--split", "hash:100/0/0", "--dest", dest)
    assert "`merge` puts the parts together" in run(*words, "--shard", "1/1").output
    result = run("merge", f"{dest}.shard-1-of-1", "--dest", dest)
    assert result.exit_code == 0 and "2 people, 2 faces, 2 clips" in result.output
    result = run(*words)
    assert result.exit_code == 2 and "exists" in result.output


def test_the_published_form_makes_pictures(data, tmp_path):
    result = run("--source", data, "--dest", tmp_path / "out.zip", "--width", 32, "--height", 32, "--max_images", 4)
    assert result.exit_code == 0 and "4 images of 32x32" in result.output
    assert [row["label"] for row in Dataset(tmp_path / "out.zip").faces()] == [0, 0, 1, 1]


@pytest.mark.parametrize(("words", "message"), [
    (["build", "--dest", "x.zip"], "give --voices, --faces, or both"),
    (["build", "--voices", "nowhere", "--faces", "nowhere", "--dest", "x.zip"], "nowhere"),
    (["build", "--faces", ".", "--resolution", 4, "--dest", "x.zip"], "--resolution 4"),
    (["build", "--faces", ".", "--shard", "3/2", "--dest", "x.zip"], "not a shard such as 2/8"),
    (["build", "--faces", ".", "--detector", "dlib", "--dest", "x.zip"], "dlib needs --model"),
    (["build", "--faces", ".", "--model", "a.dat", "--dest", "x.zip"], "no detector was given"),
    (["build", "--faces", ".", "--min-sharpness", "much", "--dest", "x.zip"], "neither a number nor none"),
    (["merge", "nowhere", "--dest", "x.zip"], "is no shard of a build"),
    (["check", "--data", "nowhere"], "no dataset at"), (["stats", "--data", "nowhere"], "no dataset at"),
    (["--source", "nowhere", "--dest", "x.zip"], "no pictures at"),
    (["--source", ".", "--dest", "x.zip", "--width", 8], "belong together"),
    (["--source", ".", "--dest", "x.zip", "--transform", "center-crop"], "needs --resolution")])
def test_bad_input_of_the_commands_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
