"""train.py on the command line: the option names of this field, rows of --cfg, and one sentence for each bad input."""

import json
import os
import pathlib

import pytest
from click.testing import CliRunner
from test_training_runs import TINY, faces16, make_world, pairs16, run_gan  # noqa: F401  (fixtures)

import train
from training.configure import check_gpus, describe
from training.presets import CFG_NAMES, PUBLISHED, auto_row
from training.transfer import RESUME_NAMES


def invoke(*options):
    return CliRunner().invoke(train.main, [str(option) for option in options])


def planned(*options):
    """Returns what --dry-run prints."""
    result = invoke(*options, "--outdir=nowhere", "-n")
    assert result.exit_code == 0, result.output
    assert not pathlib.Path("nowhere").exists()
    return json.loads(result.output)


@pytest.fixture(scope="session")
def faces32(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("faces32") / "faces32.zip", 32, "--clips-per=0")


def test_every_option_name_of_the_published_commands_is_taken(faces32):
    found = planned(
        f"--data={faces32}", "--gpus=1", "--snap=10", "--metrics=none", "--seed=3", "--cond=false", "--subset=20",
        "--mirror=1", "--cfg=auto", "--gamma=0.5", "--kimg=100", "--batch=8", "--aug=ada", "--target=0.7",
        "--augpipe=bg", "--resume=ffhq256", "--freezed=3", "--fp32=True", "--nhwc=0",
        "--nobench=0", "--compile=0", "--allow-tf32=1", "--workers=2", "--batch-gpu=4", "--cbase=1024", "--cmax=64",
        "--glr=0.001", "--dlr=0.003", "--map-depth=3",
        "--mbstd-group=2", "--tick=2", "--resume-kimg=7", "--initstrength=0.1", "--mirrory=1", "--img-snap=1",
        "--snap-res=4k", "--freezeM=2", "--freezeE=1", "--device=cpu")
    wanted = {"snapshot_ticks": 10, "seed": 3, "subset": 20, "mirror": True, "mirrory": True, "gamma": 0.5,
              "total_kimg": 100, "batch": 8, "aug": "ada", "aug_target": 0.7, "augpipe": "bg", "aug_p": 0.1,
              "freeze_d": 3, "freeze_mapping": 2, "freeze_embed": 1, "precision": "fp32", "g_lr": 0.001, "d_lr": 0.003,
              "mapping_layers": 3, "mbstd_group": 2, "tick_kimg": 2, "resume_kimg": 7, "ada_kimg": 100.0,
              "ema_rampup": None, "channels": [64, 64, 64, 32]}
    assert wanted.items() <= found["settings"].items()
    assert {"batch_gpu": 4, "workers": 2, "allow_tf32": True, "image_ticks": 1, "grid": "4k",
            "metrics": []}.items() <= found["run"].items()
    assert found["desc"] == ("faces32-subset20-mirror-mirrory-auto1-gamma0.5-kimg100-batch8-ada-target0.7-bg-"
                             "resumeffhq256-freezed3")
    community = planned(f"--data={faces32}", "--nkimg=5", "--batch_gpu=8", "--cfg=auto", "--batch=16")
    assert community["run"]["batch_gpu"] == 8 and community["settings"]["resume_kimg"] == 5


@pytest.mark.parametrize("side, gpus, wanted", [  # the published rule of thumb, worked out by hand
    (1024, 1, {"batch": 4, "mbstd": 4, "fmaps": 1.0, "lr": 0.002, "gamma": 0.0002 * 2**20 / 4, "ema": 1.25}),
    (256, 8, {"batch": 64, "mbstd": 4, "fmaps": 0.5, "lr": 0.0025, "gamma": 0.0002 * 65536 / 64, "ema": 20.0}),
    (512, 2, {"batch": 16, "mbstd": 4, "fmaps": 1.0, "lr": 0.0025, "gamma": 0.0002 * 2**18 / 16, "ema": 5.0}),
    (32, 100, {"batch": 100, "mbstd": 1, "fmaps": 0.5, "lr": 0.0025, "gamma": 0.0002 * 1024 / 100, "ema": 31.25})])
