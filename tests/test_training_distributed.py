"""Results do not depend on the number of ranks or parts, and a rank that dies is named while the others end."""

import dataclasses
import os
import pathlib
import signal

import pytest
import torch
from test_training_runs import QUICK, TINY, faces16, pairs16, run_gan  # noqa: F401  (fixtures)

from torch_utils import distributed
from torch_utils.checkpoint import load_checkpoint
from torch_utils.running_stats import RunningStats
from training.curves import read_stats
from training.launch import launch
from training.settings import RunSettings, VoiceSettings
from training.voice_loop import train_voice
from voice2style.encoders import SEResNet, SEResNetSettings

SETTINGS = dataclasses.replace(TINY, batch=12, total_kimg=0.036, tick_kimg=0.012, snapshot_ticks=3, pl_interval=1,
                               r1_interval=1, mbstd_group=2)


def ranks(function, request, count):
    """Runs `function(request)` on gloo ranks of this machine, without importing torch again in each."""
    return launch(request, gpus=count, function=function, start_method="fork")


def train_on_ranks(request):
    outdir, data, more = request
    path = run_gan(pathlib.Path(outdir), data, SETTINGS, **more)  # joins the others itself
    distributed.stop()
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, faces16):  # noqa: F811
    return run_gan(tmp_path_factory.mktemp("alone"), faces16, SETTINGS).parent


def assert_close(folder, alone):
    """The same network and statistics up to rounding, and really different from an untrained one."""
    ours, theirs = (load_checkpoint(path / "network-snapshot-000000.safetensors")[0] for path in (folder, alone))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=2e-3, atol=2e-4)
    mine, whole = (read_stats(path / "stats.jsonl") for path in (folder, alone))
    assert len(mine) == len(whole) == 3
    for line, expected in zip(mine, whole):
        losses = {name for name in expected if name.startswith(("Loss/", "Gradients/"))}
        assert losses == {name for name in line if name.startswith(("Loss/", "Gradients/"))} and len(losses) >= 12
        for name in losses:
            assert line[name]["num"] == expected[name]["num"]
            assert line[name]["mean"] == pytest.approx(expected[name]["mean"], rel=5e-3, abs=1e-4), name


@pytest.mark.parametrize("count, batch_gpu", [(2, None), (3, None), (2, 2)])
def test_ranks_and_parts_change_nothing_but_rounding(tmp_path, faces16, alone, count, batch_gpu):  # noqa: F811
    path = ranks(train_on_ranks, (tmp_path, faces16, {"run": dataclasses.replace(QUICK, batch_gpu=batch_gpu)}), count)
    assert path == str(tmp_path / "00000-tiny" / "network-snapshot-000000.safetensors")  # of the first rank
    assert_close(tmp_path / "00000-tiny", alone)


@pytest.mark.parametrize("batch_gpu", [4, 6])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, faces16, alone, batch_gpu):  # noqa: F811
    run_gan(tmp_path, faces16, SETTINGS, run=dataclasses.replace(QUICK, batch_gpu=batch_gpu))
    assert_close(tmp_path / "00000-tiny", alone)


