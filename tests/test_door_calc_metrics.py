"""The door calc_metrics.py: options, lines of JSON, the run's folder, the report, ranks, one sentence for bad input."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from metric_stand_ins import picture_folder
from PIL import Image

import calc_metrics
import dataset_tool
from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, save_probe
from training.evaluate import judge_world
from training.metrics_table import METRICS
from voice2style.demo.traits import TRAITS
from voice2style.pipeline import load


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    result = CliRunner().invoke(dataset_tool.main, ["world", "--people=40", "--seconds=2-2", "--workers=1",
                                                    "--audibility=0.5", f"--dest={folder / 'world.zip'}"])
    assert result.exit_code == 0, result.output
    torch.manual_seed(0)
    probe = TraitProbe(TraitProbeSettings(traits=tuple(trait.name for trait in TRAITS), width=4))
    save_probe(probe.eval(), folder / "judge.safetensors")
    return folder


@pytest.fixture
def folders(tmp_path):
    return picture_folder(tmp_path / "real", 30), picture_folder(tmp_path / "fake", 30, seed=1, shift=40)


def ran(*options):
    result = CliRunner().invoke(calc_metrics.main, [str(option) for option in options])
    assert result.exit_code == 0, result.output
    return result.output


def lines_of(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_report_of_a_model(world, tiny_voice_model, tmp_path):
    output = ran(f"--network={tiny_voice_model}", f"--data={world / 'world.zip'}",
                 f"--judge={world / 'judge.safetensors'}", f"--picture={tmp_path / 'sheet.png'}")
    (line,) = lines_of(output)
    assert line["metric"] == "world_traits" and len(line["results"]) == len(TRAITS)
    assert line["protocol"]["n"] == 4 and len(line["protocol"]["judge_sha256"]) == 64
    assert "| 0.23" in output  # the ceiling of masc at half audibility: (0.95 · 0.5)²
    assert (tmp_path / "sheet.png").exists()


def test_a_model_that_ignores_the_voice_cannot_score(world, tiny_voice_model):
    model = load(tiny_voice_model, device="cpu")
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.zero_()
    report = judge_world(model, data=world / "world.zip", judge_path=world / "judge.safetensors", split="train")
    assert all(score.value <= 0 for score in report.model)
    assert [score.value for score in report.model] == pytest.approx([score.value for score in report.shuffled])


def test_two_folders_give_lines_and_a_report(folders, tmp_path):
    output = ran(f"--fakes={folders[1]}", f"--data={folders[0]}", "--judge=drawn",
                 "--metrics=fid50k_full,is50k", f"--report={tmp_path / 'report'}", "--workers=1")
    assert [line["metric"] for line in lines_of(output)] == ["fid50k_full", "is50k"]
    assert "Warning: generated side: FID of 30 pictures" in output
    page = (tmp_path / "report" / "report.md").read_text()
    assert "| fid50k_full" in page and "drawn" in page and "* generated side" in page
    assert np.asarray(Image.open(tmp_path / "report" / "results.png")).std() > 5


def test_underscores_booleans_and_seeds_as_others_write_them(folders):
    options = (f"--fakes={folders[1]}", f"--data={folders[0]}", "--judge=drawn", "--metrics=fid50k", "--workers=1",
               "--mirror=1", "--gpus=1", "--verbose=False", "--faces_from=seeds", "--no_cache", "--intervals=0")
    first, second = (lines_of(ran(*options))[0] for _ in range(2))
    assert first["results"] == second["results"] and first["protocol"]["flips"] is True and first["intervals"] == {}


def test_a_snapshot_of_a_run_gets_its_line_in_the_runs_folder(tiny_voice_model, tmp_path):
    run = tmp_path / "00000-run"
    run.mkdir()
    (run / "training_options.json").write_text("{}")
    snapshots = [run / f"network-snapshot-{kimg:06d}.safetensors" for kimg in (0, 4)]
    for path in snapshots:
        path.write_bytes(pathlib.Path(tiny_voice_model).read_bytes())
        ran(f"--network={path}", "--judge=drawn", "--metrics=ppl2_wend,path_length", "--num=4",
            f"--report={tmp_path / 'report'}")
    lines = lines_of((run / "metric-ppl2_wend.jsonl").read_text())
    assert [line["snapshot_pkl"] for line in lines] == [path.name for path in snapshots]
    assert lines[0]["results"].keys() == {"ppl2_wend"} and lines[0]["protocol"]["epsilon"] == 1e-4
    assert (tmp_path / "report" / "history-ppl2_wend.png").exists() and (tmp_path / "report" / "ppl2_wend.png").exists()


def test_lines_beside_a_network_are_whole_and_a_folder_that_takes_none_loses_no_number(tiny_voice_model, tmp_path):
    (tmp_path / "training_options.json").write_text("{}")
    network, lines = tmp_path / "network-snapshot-000004.safetensors", tmp_path / "metric-path_length.jsonl"
    network.write_bytes(pathlib.Path(tiny_voice_model).read_bytes())
    lines.write_text('{"results": {}}\n{"results": {"path')  # torn by a crash
    (tmp_path / "metric-ppl2_wend.jsonl").mkdir()  # cannot be written, whoever asks
    output = ran(f"--network={network}", "--judge=drawn", "--metrics=ppl2_wend,path_length", "--num=4")
    assert [line["metric"] for line in lines_of(output)] == ["ppl2_wend", "path_length"]
    assert len(lines_of(lines.read_text())) == 2


def test_two_ranks_give_the_numbers_of_one(folders, tmp_path):
    """--gpus=2 starts two ranks with gloo: they share batches, pairs and steps; the first one speaks."""
    root = pathlib.Path(calc_metrics.__file__).parent
    options = [f"--fakes={folders[1]}", f"--data={folders[0]}", "--judge=drawn", "--workers=1", "--batch=4",
               "--metrics=fid50k_full,kid50k_full,is50k,ssim,lpips_diversity", "--device=cpu",
               "--verbose=0", "--no-cache"]
    both = subprocess.run([sys.executable, "calc_metrics.py", *options, "--gpus=2"], cwd=root, text=True, timeout=300,
                          env=dict(os.environ), capture_output=True)
    assert both.returncode == 0, both.stderr
    assert len(lines_of(both.stdout)) == 5  # the second rank is silent
    alone = {name: value for line in lines_of(ran(*options)) for name, value in line["results"].items()}
    shared = {name: value for line in lines_of(both.stdout) for name, value in line["results"].items()}
    assert shared == {name: pytest.approx(value, rel=1e-6) for name, value in alone.items()}


def test_the_list_and_no_metrics():
    output = ran("--list")
    assert all(f"| {name} " in output for name in METRICS)
    assert ran("--metrics=none", "--fakes=nowhere") == ""


@pytest.mark.parametrize("options, message", [
    (["--metrics=fid50kfull"], 'unknown metric fid50kfull. Did you mean "fid50k_full"'), (["--limit=1"], "--limit"),
    (["--judge=nowhere.safetensors"], "one path of a recogniser or"), (["--metrics=fid50k_full"], "--inception FILE"),
    (["--update-card=x.md"], "give --metrics fairness"), (["--option=x"], '--option "x" is not NAME=VALUE'),
    (["--judge=drawn", "--judge=inception"], "one of inception and drawn"), (["--device=tpu"], 'unknown device "tpu"'),
    (["--judge=drawn", "--metrics=fid50k_full", "--network=nowhere.pkl"], "no such file"),
    (["--judge=drawn", "--metrics=is50k", "--num=20", "--picture=x.png"], "--picture is the sheet of world_traits"),
    (["--metrics=fid50k_full", "--picture=x.png"], "--picture is the sheet of world_traits"),  # before the weights
    (["--fakes=nowhere", "--class=2"], "--class is for a network"),
    ([f"--report={__file__}"], "cannot be written (Not a directory)"),  # known before the costly part
    ([f"--picture={__file__}/x.png"], "cannot be written (Not a directory)"),
    (["--metrics=is50k,fairness", "--judge=drawn", "--num=9", "--update-card=no.md"], 'no model card at "no.md"'),
    (["--judge=drawn", "--metrics=fid50k_full", "--data=nowhere"], "no pictures at"),
    (["--judge=drawn", "--metrics=fid50k_full", "--fakes=nowhere"], "one of them, please")])
def test_bad_options_end_in_one_line(world, tiny_voice_model, options, message):
    result = CliRunner().invoke(calc_metrics.main, [
        f"--network={tiny_voice_model}", f"--data={world / 'world.zip'}", f"--judge={world / 'judge.safetensors'}",
        *options])
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert lines_of(result.output) == []
