"""doctor.py: true facts, a remedy for each lack, and an exit code that tells whether the main way works."""

import hashlib
import importlib.metadata
import json

import pytest
from click.testing import CliRunner

import doctor
from voice2style import diagnosis, pipeline
from voice2style.diagnosis import METRIC_WEIGHTS, Weights, examine


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Looks for caches and weights in an empty folder."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "dnnlib"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("V2S_METRIC_WEIGHTS", raising=False)


@pytest.fixture
def working(monkeypatch, tiny_voice_model):
    """Takes the tiny model for the demo model."""
    monkeypatch.setattr(pipeline, "DEMO_MODEL", tiny_voice_model)


def run(*words):
    return CliRunner().invoke(doctor.doctor, words)


def test_a_working_installation_ends_in_0(working):
    result = run()
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("drawing a face for a voice works.")
    assert importlib.metadata.version("torch") in result.stdout and "threads of torch  " in result.stdout


def test_json_has_the_same_facts(working):
    result = run("--json=1")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0 and facts["works"] is True and facts["demo_model"]["hears"] is True
    assert facts["versions"]["numpy"] == importlib.metadata.version("numpy")
    assert set(facts["metric_weights"]) == {weights.name for weights in METRIC_WEIGHTS}
    assert all(lack["what"] and lack["do"] for lack in facts["lacks"])
    assert "wav" in facts["audio"]["reads"] and "flac" in facts["audio"]["reads"]


def test_it_draws_for_the_recording_beside_the_model(monkeypatch, tiny_voice_model, tmp_path):
    from conftest import speech_like
    from soundfile import write

    (tmp_path / "demo.safetensors").write_bytes(tiny_voice_model.read_bytes())
    write(tmp_path / "hello.wav", speech_like(2.0), 16000)
    monkeypatch.setattr(pipeline, "DEMO_MODEL", tmp_path / "demo.safetensors")
    assert examine().sections["demo_model"]["draws"] == "16 x 16 pixels for hello.wav"


def test_without_the_demo_model_it_ends_in_2_and_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "DEMO_MODEL", tmp_path / "model.safetensors")
    result = run()
    assert result.exit_code == 2 and "the demo model is not there" in result.stdout
    assert result.stdout.rstrip().endswith("does NOT work, see above.")


def test_a_damaged_demo_model_is_a_lack_and_no_traceback(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 40)
    monkeypatch.setattr(pipeline, "DEMO_MODEL", tmp_path / "model.safetensors")
    result = run()
    assert result.exit_code == 2 and "the demo model does not work" in result.stdout
    assert "Traceback" not in result.output


def test_a_missing_package_is_named_with_its_remedy(working, monkeypatch):
    honest = diagnosis.version_of
    monkeypatch.setattr(diagnosis, "version_of", lambda name, module: None if name in ("lpips", "soxr", "onnx")
                        else honest(name, module))
    report = examine()
    lacks = dict(report.lacks)
    assert lacks["lpips is not installed (perceptual distances)"] == "pip install lpips"
    assert lacks["soxr is not installed (recordings of other sample rates)"] == "pip install soxr"
    assert any("onnx" in what and remedy == "pip install 'voice2style[onnx]'" for what, remedy in report.lacks)
    assert not report.works


def test_weights_are_found_in_every_place_and_held_against_their_checksum(working, monkeypatch, tmp_path):
    content = b"weights of a test"
    weights = Weights("net.pth", hashlib.sha256(content).hexdigest(), "https://example.org/net.pth", "a test")
    monkeypatch.setattr(diagnosis, "METRIC_WEIGHTS", (weights,))
    assert examine().sections["metric_weights"]["net.pth"] == "not there"
    key = hashlib.md5(weights.url.encode()).hexdigest()
    monkeypatch.setenv("V2S_METRIC_WEIGHTS", str(tmp_path / "own"))
    # each place comes before the last one
    for path in (tmp_path / "torch" / "hub" / "checkpoints" / "net.pth",
                 tmp_path / "dnnlib" / "downloads" / f"{key}_net.pth", tmp_path / "own" / "net.pth"):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        assert examine().sections["metric_weights"]["net.pth"] == f"{path}, sha256 ok"
    path.write_bytes(b"something else")
    report = examine()
    assert report.sections["metric_weights"]["net.pth"].endswith("NOT ok")
    assert any("another sha256" in what and "example.org" in remedy for what, remedy in report.lacks)


def test_the_place_in_the_download_cache_is_the_published_one():
    """The md5 that StyleGAN2's own cache gives the published address of Inception."""
    import pathlib

    folder = diagnosis.cache_dir("downloads")
    folder.mkdir(parents=True)
    (folder / "a866f8d678872dcf6fcf60ddd09807ab_inception-2015-12-05.pt").touch()
    assert pathlib.Path(folder, "a866f8d678872dcf6fcf60ddd09807ab_inception-2015-12-05.pt") in \
        diagnosis.weight_places(METRIC_WEIGHTS[0])


def test_native_sources_are_seen_when_they_are_there(monkeypatch, tmp_path):
    import torch_utils.ops

    (tmp_path / "bias_act.py").touch()
    monkeypatch.setattr(torch_utils.ops, "__file__", str(tmp_path / "__init__.py"))
    report = diagnosis.Report({}, [])
    absent = {"c++": "not found", "nvcc": "not found", "ninja": "/bin/ninja"}
    assert "not part of this version" in diagnosis._operators(absent, report)["native ops"] and not report.lacks
    (tmp_path / "bias_act.cpp").touch()
    assert diagnosis._operators(absent, report)["native sources"] == ["bias_act"]
    assert "c++ not found" in report.lacks[0][0]
