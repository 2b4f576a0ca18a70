"""Small real runs: a stopped run equals one that was not, growing keeps the picture, a voice run learns to be heard."""

import dataclasses
import json
import re

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import dataset_tool
import train
from torch_utils.checkpoint import load_checkpoint, part_of
from torch_utils.ops.upfirdn2d import setup_filter, upsample2d
from training.configure import configure
from training.gan_loop import build_networks, train_gan
from training.probe_loop import train_probe
from training.reals import EndlessOrder
from training.settings import GanSettings, ProbeSettings, RunSettings, VoiceSettings
from training.transfer import take_over
from training.voice_loop import train_voice
from voice2style.pipeline import load

TINY = GanSettings(channels=(8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, batch=4, total_kimg=0.032, pl_interval=2,
                   r1_interval=2, tick_kimg=0.008, snapshot_ticks=1, mirror=True)
QUICK = RunSettings(curves=False, grid="1080p")


def make_world(path, resolution, *more):
    result = CliRunner().invoke(dataset_tool.main, [
        "world", "--people=30", "--faces-per=1", f"--resolution={resolution}", "--seed=5", f"--dest={path}",
        "--workers=1", "--seconds=3-3", *more])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def faces16(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("faces") / "faces16.zip", 16, "--clips-per=0")


@pytest.fixture(scope="session")
def pairs64(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("pairs") / "pairs64.zip", 64, "--clips-per=1")


@pytest.fixture(scope="session")
def pairs16(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("pairs16") / "pairs16.zip", 16, "--clips-per=1")


def run_gan(outdir, data, settings=TINY, **more):
    return train_gan(settings, data=data, outdir=outdir, desc="tiny", **{"run": QUICK, **more})


def test_run_folder_holds_what_scripts_look_for(tmp_path, faces16):
    path = run_gan(tmp_path, faces16, run=RunSettings(grid="1080p"))
    names = {item.name for item in path.parent.iterdir()}
    assert {"log.txt", "training_options.json", "stats.jsonl", "reals.png", "fakes_init.png", "fakes000000.032.png",
            "network-snapshot-000000.008.safetensors", "network-snapshot-000000.032.safetensors", "state-00000008.pt",
            "curves.png"} <= names
    lines = [json.loads(line) for line in (path.parent / "stats.jsonl").read_text().splitlines()]
    assert {"Loss/scores/fake", "Loss/scores/real", "Loss/signs/fake", "Loss/signs/real", "Loss/G/loss", "Loss/D/loss",
            "Loss/r1_penalty", "Loss/D/reg", "Loss/pl_penalty", "Loss/G/reg", "Progress/tick", "Progress/kimg",
            "Progress/augment", "Timing/total_sec", "Timing/sec_per_tick", "Timing/sec_per_kimg",
            "Timing/maintenance_sec", "Timing/total_hours", "Timing/total_days", "Timing/Gmain", "Timing/Greg",
            "Timing/Dmain", "Timing/Dreg", "Resources/cpu_mem_gb", "Resources/peak_gpu_mem_gb",
            "timestamp"} <= lines[0].keys()
    assert lines[0]["Loss/G/loss"].keys() == {"num", "mean", "std"}
    assert [line["Progress/tick"]["mean"] for line in lines] == [1, 2, 3, 4]
    log = (path.parent / "log.txt").read_text()
    assert "Num images:  24" in log and "Training for 0.032 kimg..." in log
    assert re.search(r"^tick 1 {5}kimg 0\.0 {6}time \S+ .* sec/tick \S+ +sec/kimg \S+ +maintenance \S+ +cpumem \S+ +"
                     r"gpumem \S+ +augment \d\.\d{3} eta .* img/s \S+$", log, re.MULTILINE)
    other = run_gan(tmp_path, faces16, dataclasses.replace(TINY, seed=1, total_kimg=0.004))
    assert other.parent.name == "00001-tiny"


def test_growing_by_a_block_keeps_the_picture(tmp_path, faces16):
    path = run_gan(tmp_path, faces16)
    grown = dataclasses.replace(TINY, channels=(8, 8, 8, 4))
    generator, discriminator = build_networks(grown)
    lines = []
    take_over(generator, discriminator, path, lines.append)
    small = load(path, device="cpu").generator
    small.load_state_dict(part_of(load_checkpoint(path)[0], "G"))
    z = torch.randn(2, 8)
    before, after = small(z, noise_mode="none"), generator.eval()(z, noise_mode="none")
    assert torch.allclose(after, upsample2d(before, setup_filter([1, 3, 3, 1])), atol=1e-5)
    assert len(lines) == 3 and "stay fresh" in lines[1]


def test_the_voice_path_learns_on_a_frozen_generator(tmp_path, pairs64, faces16):
    settings = dataclasses.replace(TINY, channels=(8, 8, 8, 8, 4), total_kimg=0.008)
    network = run_gan(tmp_path / "gan", pairs64, settings)
    probe = train_probe(ProbeSettings(width=8, batch=8, steps=4), data=pairs64, outdir=tmp_path / "probe", desc="tiny")
    voice = VoiceSettings(encoder={"base_width": 4, "embed_dim": 8}, batch=4, steps=6, crop_s=1.0, tick_steps=2,
                          snapshot_ticks=2, warmup_steps=1)
    arguments = {"network": network, "probe": probe, "data": pairs64, "desc": "tiny", "run": QUICK}
    whole = load(train_voice(voice, outdir=tmp_path / "voice", **arguments), device="cpu")
    before, _ = load_checkpoint(network)
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, before[f"G_ema.{name}"]), name  # frozen means frozen
    wave = torch.randn(16000) * 0.1
    assert whole.codes(wave).shape == (1, 10, 8) and not torch.equal(whole.codes(wave), whole.mean_codes())
    assert (tmp_path / "voice" / "00000-tiny" / "pairs.png").exists()
    again = train_voice(voice, outdir=tmp_path / "voice", **arguments)  # finished: the same folder, nothing to do
    assert again.parent == tmp_path / "voice" / "00000-tiny"