def test_auto_is_the_published_rule(side, gpus, wanted):
    row = auto_row(side, gpus)
    assert {name: pytest.approx(getattr(row, name)) for name in wanted} == wanted
    assert (row.kimg, row.ramp, row.mapping) == (25000, 0.05, 2)


@pytest.mark.parametrize("cfg", PUBLISHED)
def test_published_rows_fit_one_gpu_by_accumulation(faces32, cfg):
    found = planned(f"--data={faces32}", f"--cfg={cfg}")
    row = PUBLISHED[cfg]
    assert found["settings"]["batch"] == row.batch and found["run"]["batch_gpu"] == row.batch // row.ref_gpus
    assert found["settings"]["precision"] == "fp16" and found["settings"]["aug"] == "ada"
    assert found["desc"] == f"faces32-{cfg}"
    if cfg == "cifar":
        assert found["settings"]["d_architecture"] == "orig" and found["settings"]["pl_weight"] == 0
    assert cfg in CFG_NAMES


def test_the_three_published_voice_trainings_are_three_rows(pairs16):  # noqa: F811
    def row(name):
        return planned("--task=voice", f"--data={pairs16}", f"--cfg={name}", "--network=x", "--probe=y")["settings"]

    adversarial, latent, fast = row("paper"), row("paper-latent"), row("paper-lr05")
    assert {"optimiser": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}.items() <= adversarial.items()
    assert {"optimiser": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "batch": 384, "steps": 10000,
            "schedule": "cycles"}.items() <= latent.items()
    assert fast["lr"] == 0.05 and fast["steps"] == 50000
    joint = planned("--task=joint", f"--data={pairs16}", "--cfg=paper", "--network=x", "--train-generator=1")
    joint = joint["settings"]
    assert joint["lr"] == 2e-4 and joint["betas"] == [0.5, 0.999] and joint["train_generator"]


@pytest.mark.parametrize("options, message", [
    (["--cfg=auto", "--batch=10", "--gpus=3"], "--batch=10 is not divisible by 3 ranks; give a multiple of 3"),
    (["--cfg=auto", "--batch=8", "--batch-gpu=3"], "--batch-gpu=3 does not divide the 8 samples of one rank"),
    (["--cfg=auto", "--batch=8", "--batch-gpu=2"], "a piece of 2 samples is no multiple of the 4 samples in a group"),
    (["--cfg=autp"], 'has no row --cfg=autp. Did you mean "auto"?'),
    (["--cfg=paper"], "has no row --cfg=paper"),
    (["--cfg=auto", "--aug=fixed"], "--aug=fixed needs its strength"),
    (["--cfg=auto", "--p=0.2"], "--p is for --aug=fixed"),
    (["--aug=noaug", "--target=0.5"], "--target is for --aug=ada"),
    (["--cfg=auto", "--augpipe=bgx"], 'no augmentation "bgx"'),
    (["--cfg=auto", "--fp32=1", "--precision=bf16"], "contradict each other"),
    (["--cfg=demo", "--cbase=64"], "--cbase and --cmax are for the published rows"),
    (["--cond=1", "--cfg=auto"], 'has no labels; --cond=1 needs rows with "label"'),
    (["--term=l1=1"], "--task=gan has no option --term"),
    (["--term=l2=1"], 'no term "l2"'),
    (["--metrics=fid50"], 'no metric "fid50". Did you mean "fid50k"'),
    (["--mirror"], "requires an argument"),
    (["--aug=adaptive"], "is not one of"),
    (["--resolution=64", "--cfg=demo"], "holds 32x32 faces, this run needs 64x64"),
    (["--resume=nothing.pkl", "--cfg=auto"], 'no such file: "nothing.pkl"'),
    (["--task=probe", "--aug=ada"], "has no option --aug"),
    (["--task=voice", "--network=x", "--term=w_avg=1"], 'no such file: "x"'),
    (["--task=voice", "--network=x"], "needs something to learn from"),
    (["--task=joint"], "--task joint needs --network"),
    (["--recogniser=x.onnx"], "--task=gan has no option --recogniser"),
    (["--task=joint", "--network=x", "--resume=y"], "--task=joint has no option --resume"),
    (["--task=probe", "--metrics=fid50k"], "--task=probe has no option --metrics"),
    (["--task=recogniser", "--gpus=2"], "runs on one device"),
    (["--task=joint", "--kimg=1", "--steps=5"], "--kimg=1 and --steps=5 both say how long"),
    (["--desc=../x"], "--desc=../x is the ending of one folder's name"),
    (["--resume-kimg=5", "--kimg=5"], "--resume-kimg=5 leaves nothing of --kimg=5"),
    (["--kimg=inf", "-n"], "--kimg is inf; give a finite number"),
    (["--glr=1e999", "-n"], "--glr is inf; give a finite number"),
    (["--gamma=nan", "-n"], "'--gamma': nan is not a number"),
    (["--gpus=2", "--device=mps"], "mps")])
