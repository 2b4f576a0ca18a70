"""Training of the recogniser: it learns people, goes on exactly after a stop, and refuses what it cannot learn from."""

import dataclasses
import fcntl
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import dataset_tool
import training.recogniser_loop as recogniser_loop
import training.recogniser_subjects as subjects
from metrics.judges.face_id import load_recogniser
from metrics.judges.speaker_id import load_speaker
from training.recogniser_loop import margin_loss, train_recogniser
from training.recogniser_settings import RecogniserSettings, SpeakerSettings

TINY = RecogniserSettings(width=4, embed_dim=16, resolution=32, batch=16, steps=8, warmup_steps=4, tick_steps=2,
                          snapshot_ticks=2)


@pytest.fixture(scope="module")
def faces32(tmp_path_factory):
    path = tmp_path_factory.mktemp("faces") / "faces32.zip"
    result = CliRunner().invoke(dataset_tool.main, [
        "world", "--people=30", "--faces-per=4", "--clips-per=0", "--resolution=32", f"--dest={path}", "--workers=1"])
    assert result.exit_code == 0, result.output
    return path


def run(outdir, data, settings=TINY):
    return train_recogniser(settings, data=data, outdir=outdir, desc="tiny", command="python train.py")


def test_the_margin_is_taken_off_the_right_person():
    cosines, labels = torch.tensor([[0.5, 0.2, -0.1]]), torch.tensor([0])
    wanted = -torch.log_softmax(torch.tensor([10 * (0.5 - 0.3), 10 * 0.2, 10 * -0.1]), 0)[0]
    assert margin_loss(cosines, labels, scale=10, margin=0.3) == pytest.approx(wanted.item(), rel=1e-6)
    assert margin_loss(cosines, labels, scale=10, margin=0) == pytest.approx(
        torch.nn.functional.cross_entropy(10 * cosines, labels).item())


def test_it_learns_the_people_it_sees(tmp_path, faces32, capsys):
    path = run(tmp_path, faces32, dataclasses.replace(TINY, width=8, steps=120, tick_steps=40, warmup_steps=40))
    lines = (path.parent / "stats.jsonl").read_text().splitlines()
    first, last = (json.loads(line)["Recogniser/right"]["mean"] for line in (lines[0], lines[-1]))
    assert last > 0.5 > first + 0.1  # chance is 1/24
    said = capsys.readouterr().out
    assert re.search(r"held-out AUC [01]\.\d{4}  EER 0\.\d{4}  \(val split, 3 people, 18 pairs of one person", said)
    assert "tick 1 " in said and "img/s" in said
    source = load_recogniser(path).settings.source
    assert source["people"] == sorted((p for p in range(30) if p % 10 < 8), key=str)
    assert len(source["people_sha256"]) == 64
    assert source["data"]["source"] == "drawn world" and source["command"] == "python train.py"


def test_two_processes_never_train_in_one_folder(tmp_path, faces32):
    folder = run(tmp_path, faces32, dataclasses.replace(TINY, steps=2)).parent
    with open(folder / ".lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is training"):
            run(tmp_path, faces32, dataclasses.replace(TINY, steps=2))


def test_held_out_pairs_are_bounded(monkeypatch):
    monkeypatch.setattr(recogniser_loop, "_MOST_FACES", 30)
    owner = np.repeat(np.arange(100), 3)
    first, second = recogniser_loop.held_out_pairs(owner, np.random.default_rng(0))
    people = set(owner[first]) | set(owner[second])
    assert len(people) == 10 and (first < second).all() and (owner[first] == owner[second]).sum() == 30
    whole, _ = recogniser_loop.held_out_pairs(np.array([0, 0, 1]), np.random.default_rng(0))
    assert len(whole) == 3


class Stopped(Exception):
    pass


def test_a_stopped_run_equals_one_that_was_not(tmp_path, faces32, monkeypatch):
    whole = run(tmp_path / "whole", faces32)
    original = subjects.varied

    def stops(images, settings, index):
        if index == 5:  # after the state at iteration 4, in the middle of a tick
            raise Stopped
        return original(images, settings, index)

    monkeypatch.setattr(subjects, "varied", stops)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", faces32)
    monkeypatch.setattr(subjects, "varied", original)
    resumed = run(tmp_path / "stopped", faces32)
    assert resumed.read_bytes() == whole.read_bytes()
    assert "Going on at iteration 4" in (resumed.parent / "log.txt").read_text()


@pytest.mark.parametrize("people, message", [(1, "faces of 1 people in the train split")])
def test_one_person_is_not_enough(tmp_path, people, message):
    CliRunner().invoke(dataset_tool.main, ["world", f"--people={people}", "--clips-per=0", "--resolution=32",
                                           f"--dest={tmp_path / 'one.zip'}", "--workers=1"])
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "runs", tmp_path / "one.zip")
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    path = tmp_path_factory.mktemp("voices") / "voices.zip"
    result = CliRunner().invoke(dataset_tool.main, [
        "world", "--people=20", "--faces-per=0", "--clips-per=3", "--seconds=1-1.5", f"--dest={path}", "--workers=1"])
    assert result.exit_code == 0, result.output
    return path


SPEAKER = SpeakerSettings(width=16, embed_dim=16, batch=16, steps=6, warmup_steps=4, tick_steps=2, snapshot_ticks=2,
                          seconds=1.0)


def test_it_learns_the_voices_it_hears(tmp_path, voices, capsys):
    path = run(tmp_path, voices, dataclasses.replace(SPEAKER, steps=100, tick_steps=20, warmup_steps=20))
    lines = (path.parent / "stats.jsonl").read_text().splitlines()
    first, last = (json.loads(line)["Recogniser/right"]["mean"] for line in (lines[0], lines[-1]))
    assert last > 0.5 > first + 0.1  # chance is 1/16
    assert re.search(r"held-out AUC [01]\.\d{4}  EER 0\.\d{4}  \(val split, 2 people", capsys.readouterr().out)
    judge = load_speaker(path)
    assert path.name == "speaker.safetensors" and judge.settings.source["people"] and judge.settings.num_people == 16


def test_a_stopped_run_of_voices_equals_one_that_was_not(tmp_path, voices, monkeypatch):
    whole = run(tmp_path / "whole", voices, SPEAKER)
    original = subjects.VoiceSubject.batch

    def stops(self, index):
        if index == 5:
            raise Stopped
        return original(self, index)

    monkeypatch.setattr(subjects.VoiceSubject, "batch", stops)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", voices, SPEAKER)
    monkeypatch.undo()
    assert run(tmp_path / "stopped", voices, SPEAKER).read_bytes() == whole.read_bytes()
