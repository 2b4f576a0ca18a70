"""The whole method, one iteration at a time: who moves when, parts, repetition, resuming, and that it learns."""

import copy
import dataclasses

import pytest
import torch
from conftest import build_tiny_model

from torch_utils.running_stats import RunningStats
from training.ada import AdaController, AdaSettings
from training.augment import AugmentPipe
from training.joint_step import JOINT_TERMS, JointStep, lazy_adam_groups, with_classifier
from training.losses.equipment import equip
from training.losses.terms import SOURCES
from training.phase_runner import PhaseRunner
from training.phases import Batch
from training.settings import JointSettings
from training.voice_augment import FeatureMasks
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.perceptual import PixelDistance

NUM_PEOPLE, SIZE = 4, 8
SETTINGS = JointSettings(gamma=0.5, r1_interval=2, pl_interval=2, train_generator=True, lr=1e-3, g_lr=1e-3, d_lr=1e-3)


class Augment:
    """What the loop's augmentation object is to a step."""

    def __init__(self, p):
        self.pipe = AugmentPipe("blit,color", p)
        self.controller = AdaController(self.pipe, AdaSettings(p=p, ada_kimg=0.1, interval=1))
        self.saw, self.finish = self.controller.observe, self.controller.update
        self.state, self.restore = self.controller.state, self.controller.restore

    def __call__(self, images, draw, batch):
        return self.pipe(images, draw("augment"), batch=batch)


def build(settings=SETTINGS, *, augment=None, frozen_statistics=False, masks=None, **discriminator):
    model = build_tiny_model()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        judge = Discriminator(DiscriminatorSettings(img_resolution=16, channels=(8, 8, 8), **discriminator))
    judge = with_classifier(judge, NUM_PEOPLE, seed=0)
    equipment = equip(set(SOURCES), model, seed=0, perceptual=PixelDistance())
    if frozen_statistics:  # batch statistics of the encoder are those of a part, whatever the loop does
        model.encoder.eval()
        model.encoder.train = lambda mode=True: model.encoder
    return JointStep(model, judge, equipment, settings, augment=augment, masks=masks)


def batches(index, dtype=torch.float32):
    random = torch.Generator().manual_seed(index)
    people = torch.arange(SIZE) % NUM_PEOPLE
    faces = torch.linspace(-0.8, 0.8, NUM_PEOPLE)[people][:, None, None, None] + 0.1 * torch.randn(
        SIZE, 3, 16, 16, generator=random)
    return Batch(SIZE, torch.arange(SIZE), images=faces.to(dtype), people=people,
                 waves=0.1 * torch.randn(SIZE, 4000, generator=random).to(dtype))


def train(step, indices, *, batch_gpu=None, dtype=torch.float32):
    stats = RunningStats()
    runner = PhaseRunner(seed=0, batch_gpu=batch_gpu, stats=stats, device=torch.device("cpu"), say=print)
    for network in step.networks.values():
        network.requires_grad_(False)
    for index in indices:
        runner.run(step, batches(index, dtype), index)
    return stats.take()


def values(step):
    return {f"{name}.{key}": value.clone() for name, network in step.networks.items()
            for key, value in network.state_dict().items()}


def moved(before, after):
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_phases_are_lazy_and_only_asked_for_ones_come():
    step = build()
    assert [phase.name for phase in step.phases(0)] == ["Gmain", "Greg", "Dmain", "Dreg"]
    assert [phase.name for phase in step.phases(1)] == ["Gmain", "Dmain"]
    still = build(dataclasses.replace(SETTINGS, train_generator=False, gamma=0.0))
    assert [phase.name for phase in still.phases(0)] == ["Gmain", "Dmain"]
    assert set(still.networks) == {"encoder", "encoder_ema", "D"} and set(step.networks) > {"G", "G_ema"}


