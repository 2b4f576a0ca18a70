"""Voice and joint runs on the one loop: stopped ones equal others, what they write opens, and what they cannot do."""

import dataclasses
import json

import pytest
import torch
from test_training_resume import alike, last_state, numbers
from test_training_runs import QUICK, make_world, pairs16  # noqa: F401  (a fixture)

from torch_utils.checkpoint import load_checkpoint
from training.joint_loop import train_joint
from training.phase_runner import PhaseRunner
from training.settings import JointSettings, VoiceSettings
from training.voice_loop import train_voice
from voice2style.pipeline import load

ENCODER = {"base_width": 4, "embed_dim": 8}
VOICE = VoiceSettings(encoder=ENCODER, batch=4, steps=6, crop_s=0.5, crop_most_s=0.8, tick_steps=2, snapshot_ticks=1,
                      warmup_steps=1, terms={"l1": 1.0, "id_cosine": 0.0}, voice_augment=True)
JOINT = JointSettings(encoder=ENCODER, batch=4, steps=6, crop_s=0.5, crop_most_s=0.8, tick_steps=2, snapshot_ticks=1,
                      r1_interval=2, pl_interval=2, train_generator=True, aug="ada", aug_p=0.5, ada_kimg=0.05,
                      mirror=True)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("train, settings", [(train_voice, VOICE), (train_joint, JOINT)])
def test_a_stopped_run_equals_one_that_was_not(tmp_path, pairs16, tiny_voice_model, monkeypatch, train, settings):  # noqa: F811
    arguments = {"network": tiny_voice_model, "data": pairs16, "desc": "tiny", "run": QUICK}
    whole = train(settings, outdir=tmp_path / "whole", **arguments)
    original = PhaseRunner.run

    def breaks_off(self, step, batch, index):
        if train is train_joint:  # as convolutions like their weights best
            assert not step.D.b16.conv0.weight.is_contiguous()
            assert not step.model.generator.synthesis.b16.conv1.weight.is_contiguous()
        if index == 5:
            raise Stopped
        original(self, step, batch, index)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(PhaseRunner, "run", breaks_off)
        train(settings, outdir=tmp_path / "stopped", **arguments)
    resumed = train(settings, outdir=tmp_path / "stopped", **{**arguments, "run": dataclasses.replace(
        QUICK, cache_gb=0, workers=1)})  # read by a process this time
    ours, theirs = (load_checkpoint(path)[0] for path in (resumed, whole))
    assert alike(ours, theirs) and alike(last_state(resumed.parent), last_state(whole.parent))
    assert numbers(resumed.parent) == numbers(whole.parent)
    assert {"fakes_init.png", "fakes000000.024.png", "pairs.png"} <= {path.name for path in whole.parent.iterdir()}
    model = load(whole, device="cpu")
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert model.codes(wave).shape == (1, 6, 16) and not torch.equal(model.codes(wave), model.mean_codes())
    before = load_checkpoint(tiny_voice_model)[0]
    moved = [name for name, tensor in theirs.items()
             if name.startswith("G_ema.") and not torch.equal(tensor, before[name])]
    assert bool(moved) == (train is train_joint) and not any("mapping" in name for name in moved)
    if train is train_joint:
        options = json.loads(json.dumps(model.card.discriminator.options))
        assert options["num_people"] == 24 and any(name.startswith("D.classifier") for name in theirs)
        assert last_state(whole.parent)["step"]["augment"]["p"] not in (0.0, 0.5)  # it has moved


def test_groups_of_the_networks_own_discriminator_stay_whole(tmp_path, pairs16, tiny_voice_model):  # noqa: F811
    with pytest.raises(ValueError, match="a piece of 2 samples is no multiple of the 4 samples in a group"):
        train_joint(JOINT, network=tiny_voice_model, data=pairs16, outdir=tmp_path, desc="tiny",
                    run=dataclasses.replace(QUICK, batch_gpu=2))


def test_one_person_only_is_one_sentence(tmp_path, tiny_voice_model):
    alone = make_world(tmp_path / "alone.zip", 16, "--clips-per=1", "--people=1")
    with pytest.raises(ValueError, match="1 person cannot be told apart from others"):
        train_joint(JOINT, network=tiny_voice_model, data=alone, outdir=tmp_path, desc="tiny", run=QUICK)
