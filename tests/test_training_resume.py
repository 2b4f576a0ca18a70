"""A run can be stopped at any instant: what comes out is bit for bit what an undisturbed run makes."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import signal

import pytest
import torch
from test_training_runs import QUICK, TINY, faces16, run_gan  # noqa: F401  (a fixture)

import training.states
from torch_utils.checkpoint import load_checkpoint
from training import run_folder
from training.curves import read_stats
from training.loop import Loop
from training.phase_runner import PhaseRunner
from training.run_folder import RunFolder, append_whole
from training.settings import RunSettings
from training.states import read_state

TIMES = ("Timing/", "Resources/", "timestamp", "Progress/resumed")


class Stopped(Exception):
    pass


def numbers(folder):
    """Returns the statistics that count, without what a clock says."""
    return [{name: value for name, value in line.items() if not name.startswith(TIMES)}
            for line in read_stats(folder / "stats.jsonl")]


def alike(a, b):
    """True for equal nests of tensors and values, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


def last_state(folder):
    """Returns the newest state without what a clock says."""
    state = read_state(max(folder.glob("state-*.pt")))
    return {name: value for name, value in state.items() if name != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, faces16):  # noqa: F811
    """The folder of an undisturbed run of 8 iterations, a state every 2."""
    return run_gan(tmp_path_factory.mktemp("whole"), faces16).parent


def assert_same_run(folder, whole):
    """Weights, moving average, optimisers, means and statistics are those of the undisturbed run."""
    assert alike(last_state(folder), last_state(whole))
    ours, theirs = (load_checkpoint(path / "network-snapshot-000000.032.safetensors")[0] for path in (folder, whole))
    assert alike(ours, theirs) and {"G_ema", "G", "D"} == {name.split(".")[0] for name in ours}
    assert numbers(folder) == numbers(whole)


@pytest.mark.parametrize("at", [1, 5])  # before the first state; after the second one, in the middle of a tick
def test_a_run_that_broke_off_equals_one_that_did_not(tmp_path, faces16, whole, monkeypatch, at):  # noqa: F811
    original = PhaseRunner.run

    def breaks_off(self, step, batch, index):
        if index == at:
            raise Stopped
        original(self, step, batch, index)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(PhaseRunner, "run", breaks_off)
        run_gan(tmp_path, faces16)
    resumed = run_gan(tmp_path, faces16).parent
    assert [path.name for path in tmp_path.iterdir()] == ["00000-tiny"]  # the same folder, not a second one
    assert_same_run(resumed, whole)


def test_a_run_that_was_asked_to_stop_equals_one_that_was_not(tmp_path, faces16, whole, monkeypatch):  # noqa: F811
    original = PhaseRunner.run

    def asks(self, step, batch, index):
        if index == 4:  # the state is then written in the middle of a tick, with the tick's statistics so far
            os.kill(os.getpid(), signal.SIGINT)
        original(self, step, batch, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PhaseRunner, "run", asks)
        run_gan(tmp_path, faces16)
    folder = tmp_path / "00000-tiny"
    assert last_state(folder)["next"] == 5 and "goes on from there" in (folder / "log.txt").read_text()
    assert_same_run(run_gan(tmp_path, faces16).parent, whole)


def run_and_die(outdir, data, where, count):
    """Runs in a process of its own and kills it with signal 9 at the `count`-th time that it gets to `where`."""
    import safetensors.torch

    left = [count]

    def dying(function, *, path_at=None):
        def call(*args, **more):
            left[0] -= 1
            if left[0] == 0:
                if path_at is not None:
                    pathlib.Path(args[path_at]).write_bytes(b"half a file")  # some bytes have reached the disk
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **more)
        return call

    if where == "iteration":
        PhaseRunner.run = dying(PhaseRunner.run)
    elif where == "state":
        torch.save = dying(torch.save, path_at=1)
    elif where == "snapshot":
        safetensors.torch.save_file = dying(safetensors.torch.save_file, path_at=1)
    else:
        os.replace = dying(os.replace)
    run_gan(outdir, data)


