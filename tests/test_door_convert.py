"""convert.py from outside: what it writes and prints, and one clear line with nothing left behind for bad input."""

import pathlib
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from test_voice2style_writers import save_networks

import convert
import voice2style
from voice2style.writers import WRITERS


def run(*words):
    return CliRunner().invoke(convert.convert, [str(word) for word in words])


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "networks.safetensors"
    save_networks(path)
    return path


def refused(result, *words):
    """Holds a refusal to its form: exit code 2 and one line, without a traceback, that has these words."""
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    assert not result.stdout and "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert all(word in line for word in words), line


def test_writes_and_says_what(networks, tmp_path):
    result = run("--source", networks, "--dest", tmp_path / "new" / "a.pt")
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "new" / "a.pt") in result.stdout and "note: " in result.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.pt"]
    assert voice2style.load_networks(tmp_path / "new" / "a.pt").D is not None


def test_takes_file_urls(networks, tmp_path):
    result = run("--source", networks.as_uri(), "--dest", tmp_path / "a.safetensors", "--format", "plain")
    assert result.exit_code == 0, result.output


def test_replaces_a_file_only_when_told(networks, tmp_path):
    dest = tmp_path / "a.pt"
    dest.write_bytes(b"precious")
    refused(run("--source", networks, "--dest", dest), "is there already", "--overwrite=1")
    assert dest.read_bytes() == b"precious"
    refused(run("--source", networks, "--dest", dest, "--overwrite=0"), "is there already")
    assert run("--source", networks, "--dest", dest, "--overwrite=1").exit_code == 0
    assert torch.load(dest, weights_only=True).keys() == {"g_ema", "g", "d", "latent_avg"}


def test_a_file_may_replace_itself(tmp_path):
    path = tmp_path / "a.safetensors"
    wanted = save_networks(path)
    before = path.read_bytes()
    assert run("--source", path, "--dest", path, "--overwrite=1").exit_code == 0
    assert path.read_bytes() == before and wanted


def test_a_failure_leaves_the_old_file(networks, tmp_path):
    source, dest = tmp_path / "c.safetensors", tmp_path / "a.pt"
    save_networks(source, roles=("G_ema",), c_dim=2)
    dest.write_bytes(b"precious")
    refused(run("--source", source, "--dest", dest, "--overwrite=1"), "conditional")
    assert dest.read_bytes() == b"precious" and {path.name for path in tmp_path.iterdir()} == {"c.safetensors", "a.pt"}


@pytest.mark.parametrize("switch", [["--list"], ["--list=1"]])
def test_lists_names_shapes_and_types_and_stops(networks, tmp_path, switch):
    result = run("--source", networks, *switch, "--dest", tmp_path / "a.pt")
    assert result.exit_code == 0 and not (tmp_path / "a.pt").exists()
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "[8, 4, 4]" in rows["G_ema.synthesis.b4.const"] and "float32" in rows["G_ema.synthesis.b4.const"]
    assert "D.b4.out.weight" in rows and "[]" in rows["G.synthesis.b8.conv0.noise_strength"]


def test_info_tells_kind_configuration_and_card(tiny_voice_model):
    result = run("--source", tiny_voice_model, "--info")
    assert result.exit_code == 0, result.output
    for part in ("what it is: voice2style", "img_resolution: 16", "channels: 8, 8, 8", "D: none in this file",
                 "encoder: se_resnet", '"licence": "Apache-2.0"', "sha256"):
        assert part in result.stdout


def test_info_of_a_file_without_a_card(networks, tmp_path):
    assert run("--source", networks, "--dest", tmp_path / "a.pt").exit_code == 0
    result = run("--source", tmp_path / "a.pt", "--info", "--list")
    assert "what it is: rosinality" in result.stdout and "card: none in this file" in result.stdout
    assert "G_ema.synthesis.b4.const" in result.stdout


def test_bad_input_ends_in_one_line(networks, tmp_path):
    rubbish = tmp_path / "rubbish.pkl"
    rubbish.write_bytes(b"this is no network at all")
    refused(run("--source", networks), "--dest")
    refused(run("--source", tmp_path / "none.pkl", "--dest", tmp_path / "a.pt"), "no such file")
    refused(run("--source", rubbish, "--dest", tmp_path / "a.pt"), "is not read")
    refused(run("--source", rubbish, "--info"), "is not read")
    refused(run("--source", networks, "--dest", tmp_path / "a.tflite"), ".safetensors (voice2style)", ".onnx (onnx)")
    refused(run("--source", networks, "--dest", tmp_path / "a.pt", "--format", "plain"), "ends in .safetensors")
    refused(run("--source", networks, "--dest", tmp_path / "a.pt", "--format", "caffe"), "caffe")
    refused(run("--source", networks, "--dest", tmp_path), "is a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["rubbish.pkl"]


def test_the_door_offers_every_form_and_starts_without_torch():
    assert tuple(WRITERS) == convert.FORMS
    code = "import convert, sys; sys.exit('torch' in sys.modules)"
    root = pathlib.Path(convert.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