@pytest.mark.parametrize("train_generator", [True, False])
def test_each_phase_moves_its_networks_only(train_generator):
    step = build(dataclasses.replace(SETTINGS, train_generator=train_generator))
    runner = PhaseRunner(seed=0, batch_gpu=None, stats=RunningStats(), device=torch.device("cpu"), say=print)
    for network in step.networks.values():
        network.requires_grad_(False)
    generator = {name: value.clone() for name, value in step.model.generator.state_dict().items()}
    wanted = {"Gmain": {"encoder", "G"} if train_generator else {"encoder"}, "Greg": {"G"}, "Dmain": {"D"},
              "Dreg": {"D"}}
    for phase in step.phases(0):
        before = values(step)
        runner._phase(step, phase, batches(0), 0)
        # The encoder's running statistics follow every clip that it hears in training.
        parameters = {name for name in before if "running" not in name and "tracked" not in name}
        found = moved({name: before[name] for name in parameters}, values(step))
        assert found == wanted[phase.name], phase.name
    changed = [name for name, value in step.model.generator.state_dict().items() if not torch.equal(value,
                                                                                                     generator[name])]
    assert bool(changed) == train_generator and not any(name.startswith("mapping") for name in changed)


def test_averages_follow_at_the_end_of_an_iteration():
    step = build()
    train(step, range(2))
    ours, theirs = step.model.encoder.fc.weight, step.average.encoder.fc.weight
    assert not torch.equal(ours, theirs) and torch.allclose(ours, theirs, atol=0.1)
    assert step.average.generator is not step.model.generator and step.pl_mean > 0
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    assert step.average.synthesis(step.average.codes(wave)).isfinite().all()


def in_double(*steps):
    for step in steps:
        for network in (*step.networks.values(), step.average, step.model):
            network.double()
        for name in ("mean_codes", "whitening"):
            setattr(step.equipment, name, getattr(step.equipment, name).double())
        step.pl_mean = step.pl_mean.double()


def test_the_layout_of_the_weights_changes_nothing():
    contiguous, last = build(), build()
    in_double(contiguous, last)
    for network in (last.model.generator, last.D, last.average.generator):
        network.to(memory_format=torch.channels_last)
    for step in (contiguous, last):
        train(step, range(4), dtype=torch.float64)
    assert not last.D.b16.conv0.weight.is_contiguous()
    for name, value in values(contiguous).items():
        torch.testing.assert_close(values(last)[name], value, rtol=1e-9, atol=1e-11)


def test_parts_give_the_numbers_of_the_whole_batch():
    """Eight samples at once and four times two: the same weights, path length and R1 included."""
    settings = dataclasses.replace(SETTINGS, terms={"l1": 0.7, "perceptual": 0.3}, lr=1e-4, g_lr=1e-4, d_lr=1e-4)
    whole, parts = (build(settings, frozen_statistics=True, augment=Augment(0.5), mbstd_num_channels=0)
                    for _ in range(2))
    in_double(whole, parts)
    one, other = train(whole, range(3), dtype=torch.float64), train(parts, range(3), batch_gpu=2, dtype=torch.float64)
    for name, value in values(whole).items():
        assert torch.allclose(value, values(parts)[name], rtol=1e-6, atol=1e-8), name
    assert whole.pl_mean.item() == pytest.approx(parts.pl_mean.item(), rel=1e-9)
    assert whole.state()["augment"]["p"] == parts.state()["augment"]["p"]
    for name in one:
        if not name.startswith("Gradients/"):
            assert one[name]["mean"] == pytest.approx(other[name]["mean"], rel=1e-5, abs=1e-9), name


def test_the_same_seed_gives_the_same_run_and_a_resumed_one_goes_on_exactly():
    straight, again = build(augment=Augment(0.3)), build(augment=Augment(0.3))
    train(straight, range(4))
    train(again, range(2))
    kept = copy.deepcopy({"networks": {name: network.state_dict() for name, network in again.networks.items()},
                          "optimisers": {name: o.state_dict() for name, o in again.optimisers.items()},
                          "step": again.state()})
    resumed = build(augment=Augment(0.3))
    for name, network in resumed.networks.items():
        network.load_state_dict(kept["networks"][name])
    for name, optimiser in resumed.optimisers.items():
        optimiser.load_state_dict(kept["optimisers"][name])
    resumed.restore(kept["step"])
    train(resumed, range(2, 4))
    assert moved(values(straight), values(resumed)) == set()
    assert straight.state()["augment"]["p"] == resumed.state()["augment"]["p"] != 0.3