def test_a_probe_goes_back_to_its_folder_and_says_what_a_dataset_lacks(tmp_path):
    world = make_world(tmp_path / "few.zip", 16, "--people=4", "--clips-per=0")
    settings = ProbeSettings(width=8, batch=4, steps=2)
    made = [train_probe(settings, data=world, outdir=tmp_path / "probe", desc="tiny") for _ in range(2)]
    assert made[0] == made[1] and (made[0].parent / "training_options.json").exists()
    assert "the test split has none" in (made[0].parent / "log.txt").read_text()
    Image.new("RGB", [16, 16]).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="has no ground truth for masc"):
        train_probe(settings, data=tmp_path, outdir=tmp_path / "probe", desc="tiny")


def test_endless_order_visits_everyone_once_a_round():
    order = EndlessOrder(7, 3, "faces")
    rounds = [[order[turn * 7 + place] for place in range(7)] for turn in range(3)]
    assert all(sorted(turn) == list(range(7)) for turn in rounds) and rounds[0] != rounds[1]
    assert EndlessOrder(7, 3, "faces")[9] == rounds[1][2]


@pytest.mark.parametrize("options, wanted", [
    (["--no-se"], {"use_se": False}), (["--no-se=0", "--activation=relu"], {"use_se": True, "activation": "relu"})])
def test_ablations_are_one_option_each(faces16, tmp_path, options, wanted):
    shared = ["--task=voice", f"--data={faces16}", f"--outdir={tmp_path}", "-n"]
    result = CliRunner().invoke(train.main, [*shared, *options])
    assert result.exit_code == 0 and wanted.items() <= json.loads(result.output)["settings"]["encoder"].items()


@pytest.mark.parametrize("options, message", [
    (["--task=gan", "--resolution=64", "--device=tpu"], 'unknown device "tpu"'),
    (["--task=gan", "--no-se", "--resolution=64"], "has no audio processor"),
    (["--task=gan", "--cfg=demo"], "the dataset holds 16x16 faces"),
    (["--task=gan", "--steps=3", "--resolution=64"], "has no option --steps"),
    (["--task=voice"], "--task voice needs --network"),
    (["--task=dance"], "is not one of"),
    (["--task=gan", "--kimg=0"], "is not in the range"),
])
def test_bad_options_end_in_one_line(faces16, tmp_path, options, message):
    result = CliRunner().invoke(train.main, [*options, f"--data={faces16}", f"--outdir={tmp_path}"])
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_a_dataset_of_another_size_or_without_voices_is_refused(faces16, tmp_path):
    with pytest.raises(ValueError, match="holds 16x16 faces, this run needs 32x32"):
        run_gan(tmp_path, faces16, dataclasses.replace(TINY, channels=(8, 8, 8, 8)))
    with pytest.raises(ValueError, match="no dataset"):
        configure(task="gan", data=tmp_path / "nothing", cfg="demo", resolution=None)


def test_dry_run_prints_the_configuration(faces16, tmp_path):
    result = CliRunner().invoke(train.main, ["--task=gan", f"--data={faces16}", f"--outdir={tmp_path / 'o'}",
                                             "--resolution=64", "--kimg=7", "-n"])
    settings = json.loads(result.output)["settings"]
    assert settings["total_kimg"] == 7 and settings["channels"] == [64, 64, 64, 32, 16]
    assert not (tmp_path / "o").exists()