def test_bad_input_is_one_sentence_and_exit_code_2(faces32, tmp_path, options, message):
    result = invoke(f"--data={faces32}", f"--outdir={tmp_path}", "--device=cpu", *options)
    assert result.exit_code == 2 and message in result.output, result.output
    assert "Traceback" not in result.output and list(tmp_path.iterdir()) == [], "a run folder was left behind"


@pytest.mark.parametrize("options", [
    ["--cfg=auto", "--resume={}"], ["--task=voice", "--network={}", "--term=w_avg=1"],
    ["--task=joint", "--network={}"], ["--task=voice", "--network={net}", "--probe={}"]])
def test_a_file_that_is_no_network_leaves_no_run_folder(pairs16, tmp_path, tiny_voice_model, options):  # noqa: F811
    (tmp_path / "letter.pkl").write_text("Dear reader")
    given = [option.format(tmp_path / "letter.pkl", net=tiny_voice_model) for option in options]
    result = invoke(f"--data={pairs16}", f"--outdir={tmp_path / 'runs'}", "--device=cpu", *given)
    assert result.exit_code == 2 and "letter.pkl" in result.output, result.output
    assert not (tmp_path / "runs").exists()


def test_data_that_does_not_fit_is_one_sentence(faces32, pairs16, tmp_path, tiny_voice_model):  # noqa: F811
    def sentence(*options):
        result = invoke(f"--outdir={tmp_path}", "--device=cpu", "--steps=1", *options)
        assert result.exit_code == 2 and "Traceback" not in result.output, result.output
        return result.output

    voice = ["--task=voice", f"--network={tiny_voice_model}"]
    assert 'has no voices in the split "train"' in sentence(*voice, f"--data={faces32}", "--term=w_avg=1")
    assert "holds 32x32 faces, this run needs 16x16" in sentence(*voice, f"--data={faces32}", "--term=l1=1")
    assert "the term perceptual needs --perceptual" in sentence(*voice, f"--data={pairs16}", "--term=perceptual")
    alone = make_world(tmp_path / "alone.zip", 16, "--clips-per=1", "--people=1")
    assert "1 person cannot be told apart" in sentence("--task=joint", f"--network={tiny_voice_model}",
                                                       f"--data={alone}", "--batch=4")
    odd = invoke(f"--data={pairs16}", f"--outdir={tmp_path}", "--cfg=auto", "--resolution=24", "--device=cpu")
    assert odd.exit_code == 2 and "a generator needs a power of two" in odd.output