def test_the_classifier_learns_who_is_who_and_the_voice_path_hears_of_it():
    step = build(dataclasses.replace(SETTINGS, train_generator=False, gamma=0.0, d_lr=0.01))
    first = train(step, range(1))
    train(step, range(1, 38))
    last = train(step, range(38, 40))
    assert first["Loss/accuracy/real"]["mean"] < 0.7 and last["Loss/accuracy/real"]["mean"] > 0.95
    assert last["Loss/term/identity_real"]["mean"] < 0.3 * first["Loss/term/identity_real"]["mean"]
    assert {f"Loss/term/{name}" for name in JOINT_TERMS} <= set(last)


def test_bf16_and_masks_and_changed_waves():
    heard = []
    step = build(dataclasses.replace(SETTINGS, precision="bf16"), masks=FeatureMasks(planes=3, time_frames=4))
    step.change_waves = lambda waves, draw, batch: heard.append(len(waves)) or waves * 0.5
    stats = train(step, range(1))
    assert all(stat["nonfinite"] == 0 if "nonfinite" in stat else True for stat in stats.values())
    assert heard == [SIZE, SIZE // 2, SIZE] and "Loss/pl_penalty" in stats


def test_a_rank_without_a_sample_of_the_path_length_keeps_up():
    """Its mean path length moves as on all ranks, and is asked for anew the next time."""
    step = build()
    phase = step.phases(0)[1]
    late = batches(0)
    late = Batch(SIZE, late.positions[7:], waves=late.waves[7:], people=late.people[7:], images=late.images[7:])
    for index in (0, 2):
        assert phase.collective and phase.run(late.first(phase.share), None) == (None, {})
        step.finish(index, SIZE)
        assert step._lengths_mean is None and step._next_pl_mean is None


def test_terms_of_the_user_come_on_top_and_zero_takes_one_away():
    step = build(dataclasses.replace(SETTINGS, terms={"spread": 0.0, "l1": 0.7}))
    assert set(step.terms.weights) == {"realism", "identity", "identity_real", "w_avg", "l1"}
    with pytest.raises(ValueError, match="the term id_cosine needs --recogniser FILE"):
        build(dataclasses.replace(SETTINGS, terms={"id_cosine": 1.0}))


def test_a_classifier_is_put_onto_a_trained_trunk():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = Discriminator(DiscriminatorSettings(img_resolution=16, channels=(8, 8, 8)))
    images = torch.randn(4, 3, 16, 16)
    grown = with_classifier(plain, 5, seed=0)
    assert torch.equal(grown(images), plain(images)) and grown.judge(images)[1].shape == (4, 5)
    other = with_classifier(grown, 7, seed=0)
    assert torch.equal(other(images), plain(images)) and other.judge(images)[1].shape == (4, 7)
    with pytest.raises(ValueError, match="1 person cannot be told apart from others; --task joint needs two or more"):
        with_classifier(plain, 1, seed=0)
    with pytest.raises(ValueError, match="needs a discriminator with an identity classifier"):
        JointStep(build_tiny_model(), plain, None, SETTINGS)


def test_lazy_groups_are_corrected_and_the_others_are_not():
    layers = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    plain, lazy = lazy_adam_groups([(layers[0].parameters(), 0.1, None), (layers[1].parameters(), 0.1, 4)],
                                   (0.5, 0.999)).param_groups
    assert plain["lr"] == 0.1 and plain["betas"] == (0.5, 0.999)
    assert lazy["lr"] == pytest.approx(0.08) and lazy["betas"] == pytest.approx((0.5**0.8, 0.999**0.8))
