"""The projector command from outside: results, lines, the loss without weights, bad input."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dnnlib.files import sha256_file
from projector import projector
from torch_utils.images import read_png_text
from voice2style.command_line import generate


@pytest.fixture
def run(tiny_voice_model, tmp_path, monkeypatch):
    monkeypatch.setenv("V2S_METRIC_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def call(*arguments, door=projector, network=tiny_voice_model, exit_code=0):
        arguments = [*map(str, arguments), "--outdir", str(tmp_path / "out"), "--device=cpu", "--network", str(network)]
        result = CliRunner().invoke(door, arguments)
        assert result.exit_code == exit_code and "Traceback" not in result.output, result.output
        return result

    return call


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, [40, 30, 3], dtype=np.uint8)).save(path)
    return path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_what_it_writes(run, tmp_path, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = run("--target", picture, "--num-steps=4", "--space=W+", "--save-video=1")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["proj-frames", "proj.png", "projected_w.npz", "target.png"]
    assert [path.name for path in sorted((out / "proj-frames").iterdir())] == [f"{index:05d}.png" for index in range(4)]
    assert len(result.stdout.splitlines()) == 1 and "pixel distance" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and "instead of LPIPS" in lines[0] and "vgg16-397923af.pth" in lines[0]
    assert "imageio-ffmpeg is not installed" in lines[1]
    with np.load(out / "projected_w.npz") as stored:
        assert stored["w"].shape == (1, 6, 16) and stored["w"].dtype == np.float32
    assert pixels(out / "target.png").shape == (16, 16, 3)
    last = pixels(out / "proj-frames" / "00003.png")
    assert np.array_equal(last[:, :16], pixels(out / "target.png"))
    assert np.array_equal(last[:, 16:], pixels(out / "proj.png"))
    chunks = read_png_text(out / "proj.png")
    assert json.loads(chunks["ai:options"])["target_sha256"] == sha256_file(picture) and chunks["ai:seed"] == "303"
    assert "AI-generated" in chunks["Description"] and not read_png_text(out / "target.png")
    run("--projected-w", out / "projected_w.npz", door=generate)
    assert np.array_equal(pixels(out / "proj00.png"), pixels(out / "proj.png"))


def test_half_precision_blocks_draw_as_generate_draws_them(run, tmp_path, picture, tiny_half_model):
    run("--target", picture, "--num-steps=2", "--save-video=0", network=tiny_half_model)
    run("--projected-w", tmp_path / "out" / "projected_w.npz", door=generate, network=tiny_half_model)
    assert np.array_equal(pixels(tmp_path / "out" / "proj00.png"), pixels(tmp_path / "out" / "proj.png"))


def test_an_mp4_of_the_way(run, tmp_path, picture):
    encoder = pytest.importorskip("imageio_ffmpeg")
    run("--target", picture, "--num-steps=3", "--loss=pixels")
    assert next(encoder.read_frames(str(tmp_path / "out" / "proj.mp4")))["size"] == (32, 16)
    assert sha256_file(picture).encode() in (tmp_path / "out" / "proj.mp4").read_bytes()


def test_conditional_networks(run, tmp_path, picture, tiny_conditional_model):
    run("--target", picture, "--num-steps=1", "--class=1", "--save-video=0", network=tiny_conditional_model)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["proj.png", "projected_w.npz", "target.png"]


@pytest.mark.parametrize("arguments, told", [
    (["--target=missing.png"], 'No such file or directory: "missing.png"'),
    (["--num-steps=0"], "0 is not in the range"),
    (["--loss=lpips"], "LPIPS needs weights that are not there"), (["--vgg=none.pth"], 'no such file: "none.pth"'),
    (["--vgg={picture}"], "is not the VGG16 weights"), (["--loss=pixels", "--vgg=a"], "are for --loss lpips"),
    (["--space=z"], "'w', 'w+'"), (["--save-video=maybe"], "not a valid boolean"),
    (["--target={network}", "--loss=pixels"], "is not a picture"),
])
def test_bad_input(run, tmp_path, picture, tiny_voice_model, arguments, told):
    arguments = [argument.format(picture=picture, network=tiny_voice_model) for argument in arguments]
    result = run("--target", picture, *arguments, exit_code=2)
    assert told in result.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("out/*"))