def test_a_run_folder_that_cannot_be_written_is_one_sentence(faces32, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    small = [f"--data={faces32}", "--kimg=0.008", "--batch=8", "--device=cpu"]
    blocked = invoke(*small, f"--outdir={tmp_path / 'file'}")
    assert blocked.exit_code == 2 and "cannot be used" in blocked.output
    original = pathlib.Path.mkdir

    def read_only(self, *args, **more):
        if self.name.startswith("00000-"):
            raise PermissionError(13, os.strerror(13), str(self))
        return original(self, *args, **more)

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    result = invoke(*small, f"--outdir={tmp_path / 'o'}")
    assert result.exit_code == 2 and "cannot be written (Permission denied); give another --outdir" in result.output


def test_more_ranks_than_gpus_is_one_sentence(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(2, "cuda")
    with pytest.raises(ValueError, match="--gpus=3, but this machine has 2; give --gpus=2"):
        check_gpus(3, "cuda")
    with pytest.raises(ValueError, match="names one GPU"):
        check_gpus(2, "cuda:1")
    with pytest.raises(ValueError, match="is for CUDA GPUs, or for --device=cpu"):
        check_gpus(2, "mps")
    check_gpus(7, "cpu")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    result = invoke("--data=x", "--outdir=y", "--gpus=2", "--device=cpu")
    assert result.exit_code == 2 and "torchrun started 4 ranks" in result.output


def test_a_network_of_another_program_is_taken_over_by_name(faces32, tmp_path):
    path = pathlib.Path(__file__).parents[1] / ".." / "shared" / "checkpoints" / "rosi-train-r32-w64.pt"
    if not path.exists():
        pytest.skip("the reference checkpoints are not beside the repository")
    result = invoke(f"--data={faces32}", f"--outdir={tmp_path}", "--cfg=auto", "--cbase=1024", "--cmax=32",
                    "--map-depth=8", f"--resume={path}", "--kimg=0.004", "--batch=4", "--freezed=1", "--aug=noaug",
                    "--curves=0", "--tensorboard=0", "--snap-res=1080p", "--device=cpu")
    assert result.exit_code == 0, result.output
    assert "rosinality" in result.output and "tensors by name" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [
        "00000-faces32-auto1-kimg0.004-batch4-noaug-resumecustom-freezed1"]


def test_a_published_name_says_which_file_to_give_by_path(tmp_path, faces32):
    assert set(RESUME_NAMES) == {"ffhq256", "ffhq512", "ffhq1024", "celebahq256", "lsundog256"}
    result = invoke(f"--data={faces32}", f"--outdir={tmp_path}", "--cfg=auto", "--resume=ffhq256", "--device=cpu")
    assert result.exit_code == 2 and list(tmp_path.iterdir()) == []
    assert 'get the file "ffhq-res256-mirror-paper256-noaug.pkl"' in " ".join(result.output.split())


def test_voice_runs_take_kimg_and_tick_too(pairs16):  # noqa: F811
    found = planned("--task=joint", f"--data={pairs16}", "--network=x", "--kimg=0.1", "--batch=8", "--tick=0.03")
    assert found["settings"]["steps"] == 13 and found["settings"]["tick_steps"] == 4


def test_the_recogniser_is_of_the_datasets_size(faces32):
    assert planned("--task=recogniser", f"--data={faces32}", "--device=cpu")["settings"]["resolution"] == 32


def test_folder_names_follow_the_published_grammar():
    def desc(cfg="auto", gpus=2, **options):
        return describe({"data": "x/pokemon.zip", **options}, TINY, task="gan", cfg=cfg, gpus=gpus)

    assert desc() == "pokemon-auto2"
    long = desc(cond=True, subset=100, mirror=True, cfg="paper256", kimg=5.0, aug="fixed", p=0.25, resume="noresume")
    assert long == "pokemon-cond-subset100-mirror-paper256-kimg5-fixed-p0.25-noresume"
    assert desc(resume="latest") == "pokemon-auto2"
