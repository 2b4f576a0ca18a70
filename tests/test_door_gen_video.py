"""The film command from outside: frames of seeds, codes and voices, the closed loop, bad input."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import voice2style
from dnnlib.files import sha256_file
from gen_video import gen_video
from torch_utils.images import read_png_text
from voice2style import faces, video
from voice2style.command_line import generate
from voice2style.signing import SignedModel


@pytest.fixture
def run(tiny_voice_model, tmp_path):
    def call(*arguments, door=gen_video, network=tiny_voice_model, exit_code=0):
        arguments = [*map(str, arguments), "--device=cpu", "--network", str(network)]
        arguments += ["--outdir", str(tmp_path)] if door is generate else []
        arguments += [] if door is generate or "--output" in arguments else ["--output", str(tmp_path / "film")]
        result = CliRunner().invoke(door, arguments)
        assert result.exit_code == exit_code and "Traceback" not in result.output, result.output
        return result

    return call


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_keyframes_of_seeds_are_generates_pictures(run, tmp_path):
    result = run("--seeds=1-4", "--grid=2x1", "--w-frames=3", "--trunc=0.7")
    run("--seeds=1-4", "--trunc=0.7", door=generate)
    frames = sorted((tmp_path / "film").iterdir())
    assert len(frames) == 6 and "6 frames, 0.1 s, a closed loop" in result.stdout
    for index, seeds in ((0, (1, 3)), (3, (2, 4))):
        expected = np.concatenate([pixels(tmp_path / f"seed{seed:04d}.png") for seed in seeds], axis=1)
        assert np.abs(pixels(frames[index]).astype(int) - expected).max() <= 1  # the spline works in float64
    chunks = read_png_text(frames[1])
    assert chunks["ai:seed"] == "1,2,3,4" and json.loads(chunks["ai:options"])["grid"] == [2, 1]


def test_the_frame_after_the_last_is_the_first(tiny_voice_model):
    model = voice2style.load(tiny_voice_model, device="cpu")
    keyframes = np.concatenate([faces.seed_codes(model, seed, psi=1) for seed in range(3)])
    wishes = video.VideoWishes("film", seeds=(0, 1, 2), w_frames=4)
    film = video.Film(SignedModel(model, "m", "0"), wishes, [video.closed_path(keyframes)])
    assert np.array_equal(film.frame(12), film.frame(0)) and not np.array_equal(film.frame(11), film.frame(0))


def test_voices_move_from_one_to_the_next(run, voice, tmp_path):
    wavs = [voice("secret-a.wav", seed=1), voice("b.wav", seed=2, pitch_hz=220)]
    result = run("--wav", *wavs, "--w-frames=2")
    run("--wav", *wavs, door=generate)
    for index, name in ((0, "secret-a"), (2, "b")):
        frame = pixels(tmp_path / "film" / f"{index:05d}.png")
        assert np.abs(frame.astype(int) - pixels(tmp_path / f"{name}.png")).max() <= 1
    chunks = read_png_text(tmp_path / "film" / "00001.png")
    assert chunks["ai:audio_sha256"] == ",".join(map(sha256_file, wavs)) and "secret" not in "".join(chunks.values())
    assert len(result.stdout.splitlines()) == 3 and not result.stderr


def test_stored_codes_and_mp4(run, tmp_path):
    encoder = pytest.importorskip("imageio_ffmpeg")
    np.savez(tmp_path / "codes.npz", w=np.random.default_rng(0).standard_normal([2, 1, 16]))
    run("--projected-w", tmp_path / "codes.npz", "--w-frames=4", "--kind=linear", "--output", tmp_path / "a.mp4",
        "--num_keyframes=3", "--shuffle-seed=1", "--fps=25")
    frames = encoder.read_frames(str(tmp_path / "a.mp4"))
    assert next(frames)["fps"] == 25 and len(list(frames)) == 12
    assert b"not evidence of identity" in (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize("arguments, told", [
    ([], "one of them"), (["--seeds=1", "--wav=a.wav"], "one of them"), (["--seeds=1-3", "--grid=2x1"], "do not fill"),
    (["--seeds=1", "--output", "a.gif"], "an .mp4 file, or a folder"), (["--wav=none.wav"], "no such file"),
    (["--projected-w=none.npz"], "no such file"), (["--seeds=1", "--grid=2"], "not a size such as 4x2"),
    (["--seeds=1", "--w-frames=0"], "not in the range"), (["--seeds=1", "--fps=0"], "not in the range"),
])
def test_bad_input(run, tmp_path, arguments, told):
    result = run(*arguments, exit_code=2)
    assert told in result.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_networks_that_cannot_do_what_is_wished(run, voice, tmp_path, tiny_conditional_model):
    wav = voice("a.wav", 1.0)
    assert "no voice path" in run("--wav", wav, network=tiny_conditional_model, exit_code=2).stderr
    assert "--class with a number" in run("--seeds=1,2", network=tiny_conditional_model, exit_code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("name", ["a.wav/film", "a.wav/film.mp4"])
def test_a_film_that_cannot_be_written_is_refused_before_a_voice_is_heard(run, voice, tmp_path, monkeypatch, name):
    wav = voice("a.wav", 1.0)
    monkeypatch.setattr("voice2style.listening.listen", lambda *_, **__: pytest.fail("heard"))
    told = run("--wav", wav, "--output", tmp_path / name, exit_code=2).stderr
    assert "--output" in told and "cannot be written (Not a directory); give another place" in told