@pytest.mark.parametrize("where, count", [("iteration", 6), ("state", 2), ("snapshot", 3), ("rename", 9)])
def test_kill_9_at_any_instant_loses_only_what_came_after_the_last_state(tmp_path, faces16, whole, where, count):  # noqa: F811
    process = multiprocessing.get_context("fork").Process(target=run_and_die, args=(tmp_path, faces16, where, count))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = run_gan(tmp_path, faces16).parent
    assert_same_run(resumed, whole)
    assert not list(resumed.glob(".*.part*"))  # what was half written is gone


def test_a_damaged_state_is_named_and_the_one_before_is_taken(tmp_path, faces16, whole, capsys):  # noqa: F811
    folder = run_gan(tmp_path, faces16).parent
    newest, second = sorted(folder.glob("state-*.pt"), reverse=True)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2:len(content) // 2 + 200] = bytes(200)  # some weights
    newest.write_bytes(content)
    run_gan(tmp_path, faces16)
    output = capsys.readouterr().out
    assert f'the state "{newest}" is damaged' in output and "An older state is tried" in output
    assert "Going on at 0.0 kimg (iteration 6)" in output
    assert_same_run(folder, whole)
    newest, second = sorted(folder.glob("state-*.pt"), reverse=True)
    for path in (newest, second):
        path.write_bytes(path.read_bytes()[:1000])
    run_gan(tmp_path, faces16)  # nothing is readable: from the start, aloud
    assert capsys.readouterr().out.count("is damaged") == 2
    assert_same_run(folder, whole)


def test_a_finished_run_whose_model_is_gone_writes_it_again(tmp_path, faces16, whole):  # noqa: F811
    shutil.copytree(whole, tmp_path / whole.name)
    (tmp_path / whole.name / "network-snapshot-000000.032.safetensors").unlink()
    assert_same_run(run_gan(tmp_path, faces16).parent, whole)


def test_so_many_states_stay(tmp_path, faces16):  # noqa: F811
    folder = run_gan(tmp_path, faces16, run=dataclasses.replace(QUICK, keep_states=3)).parent
    assert [path.name for path in sorted(folder.glob("state-*.pt"))] == [
        "state-00000004.pt", "state-00000006.pt", "state-00000008.pt"]


def test_a_state_of_another_configuration_is_one_sentence(tmp_path, faces16):  # noqa: F811
    folder = run_gan(tmp_path, faces16).parent
    options = json.loads((folder / "training_options.json").read_text())
    options["settings"]["gamma"] = 5.0
    (folder / "training_options.json").write_text(json.dumps(options))
    with pytest.raises(ValueError, match=r"of another configuration: it has settings.gamma = 1.0, this command 5.0"):
        run_gan(tmp_path, faces16, dataclasses.replace(TINY, gamma=5.0))


def test_latest_goes_on_in_the_newest_run_and_may_be_longer(tmp_path, faces16):  # noqa: F811
    run = dataclasses.replace(QUICK, resume_latest=True)
    short = run_gan(tmp_path, faces16, dataclasses.replace(TINY, total_kimg=0.016), run=run).parent
    longer = run_gan(tmp_path, faces16, run=run).parent
    assert longer == short and last_state(longer)["next"] == 8
    assert [line["Progress/tick"]["mean"] for line in read_stats(longer / "stats.jsonl")] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="settings.batch = 4, this command 8"):
        run_gan(tmp_path, faces16, dataclasses.replace(TINY, batch=8), run=run)
    assert run_gan(tmp_path, faces16).parent == short  # what was refused did not take the run's name away


def test_a_full_disk_does_not_end_the_run_and_the_last_state_stays(tmp_path, faces16, whole, monkeypatch, capsys):  # noqa: F811
    import safetensors.torch

    original, calls = safetensors.torch.save_file, []

    def full(tensors, path, metadata=None):
        calls.append(path)
        if len(calls) in (2, 4):
            pathlib.Path(path).write_bytes(b"half")
            raise safetensors.SafetensorError("No space left on device")
        return original(tensors, path, metadata=metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="could not be written .*No space left.*the same command writes it"):
        run_gan(tmp_path, faces16)  # the second is a warning, the last one is not
    folder = tmp_path / "00000-tiny"
    assert "the snapshot network-snapshot-000000.016.safetensors could not be written" in capsys.readouterr().out
    assert last_state(folder)["next"] == 6 and not list(folder.glob(".*.part*"))
    assert_same_run(run_gan(tmp_path, faces16).parent, whole)


