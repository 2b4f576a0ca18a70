"""The R² of a voice model: a table with ceiling, judge's limit and control, and a line of JSON with its protocol."""

import json

import pytest
import torch
from click.testing import CliRunner

import calc_metrics
import dataset_tool
from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, save_probe
from training.evaluate import judge_world
from voice2style.demo.traits import TRAITS
from voice2style.pipeline import load


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


def test_report_of_a_model(world, tiny_voice_model, tmp_path):
    result = CliRunner().invoke(calc_metrics.main, [
        f"--network={tiny_voice_model}", f"--data={world / 'world.zip'}", f"--judge={world / 'judge.safetensors'}",
        f"--picture={tmp_path / 'sheet.png'}"])
    assert result.exit_code == 0, result.output
    line = json.loads(result.output.strip().splitlines()[-1])
    assert line["metric"] == "world_traits" and len(line["results"]) == len(TRAITS)
    assert line["protocol"]["n"] == 4 and len(line["protocol"]["judge_sha256"]) == 64
    assert "| 0.23" in result.output  # the ceiling of masc at half audibility: (0.95 · 0.5)²
    assert (tmp_path / "sheet.png").exists()


def test_a_model_that_ignores_the_voice_cannot_score(world, tiny_voice_model):
    model = load(tiny_voice_model, device="cpu")
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.zero_()
    report = judge_world(model, data=world / "world.zip", judge_path=world / "judge.safetensors", split="train")
    assert all(score.value <= 0 for score in report.model)
    assert [score.value for score in report.model] == pytest.approx([score.value for score in report.shuffled])


@pytest.mark.parametrize("options, message", [
    (["--metrics=fid50kfull"], "unknown metric fid50kfull. Did you mean"), (["--limit=1"], "--limit"),
    (["--judge=nowhere.safetensors"], "nowhere.safetensors")])
def test_bad_options_end_in_one_line(world, tiny_voice_model, options, message):
    result = CliRunner().invoke(calc_metrics.main, [
        f"--network={tiny_voice_model}", f"--data={world / 'world.zip'}", f"--judge={world / 'judge.safetensors'}",
        *options])
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