def collectives(folder):
    rank, size = distributed.rank(), distributed.world_size()
    x = torch.arange(3.0).add(rank).requires_grad_(True)
    total = distributed.sum_across_ranks(x.square())
    (rank + 1) * total.sum() * 1.0
    (gradient,) = torch.autograd.grad(((rank + 1) * total).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    rows = torch.full([2, 1], float(rank)).add(torch.tensor([[0.0], [10.0]])).requires_grad_(True)
    gathered = distributed.gather_across_ranks(rows)
    (weighted,) = torch.autograd.grad((gathered[:, 0] * torch.arange(2.0 * size)).sum(), rows)
    mean = distributed.mean_across_ranks(torch.tensor(float(rank)))
    network = torch.nn.Linear(2, 2)
    network.weight.grad = torch.full([2, 2], float(rank + 1))
    distributed.sum_gradients([network], "phase")
    stats = RunningStats()
    for iteration in range(2):
        stats.add({"a": float(rank + iteration)}, 1 / size)
        if rank == 0:
            stats.add({"only the first": 5.0}, 1.0)
        stats.next_iteration()
    return {"total": total, "gradient": gradient, "second": second, "gathered": gathered, "weighted": weighted,
            "mean": mean, "summed": network.weight.grad, "bias": network.bias.grad, "stats": stats.take()}


def batch_statistics(size):
    """Trains an audio processor two steps on the rows of this rank; returns what it became."""
    torch.manual_seed(0)
    encoder = SEResNet(SEResNetSettings(num_ws=2, w_dim=4, planes=1, rows=8, base_width=4, embed_dim=4)).train()
    torch.nn.init.normal_(encoder.head.weight)
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for _ in range(2):
        features = torch.randn(6, 8, 20)[distributed.rank()::distributed.world_size()]
        optimiser.zero_grad()
        encoder(features).square().mean().div(distributed.world_size()).backward()
        distributed.sum_gradients([encoder], "encoder")
        optimiser.step()
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def several_things(folder):
    distributed.start("cpu")
    found = {"collectives": collectives(folder), "batch": batch_statistics(6)}
    torch.save(found, folder / f"rank{distributed.rank()}.pt")
    distributed.stop()


def test_sums_means_gathers_and_batch_statistics(tmp_path):
    ranks(several_things, tmp_path, 3)
    found = [torch.load(tmp_path / f"rank{k}.pt", weights_only=True) for k in range(3)]
    base = torch.arange(3.0)
    for rank, one in enumerate(found):
        values = one["collectives"]
        assert torch.equal(values["total"], sum((base + k).square() for k in range(3)))
        assert torch.equal(values["gradient"], 6 * 2 * (base + rank))  # dL/dx_r = Σ_s (s + 1) · 2 x_r
        assert torch.equal(values["second"], torch.full([3], 12.0))
        assert values["gathered"][:, 0].tolist() == [0, 1, 2, 10, 11, 12]  # the places in the batch
        assert values["weighted"][:, 0].tolist() == [3.0 * rank, 3.0 * (3 + rank)]
        assert values["mean"] == 1.0
        assert torch.equal(values["summed"], torch.full([2, 2], 6.0)) and values["bias"] is None
        assert values["stats"]["a"] == {"num": 2, "mean": 1.5, "std": pytest.approx(0.5)}
        assert values["stats"]["only the first"] == {"num": 2, "mean": 5.0, "std": 0.0}
    expected = batch_statistics(6)  # all six rows in one process
    for one in found:
        for name, tensor in expected.items():
            torch.testing.assert_close(one["batch"][name], tensor, rtol=1e-4, atol=1e-5)


def test_voice_training_does_not_depend_on_the_ranks(tmp_path, pairs16, tiny_voice_model):  # noqa: F811
    settings = VoiceSettings(encoder={"base_width": 4, "embed_dim": 8}, batch=4, steps=3, crop_s=0.5, crop_most_s=0.7,
                             tick_steps=1, snapshot_ticks=3, warmup_steps=0, terms={"l1": 1.0})
    arguments = {"network": tiny_voice_model, "data": pairs16, "desc": "tiny", "run": QUICK}
    whole = train_voice(settings, outdir=tmp_path / "alone", **arguments)
    ranks(voice_on_ranks, (settings, {**arguments, "outdir": tmp_path / "two"}), 2)
    ours, theirs = (load_checkpoint(path)[0] for path in (tmp_path / "two" / "00000-tiny" / "model.safetensors", whole))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=2e-3, atol=1e-3)
    assert theirs["encoder.head.weight"].abs().max() > 1e-3  # it has moved from 0


def voice_on_ranks(request):
    settings, arguments = request
    distributed.start("cpu")
    train_voice(settings, **arguments)
    distributed.stop()


def one_dies(folder):
    distributed.start("cpu")
    torch.distributed.barrier()
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    distributed.sum_across_ranks(torch.ones(3))  # waits for the dead one


def test_a_rank_that_dies_ends_the_others_with_its_name(tmp_path):
    with pytest.raises(ValueError, match="rank 1 of 3 ended with SIGKILL; the other ranks were stopped"):
        ranks(one_dies, tmp_path, 3)


def one_has_bad_input(folder):
    distributed.start("cpu")
    if distributed.rank() == 1:
        raise ValueError("face 7 is damaged.")
    torch.distributed.barrier()


def test_what_a_rank_says_of_bad_input_is_passed_on(tmp_path):
    with pytest.raises(ValueError, match=r"^face 7 is damaged\.$"):
        ranks(one_has_bad_input, tmp_path, 2)


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, faces16, alone):  # noqa: F811
    run = dataclasses.replace(QUICK, resume_latest=True)
    run_gan(tmp_path, faces16, dataclasses.replace(SETTINGS, total_kimg=0.012), run=run)
    ranks(train_on_ranks, (tmp_path, faces16, {"run": run}), 2)
    assert_close(tmp_path / "00000-tiny", alone)


def test_alone_everything_is_the_identity():
    x = torch.ones(2, requires_grad=True)
    for function in (distributed.sum_across_ranks, distributed.mean_across_ranks, distributed.gather_across_ranks):
        assert function(x) is x
    assert (distributed.rank(), distributed.world_size(), distributed.is_first()) == (0, 1, True)
    assert str(distributed.start("cpu")) == "cpu" and isinstance(RunSettings(), RunSettings)