def test_a_full_disk_before_there_is_a_state_does_not_speak_of_one(tmp_path, faces16, monkeypatch):  # noqa: F811
    import safetensors.torch

    def full(tensors, path, metadata=None):
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    short = dataclasses.replace(TINY, total_kimg=0.008)
    with pytest.raises(OSError, match="No space left.*no state was written before, the same command starts anew"):
        run_gan(tmp_path, faces16, short)
    assert list((tmp_path / "00000-tiny").glob("state-*")) == []


@pytest.mark.parametrize("at, words", [(0, "starts anew"), (4, "goes on from the last state")])
def test_a_stop_on_a_full_disk_says_where_the_run_goes_on(tmp_path, faces16, monkeypatch, at, words):  # noqa: F811
    original = PhaseRunner.run

    def asks(self, step, batch, index):
        if index == at:
            monkeypatch.setattr(training.states, "write_archive", full)
            os.kill(os.getpid(), signal.SIGINT)
        original(self, step, batch, index)

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(PhaseRunner, "run", asks)
    with pytest.raises(KeyboardInterrupt):
        run_gan(tmp_path, faces16)
    log = (tmp_path / "00000-tiny" / "log.txt").read_text()
    assert "Warning: the state could not be written (No space left on device)" in log
    assert f"the same command {words}." in log


def test_two_processes_never_train_in_one_folder(tmp_path, faces16, monkeypatch):  # noqa: F811
    def second(self):
        raise run_gan(tmp_path, faces16)

    monkeypatch.setattr(Loop, "run", second)
    with pytest.raises(ValueError, match='another process is training in ".*00000-tiny"'):
        run_gan(tmp_path, faces16)


def test_a_command_that_is_refused_does_not_take_the_folder_from_the_one_that_trains_in_it(tmp_path):
    with RunFolder(tmp_path, "tiny", {"task": "gan", "settings": {"total_kimg": 1}}) as folder:
        with pytest.raises(ValueError, match="another process is training"):
            RunFolder(tmp_path, "tiny", {"task": "gan", "settings": {"total_kimg": 2}}, latest=True).__enter__()
        assert json.loads((folder.path / "training_options.json").read_text())["settings"] == {"total_kimg": 1}


def test_two_runs_that_start_at_the_same_time_get_two_folders(tmp_path, monkeypatch):
    original, made = run_folder._find, []

    def find(*args):
        found = original(*args)
        if not made:
            made.append(True)
            made.append(RunFolder(tmp_path, "tiny", {"settings": {"seed": 1}}))  # it looked at the same instant
        return found

    monkeypatch.setattr(run_folder, "_find", find)
    assert RunFolder(tmp_path, "tiny", {"settings": {"seed": 0}}).path.name == "00001-tiny"
    assert made[1].path.name == "00000-tiny"


def test_lines_are_appended_whole_and_what_was_torn_is_cut(tmp_path, monkeypatch):
    path = tmp_path / "stats.jsonl"
    append_whole(path, b'{"a": 1}\n')
    with open(path, "ab") as file:
        file.write(b'{"a": 2, "b"')  # the power failed here
    append_whole(path, b'{"a": 3}\n')
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 3}]
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:4]))  # a full disk takes a part
    with pytest.raises(OSError, match="No space left"):
        append_whole(path, b'{"a": 4}\n')
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_what_was_done_again_counts_once(tmp_path):
    lines = [{"Progress/kimg": {"mean": kimg}, "x": k} for k, kimg in enumerate((4, 8, 12))]
    lines.append({"Progress/kimg": {"mean": 8}, "Progress/resumed": {"mean": 4}, "x": 3})
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"Progress/k')
    assert [line["x"] for line in read_stats(tmp_path / "stats.jsonl")] == [0, 3]


def test_the_learning_goes_on_though_how_it_is_carried_out_changes(tmp_path, faces16, whole):  # noqa: F811
    changed = RunSettings(curves=False, grid="1080p", batch_gpu=4, cache_gb=0, workers=2)
    assert run_gan(tmp_path, faces16, run=changed).parent.name == "00000-tiny"
    assert_same_run(tmp_path / "00000-tiny", whole)  # read by two processes, or kept in memory
