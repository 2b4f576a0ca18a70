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
        ([*SMALL, "--nuisance", "nan"], "nuisance nan"),
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
