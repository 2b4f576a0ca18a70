"""The frozen plan draws what the reference network draws: every architecture, noise, batch, precision and form."""

import dataclasses

import pytest
import torch

from voice2style.generators import fast_stylegan2
from voice2style.generators.fast_stylegan2 import FastSynthesis
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

SMALL = GeneratorSettings(img_resolution=32, channels=(12, 10, 8, 6), z_dim=10, w_dim=12, mapping_layers=2)
VARIANTS = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "conditional": {"c_dim": 3},
    "clamped": {"conv_clamp": 0.7, "architecture": "resnet"},
    "half-precision layers": {"num_fp16_res": 2, "conv_clamp": 256.0},
    "rosinality's demodulation": {"scaled_demodulation": True},
    "upright": {"const_shape": (4, 2)},
    "no noise": {"use_noise": False},
    "four planes": {"img_channels": 4},
    "other activation": {"activation": "swish", "architecture": "resnet"},
    "relu": {"activation": "relu"},
    "bilinear filter": {"resample_filter": (1, 1)},
    "odd filter": {"resample_filter": (1, 2, 1)},
    "six taps": {"resample_filter": (1, 5, 10, 10, 5, 1), "architecture": "resnet"},
    "separable filter": {"resample_filter": (1, 7, 21, 35, 35, 21, 7, 1)},
    "lopsided filter": {"resample_filter": (1, 2, 3, 4)},
}


def build(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(dataclasses.replace(SMALL, **changes)).eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter += 0.3 * torch.randn(parameter.shape)
    return network


def codes(network, n, seed=0):
    return torch.randn(n, network.num_ws, network.w_dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("form", ["by size", "weights", "activations", "picture by picture"])
def test_equal_to_the_reference(monkeypatch, form, variant, noise_mode, n):
    if form in ("weights", "picture by picture"):
        monkeypatch.setattr(fast_stylegan2, "_WEIGHTS_PER_ACTIVATION", 0)
    if form == "activations":
        monkeypatch.setattr(fast_stylegan2, "_WEIGHTS_PER_ACTIVATION", 1 << 40)
    if form == "picture by picture":
        monkeypatch.setattr(fast_stylegan2, "_WHOLE_BATCH_BELOW", 1 << 10)
    network = build(**VARIANTS[variant])
    ws = codes(network, n)

    def draws(seed):
        return {"generator": torch.Generator().manual_seed(seed)} if noise_mode == "random" else {}

    wanted = network.double().synthesis(ws.double(), noise_mode=noise_mode, force_fp32=True, **draws(3))
    came = FastSynthesis(network.float().synthesis)(ws, noise_mode, force_fp32=True, **draws(3))
    assert came.dtype == torch.float32 and came.is_contiguous()
    torch.testing.assert_close(came, wanted.float(), rtol=0, atol=1e-5 * float(wanted.abs().max()) + 1e-5)
    if noise_mode != "none" and variant != "no noise":
        other = FastSynthesis(network.synthesis)(ws, "none")
        assert (other - came).abs().max() > 1e-3


def test_bfloat16_stays_within_a_step_of_eight_bits(monkeypatch):
    """One step is 2/255 of a picture in [-1, 1]; the deviation is taken for a picture of that range."""
    monkeypatch.setattr(fast_stylegan2, "_FULL_PRECISION_UP_TO", 8)
    for variant in ("skip", "resnet", "orig", "clamped", "upright"):
        network = build(**VARIANTS[variant])
        ws = codes(network, 2)
        wanted = network.synthesis(ws, noise_mode="const", force_fp32=True)
        came = FastSynthesis(network.synthesis, precision="bf16")(ws, "const")
        deviation = (came - wanted) / wanted.abs().max()
        assert deviation.square().mean().sqrt() < 2 / 255
        assert deviation.abs().max() > 0, "nothing ran in bfloat16"


def test_small_blocks_stay_in_float32():
    network = build()
    ws = codes(network, 2)
    assert torch.equal(FastSynthesis(network.synthesis, precision="bf16")(ws, "const"),
                       FastSynthesis(network.synthesis)(ws, "const"))


def test_a_plan_is_a_copy():
    """Weights that change afterwards change the network, not the plan."""
    network = build()
    ws, plan = codes(network, 1), FastSynthesis(network.synthesis)
    before = plan(ws, "const")
    network.synthesis.b32.conv1.weight.mul_(-1)
    network.synthesis.b32.conv1.bias.add_(1)
    network.synthesis.b32.torgb.weight.mul_(2)
    network.synthesis.b4.const.zero_()
    assert torch.equal(plan(ws, "const"), before)


def test_a_picture_does_not_depend_on_its_batch():
    network = build()
    ws, plan = codes(network, 3), FastSynthesis(network.synthesis)
    together = plan(ws, "random", generator=torch.Generator().manual_seed(1))
    alone = plan(ws[:1], "random", generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-4)


def test_bad_wishes():
    network = build()
    plan = FastSynthesis(network.synthesis, precision="bf16")
    with pytest.raises(ValueError, match="precision is 'int8'; allowed: fp32, bf16"):
        FastSynthesis(network.synthesis, precision="int8")
    with pytest.raises(ValueError, match="codes ws of shape"):
        plan(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="noise_mode is 'loud'"):
        plan(codes(network, 1), "loud")
    with pytest.raises(ValueError, match="force_fp32"):
        plan(codes(network, 1), force_fp32=True)
    with pytest.raises(ValueError, match="float32 weights"):
        FastSynthesis(network.double().synthesis)
