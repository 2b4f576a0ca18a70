"""The generate command from outside: results and their names, lines, exit codes, every kind of bad input."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import speech_like
from PIL import Image

from dnnlib.files import sha256_file
from torch_utils.images import XMP_KEYWORD, read_png_text
from voice2style.command_line import generate

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def run(tiny_voice_model, tmp_path):
    """Calls the command on the tiny model; writes into tmp_path/out."""

    def call(*arguments, network=tiny_voice_model, exit_code=0):
        arguments = [str(argument) for argument in arguments]
        if not any(argument.startswith("--outdir") for argument in arguments):
            arguments += ["--outdir", str(tmp_path / "out")]
        result = CliRunner().invoke(generate, [*arguments, "--device=cpu", "--network", str(network)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == exit_code, result.output
        assert "Traceback" not in result.output
        return result

    return call


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- what it writes ----------------------------------------------------------------------------------------------

def test_a_voice_gives_a_picture_its_codes_and_a_line(run, voice, tmp_path):
    result = run("--wav", voice("hello.wav", 4.0))
    assert names(tmp_path / "out") == ["hello.npz", "hello.png"]
    assert pixels(tmp_path / "out" / "hello.png").shape == (16, 16, 3)
    with np.load(tmp_path / "out" / "hello.npz") as stored:
        assert stored["w"].shape == (1, 6, 16) and stored["w"].dtype == np.float32
    assert len(result.stdout.splitlines()) == 1 and not result.stderr
    assert re.search(r"hello\.wav.* -> .*hello\.png.*: [123]\.\d s of speech in 4\.0 s", result.stdout)


def test_every_picture_carries_its_provenance(run, voice, tmp_path, tiny_voice_model):
    wav = voice("secret-name.wav")
    run("--wav", wav, "--num-faces=2", "--grid=1", "--trunc=0.5", "--seed=9")
    assert names(tmp_path / "out") == ["grid.png", "secret-name-0.npz", "secret-name-0.png", "secret-name-1.npz",
                                       "secret-name-1.png"]
    for name in ("grid", "secret-name-0", "secret-name-1"):
        chunks = read_png_text(tmp_path / "out" / f"{name}.png")
        assert chunks["Software"].startswith("voice2style ")
        assert chunks["Description"] == ("AI-generated; one of many faces compatible with this voice; "
                                         "not evidence of identity")
        assert chunks["ai:model"] == tiny_voice_model.name
        assert chunks["ai:model_sha256"] == sha256_file(tiny_voice_model)
        assert chunks["ai:audio_sha256"] == sha256_file(wav) and chunks["ai:seed"] == "9"
        assert "digitalsourcetype/trainedAlgorithmicMedia" in chunks[XMP_KEYWORD]
        assert "secret-name" not in "".join(chunks.values()) and str(tmp_path) not in "".join(chunks.values())
        options = json.loads(chunks["ai:options"])
        assert options["noise_mode"] == "const" and options["num_faces"] == 2
    assert json.loads(read_png_text(tmp_path / "out" / "secret-name-1.png")["ai:options"])["psi"] == 0.5


def test_stored_codes_draw_the_same_picture(run, voice, tmp_path):
    run("--wav", voice("a.wav"))
    run("--projected-w", tmp_path / "out" / "a.npz")
    assert np.array_equal(pixels(tmp_path / "out" / "proj00.png"), pixels(tmp_path / "out" / "a.png"))
    assert "stored codes" in read_png_text(tmp_path / "out" / "proj00.png")["Description"]


def test_seeds_are_lists_and_ranges(run, tmp_path):
    run("--seeds=0,3,5-7", "--trunc=0.7")
    assert names(tmp_path / "out") == [f"seed{seed:04d}.png" for seed in (0, 3, 5, 6, 7)]
    assert "ai:audio_sha256" not in read_png_text(tmp_path / "out" / "seed0003.png")


def test_a_picture_does_not_depend_on_what_else_is_drawn(run, voice, tmp_path):
    a, b = voice("a.wav", seed=1), voice("b.wav", 3.0, seed=2, pitch_hz=220)
    run("--wav", a, "--num-faces=3", "--noise-mode=random", "--outdir", tmp_path / "alone")
    run("--wav", b, a, "--num-faces=5", "--noise-mode=random", "--outdir", tmp_path / "both")
    for k in range(3):
        assert np.array_equal(pixels(tmp_path / "alone" / f"a-{k}.png"), pixels(tmp_path / "both" / f"a-{k}.png"))
    run("--seeds=4", "--noise-mode=random", "--outdir", tmp_path / "alone")
    run("--seeds=3-5", "--noise-mode=random", "--outdir", tmp_path / "both")
    assert np.array_equal(pixels(tmp_path / "alone" / "seed0004.png"), pixels(tmp_path / "both" / "seed0004.png"))
    run("--wav", a, "--outdir", tmp_path / "one")
    run("--wav", a, "--num-faces=2", "--outdir", tmp_path / "one")
    assert np.array_equal(pixels(tmp_path / "one" / "a.png"), pixels(tmp_path / "one" / "a-0.png"))


def test_the_seed_changes_further_faces_only(run, voice, tmp_path):
    for seed in (1, 2):
        run("--wav", voice("a.wav"), "--num-faces=2", f"--seed={seed}", "--outdir", tmp_path / str(seed))
    same = [np.array_equal(*(pixels(tmp_path / seed / f"a-{k}.png") for seed in "12")) for k in (0, 1)]
    assert same == [True, False]


def test_two_voices_give_two_faces(run, voice, tmp_path):
    run("--wav", voice("low.wav", pitch_hz=100), "--wav", voice("high.wav", pitch_hz=240))
    assert not np.array_equal(pixels(tmp_path / "out" / "low.png"), pixels(tmp_path / "out" / "high.png"))


def test_folders_and_names_that_clash(run, voice, tmp_path):
    voice("in/x/a.wav"), voice("in/y/a.wav", pitch_hz=240), voice("in/b.flac"), voice("in/grid.ogg")
    result = run("--wav", tmp_path / "in", "--grid=1")
    assert [name for name in names(tmp_path / "out") if name.endswith("png")] == [
        "b.png", "grid.png", "grid_ogg.png", "x_a.png", "y_a.png"]
    assert len(result.stdout.splitlines()) == 5
    assert pixels(tmp_path / "out" / "grid.png").shape == (32, 32, 3)


def test_a_second_run_replaces_the_first(run, voice, tmp_path):
    wav = voice("a.wav")
    run("--wav", wav)
    first = pixels(tmp_path / "out" / "a.png")
    run("--wav", wav, "--trunc=-1")
    assert not np.array_equal(first, pixels(tmp_path / "out" / "a.png"))
    assert names(tmp_path / "out") == ["a.npz", "a.png"]


@pytest.mark.parametrize("grid, shape", [("1", (32, 32)), ("true", (32, 32)), ("3x1", (16, 48)), ("1,4", (64, 16)),
                                         ("2x1", (32, 32))])
def test_sheets(run, tmp_path, grid, shape):
    run("--seeds=0-2", f"--grid={grid}")
    assert pixels(tmp_path / "out" / "grid.png").shape[:2] == shape


def test_no_sheet(run, tmp_path):
    run("--seeds=0", "--grid=0")
    assert names(tmp_path / "out") == ["seed0000.png"]


def test_underscores_and_booleans(run, voice, tmp_path):
    run("--wav", voice("a.wav"), "--num_faces=2", "--noise_mode", "none", "--force_fp32=False", "--grid", "true")
    assert "a-1.png" in names(tmp_path / "out")


def test_conditional_networks(run, tmp_path, tiny_conditional_model):
    for label in (0, 1):
        run("--seeds=1", f"--class={label}", "--outdir", tmp_path / str(label), network=tiny_conditional_model)
    assert not np.array_equal(pixels(tmp_path / "0" / "seed0001.png"), pixels(tmp_path / "1" / "seed0001.png"))
    for extra in ([], ["--class=3"]):
        result = run("--seeds=1", *extra, network=tiny_conditional_model, exit_code=2)
        assert "--class with a number from 0 to 2" in result.stderr
    assert "--class is ignored" in run("--seeds=1", "--class=1").stderr


# ---- recordings that need a word ---------------------------------------------------------------------------------

def write(path, samples, rate=16000, **wishes):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **wishes)
    return path


def mean_face(run, tmp_path):
    run("--wav", write(tmp_path / "quiet" / "zero.wav", np.zeros(32000)), "--outdir", tmp_path / "mean")
    return pixels(tmp_path / "mean" / "zero.png")


@pytest.mark.parametrize("samples, told", [
    (np.zeros(48000), "silen"), (speech_like(0.5, pauses=False), "under 1 s"), (np.array([0.5]), "nothing to hear"),
])
def test_too_little_speech_draws_the_mean_face_and_says_why(run, tmp_path, samples, told):
    result = run("--wav", write(tmp_path / "a.wav", samples))
    assert len(result.stdout.splitlines()) == 1
    assert "mean face" in result.stdout and told in result.stdout.lower()
    assert np.array_equal(pixels(tmp_path / "out" / "a.png"), mean_face(run, tmp_path))


def test_little_speech_is_told(run, voice):
    told = "little speech: from under 3 s"
    assert told in run("--wav", voice("short.wav", seconds=2.5, pauses=False)).stdout
    assert told not in run("--wav", voice("long.wav", seconds=5.0)).stdout


def test_clipping_is_told(run, tmp_path):
    loud = np.clip(speech_like(4.0) * 10, -1, 1)
    assert "clip" in run("--wav", write(tmp_path / "a.wav", loud)).stdout


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_other_rates(run, tmp_path, rate):
    result = run("--wav", write(tmp_path / "a.wav", speech_like(3.0, sample_rate_hz=rate), rate))
    assert "in 3.0 s" in result.stdout and ("4 kHz" in result.stdout) == (rate == 8000)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_other_formats(run, tmp_path, suffix):
    assert "s of speech" in run("--wav", write(tmp_path / f"a.{suffix}", speech_like(3.0))).stdout


def test_names_that_a_terminal_cannot_show(tiny_voice_model, voice, tmp_path):
    arguments = ["--wav", str(voice("głos.wav")), "--outdir", str(tmp_path / "out"), "--network", str(tiny_voice_model)]
    result = CliRunner(charset="ascii").invoke(generate, arguments)
    assert result.exit_code == 0 and "g\\u0142os.png" in result.stdout, result.output
    assert names(tmp_path / "out") == ["głos.npz", "głos.png"]


def test_stereo(run, tmp_path):
    wave = speech_like(3.0)
    run("--wav", write(tmp_path / "mono.wav", wave), write(tmp_path / "stereo.wav", np.stack([wave, wave], 1)))
    assert np.array_equal(pixels(tmp_path / "out" / "mono.png"), pixels(tmp_path / "out" / "stereo.png"))


# ---- bad input: one line, exit code 2, the others are done -------------------------------------------------------

def bad_files(folder):
    """Returns path -> a word of the line about it."""
    good = write(folder / "source.wav", speech_like(2.0)).read_bytes()
    (folder / "source.wav").unlink()
    makers = {
        "empty.wav": (b"", "empty"), "text.wav": (b"this is a text, not a sound\n" * 20, "not an audio file"),
        "header.wav": (good[:30], "header"), "random.mp3": (bytes(range(256)) * 8, ""),
    }
    for name, (content, _) in makers.items():
        (folder / name).write_bytes(content)
    told = {folder / name: word for name, (_, word) in makers.items()}
    told[write(folder / "zero.wav", np.zeros(0))] = "no samples"
    broken = speech_like(2.0)
    broken[[100, 200]] = np.nan, np.inf
    told[write(folder / "nan.wav", broken, subtype="FLOAT")] = "2 "
    flac = write(folder / "cut.flac", speech_like(2.0))
    flac.write_bytes(flac.read_bytes()[:4000])
    told[flac] = ""
    told[folder / "missing.wav"] = "no such file"
    (folder / "hollow").mkdir()
    told[folder / "hollow"] = "no audio files"
    return told


def test_each_bad_file_costs_one_line_and_the_others_are_done(run, voice, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    told = bad_files(bad)
    result = run("--wav", voice("good.wav"), *told, voice("fine.wav"), exit_code=2)
    assert names(tmp_path / "out") == ["fine.npz", "fine.png", "good.npz", "good.png"]
    lines = result.stderr.splitlines()
    for path, word in told.items():
        about = [line for line in lines if path.name in line]
        assert len(about) == 1 and word in about[0].lower(), (path, about)
    assert lines[-1] == f"{len(told)} of {len(told) + 2} failed." and len(lines) == len(told) + 1
    assert len(result.stdout.splitlines()) == 2


def test_a_wav_whose_data_is_cut_short_is_still_drawn(run, tmp_path):
    path = write(tmp_path / "a.wav", speech_like(6.0))
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])
    run("--wav", path)
    endless = bytearray(write(tmp_path / "b.wav", speech_like(3.0)).read_bytes())
    endless[40:44] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "b.wav").write_bytes(endless)
    run("--wav", tmp_path / "b.wav")


def one_line(result, *words):
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and not result.stdout, result.output
    for word in words:
        assert word in lines[0], lines[0]


def test_bad_files_alone(run, tmp_path):
    one_line(run("--wav", tmp_path / "missing.wav", exit_code=2), "missing.wav", "no such file")
    assert not (tmp_path / "out").exists()
    (tmp_path / "a.wav").write_bytes(b"")
    one_line(run("--wav", tmp_path / "a.wav", exit_code=2), "a.wav", "empty")


@pytest.mark.parametrize("trunc", ["2.5", "-3", "nan", "inf", "much"])
def test_trunc_out_of_range(run, trunc):
    one_line(run("--seeds=1", "--trunc", trunc, exit_code=2), "--trunc", trunc, "from -1", "to 2")


@pytest.mark.parametrize("device, told", [("cuda:9", "not available"), ("gpu", "unknown device"), ("cpu:1", "unknown"),
                                          ("cuda:x", "unknown")])
def test_unknown_devices(tiny_voice_model, tmp_path, device, told):
    result = CliRunner().invoke(generate, ["--seeds=1", "--device", device, "--network", str(tiny_voice_model),
                                           "--outdir", str(tmp_path)])
    assert result.exit_code == 2
    one_line(result, device, told)


def test_wrong_networks(run, tmp_path, tiny_voice_model, tiny_conditional_model, voice):
    whole = tiny_voice_model.read_bytes()
    for name, content, told in [("cut.safetensors", whole[:-100], "truncated"), ("empty.safetensors", b"", "empty"),
                                ("text.pkl", b"not a network at all", ""), ("folder", None, "folder"),
                                ("half.safetensors", whole[:200], "truncated")]:
        path = tmp_path / name
        path.write_bytes(content) if content is not None else path.mkdir()
        one_line(run("--seeds=1", network=path, exit_code=2), name, told)
    one_line(run("--seeds=1", network=tmp_path / "nowhere.pkl", exit_code=2), "nowhere.pkl", "no such file")
    one_line(run("--wav", voice("a.wav"), network=tiny_conditional_model, exit_code=2), "no voice path")


def test_folders_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for outdir in (tmp_path / "file", tmp_path / "file" / "below"):
        one_line(run("--seeds=1", "--outdir", outdir, exit_code=2), "--outdir", "in the way")
    one_line(run("--seeds=1", "--outdir", "", exit_code=2), "--outdir is empty")  # an unset variable, say
    one_line(run("--seeds=1", "--outdir=/proc/nowhere", exit_code=2), "--outdir", "cannot write")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_folders_without_permission(run, tmp_path, voice):
    voice("in/a.wav")
    for folder, mode in ((tmp_path / "closed", 0o555), (tmp_path / "in", 0o000)):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    one_line(run("--seeds=1", "--outdir", tmp_path / "closed", exit_code=2), "cannot write")
    one_line(run("--wav", tmp_path / "in", exit_code=2), "cannot read")
    (tmp_path / "in").chmod(0o755)


def test_a_full_disk_is_one_line_and_leaves_nothing_partial(run, voice, tmp_path, monkeypatch):
    from PIL import Image as pillow

    def full(self, path, **wishes):
        pathlib.Path(path).write_bytes(b"half a pict")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pillow.Image, "save", full)
    result = run("--wav", voice("a.wav"), exit_code=2)
    one_line(result, "a.wav", "No space left on device")
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("content, told", [
    (None, "no such file"), (b"text", "not an .npz file"), ({"v": np.zeros([1, 6, 16])}, "key w"),
    ({"w": np.zeros([6, 16])}, "[6, 16]"), ({"w": np.zeros([1, 5, 16])}, "takes [N, 6, 16]"),
    ({"w": np.full([1, 6, 16], np.nan)}, "finite"), ({"w": np.array([{}])}, "not an .npz file of codes"),
])
def test_wrong_codes(run, tmp_path, content, told):
    path = tmp_path / "codes.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    one_line(run("--projected-w", path, exit_code=2), "codes.npz", told)


@pytest.mark.parametrize("arguments, told", [
    ([], "say what to draw"), (["--seeds=1", "--wav=a.wav"], "give one of them"), (["--seeds=9-3"], "runs backwards"),
    (["--seeds=1", "--num-faces=2"], "are for voices"), (["--seeds=1", "--grid=maybe"], "grid"),
    (["--seeds=1", "--noise-mode=loud"], "noise-mode"), (["--wav=a.wav", "--num-faces=0"], "num-faces"),
])
def test_options_that_do_not_fit_together(run, arguments, told):
    assert told in run(*arguments, exit_code=2).stderr


# ---- the real process --------------------------------------------------------------------------------------------

def test_the_script_runs_from_anywhere_and_imports_nothing_heavy(tiny_voice_model, voice, tmp_path):
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, str(ROOT / "generate.py"), "--wav", str(voice("a.wav")), "--outdir", "out", "--network",
               str(tiny_voice_model)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and (tmp_path / "out" / "a.png").exists()
    imported = {line.rsplit("|")[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "torch" in imported
    heavy = {"librosa", "scipy", "numba", "torchvision", "matplotlib", "sklearn", "pandas", "training", "metrics"}
    assert not imported & heavy


def test_ctrl_c_ends_with_130_and_leaves_no_partial_file(tiny_voice_model, voice, tmp_path):
    wave = voice("v.wav", 2.0).read_bytes()
    for i in range(30):
        (tmp_path / "in" / f"v{i:02d}.wav").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"v{i:02d}.wav").write_bytes(wave)
    command = [sys.executable, str(ROOT / "generate.py"), "--wav", str(tmp_path / "in"), "--num-faces=40", "--outdir",
               str(tmp_path / "out"), "--network", str(tiny_voice_model)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert "v00.wav" in child.stdout.readline()  # from here on pictures are being written
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in errors
    assert not [name for name in names(tmp_path / "out") if name.startswith(".") or ".part" in name]
