"""Objectives against closed forms, and against the reference numbers when they are there."""

import json
import math
import pathlib

import numpy as np
import pytest
import torch

from training.ema import ema_beta, update_ema
from training.gan_step import lazy_adam
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_length_loss, path_lengths
from training.losses.r1 import r1_loss, r1_penalty
from training.transfer import transfer


def test_at_equal_scores_the_game_stands_at_ln2():
    zero = torch.zeros(4, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(torch.full((2, 1), 50.0)).item() == pytest.approx(0, abs=1e-12)
    assert discriminator_loss(-50 * torch.ones(2, 1), 50 * torch.ones(2, 1)).item() == pytest.approx(100)


def test_generator_gradient_does_not_vanish_where_the_discriminator_is_sure():
    logits = torch.tensor([[-30.0]], requires_grad=True)
    generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    weight = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    real = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = (real * weight).sum([1, 2, 3])[:, None]
    assert torch.allclose(r1_penalty(logits, real), weight.square().sum().expand(5))
    loss = r1_loss((real * weight).sum([1, 2, 3])[:, None], real, gamma=3.0)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert torch.allclose(gradient, 3.0 * weight)  # d/dw γ/2 ‖w‖² = γ w


def test_path_length_of_a_linear_generator_is_known():
    matrix = torch.randn(2, 3, dtype=torch.float64)  # picture = matrix @ w, one layer
    ws = torch.randn(4, 1, 3, dtype=torch.float64, requires_grad=True)
    images = (ws[:, 0] @ matrix.t()).reshape(4, 1, 2, 1)
    noise = torch.randn(4, 1, 2, 1, dtype=torch.float64)
    expected = (noise[:, 0, :, 0] @ matrix / math.sqrt(2)).norm(dim=1)
    lengths = path_lengths(images, ws, noise)
    assert torch.allclose(lengths, expected)
    loss, mean = path_length_loss(lengths, torch.tensor(0.0, dtype=torch.float64), decay=0.25, weight=2.0)
    assert mean.item() == pytest.approx(0.25 * expected.mean().item()) and not mean.requires_grad
    assert loss.item() == pytest.approx(2 * (expected - mean).square().mean().item())


def test_path_length_gradient_flows_through_the_running_mean():
    lengths = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    path_length_loss(lengths, torch.tensor(0.0, dtype=torch.float64), decay=1.0, weight=1.0)[0].backward()
    assert torch.allclose(lengths.grad, torch.tensor([-1.0, 1.0], dtype=torch.float64))  # variance, not second moment


def test_lazy_adam_is_corrected_for_the_interval():
    group = lazy_adam(torch.nn.Linear(1, 1), 0.002, 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17))) and group["eps"] == 1e-8


def test_ema_halves_the_distance_in_its_half_life():
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        average.weight.zero_()
    network.running_mean.fill_(7)
    beta = ema_beta(100, ema_kimg=1, seen_images=10**9)
    for _ in range(10):  # 1000 images
        update_ema(average, network, beta)
    assert torch.allclose(average.weight, torch.full((2,), 0.5)) and average.running_mean[0] == 7
    assert ema_beta(100, ema_kimg=1, seen_images=2000) == 0.5 ** (100 / 100)  # ramp-up: 5 % of the images seen


def test_transfer_goes_by_name_and_shape():
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 3)})
    source = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(9, 2), "other": torch.ones(1)}
    result = transfer(network, source)
    assert result.taken == ("a.weight",) and "b.weight" in result.fresh and result.left == ("b.weight", "other")
    assert torch.equal(network["a"].weight, torch.ones(2, 2)) and not torch.equal(network["b"].weight[0], torch.ones(2))


GOLDEN = pathlib.Path(__file__).parents[2] / "shared" / "golden"


@pytest.mark.parametrize("name", ["ada-r32-skip-resnetD-w512-map8-fp32"])
def test_losses_and_gradients_equal_the_reference(name):
    if not (GOLDEN / f"{name}.npz").exists():
        pytest.skip("the reference numbers are not here")
    from voice2style.discriminator import Discriminator, DiscriminatorSettings
    from voice2style.generators.stylegan2 import Generator, GeneratorSettings

    data = np.load(GOLDEN / f"{name}.npz")
    tensors = {key: torch.from_numpy(data[key]).double() for key in data.files if data[key].dtype.kind == "f"}
    channels = tuple(tensors[f"G/synthesis.b{2**k}.conv1.weight"].shape[0] for k in range(2, 6))
    G = Generator(GeneratorSettings(img_resolution=32, channels=channels)).double()
    D = Discriminator(DiscriminatorSettings(img_resolution=32, channels=channels)).double()
    for network, prefix in ((G, "G/"), (D, "D/")):
        network.load_state_dict({key[2:]: value for key, value in tensors.items() if key.startswith(prefix)})
    ws = G.mapping(tensors["tr/z"])
    images = G.synthesis(ws, noise_mode="const")
    assert generator_loss(D(images)).item() == pytest.approx(tensors["tr/Gmain/loss"].item(), abs=1e-9)
    real = tensors["in/img"][:4].requires_grad_(True)
    assert torch.allclose(r1_penalty(D(real), real), tensors["tr/Dr1/penalty"], atol=1e-9)
    assert r1_loss(D(real), real, gamma=10.0).item() == pytest.approx(tensors["tr/Dr1/loss"].item(), abs=1e-9)
    assert discriminator_loss(D(real), D(images)).item() == pytest.approx(tensors["tr/Dmain/loss"].item(), abs=1e-9)
    ws = G.mapping(tensors["tr/z"][:2])
    lengths = path_lengths(G.synthesis(ws, noise_mode="const"), ws, tensors["tr/pl_noise"])
    assert torch.allclose(lengths, tensors["tr/Gpl/lengths"], atol=1e-9)
    loss, mean = path_length_loss(lengths, torch.tensor(0.3, dtype=torch.float64))
    assert mean.item() == pytest.approx(tensors["tr/Gpl/pl_mean_new"].item(), abs=1e-9)
    assert loss.item() == pytest.approx(tensors["tr/Gpl/loss"].item(), abs=1e-9)
    loss.backward()
    names = json.loads(str(data["tr/Gpl/gradnorm_names"])) if data["tr/Gpl/gradnorm_names"].ndim == 0 else [
        str(item) for item in data["tr/Gpl/gradnorm_names"]]
    parameters = dict(G.named_parameters())
    for key, norm in zip(names, data["tr/Gpl/gradnorm_all"]):
        found = parameters[key].grad
        assert (0.0 if found is None else found.norm().item()) == pytest.approx(float(norm), abs=1e-8), key
