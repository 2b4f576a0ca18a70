"""The frozen plan draws what the reference network draws: every architecture, noise, batch, precision and form."""

import dataclasses

import pytest
import torch

from torch_utils.devices import set_tf32
from torch_utils.ops import build as build_ops
from voice2style.generators import fast_stylegan2
from voice2style.generators.fast_stylegan2 import FastSynthesis
from voice2style.generators.graphed import GraphedSynthesis
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
@pytest.mark.parametrize("form", ["by size", "weights", "activations", "picture by picture",
                                  "winograd"])
def test_equal_to_the_reference(monkeypatch, form, variant, noise_mode, n):
    if form in ("weights", "picture by picture"):
        monkeypatch.setattr(fast_stylegan2, "_WEIGHTS_PER_ACTIVATION", 0)
    if form == "activations":
        monkeypatch.setattr(fast_stylegan2, "_WEIGHTS_PER_ACTIVATION", 1 << 40)
    if form == "picture by picture":
        monkeypatch.setattr(fast_stylegan2, "_WHOLE_BATCH_BELOW", 1 << 10)
    if form == "winograd":
        monkeypatch.setattr(fast_stylegan2, "_WINOGRAD_CHANNELS", 1)
        monkeypatch.setattr(fast_stylegan2, "_WINOGRAD_SIDE", 4)
    network = build(**VARIANTS[variant])
    ws = codes(network, n)

    def draws(seed):
        return {"generator": torch.Generator().manual_seed(seed)} if noise_mode == "random" else {}

    wanted = network.double().synthesis(ws.double(), noise_mode=noise_mode, force_fp32=True, **draws(3))
    plan = FastSynthesis(network.float().synthesis)
    assert (form == "winograd") == any(layer.winograd is not None for block in plan.blocks for layer in block.layers)
    came = plan(ws, noise_mode, force_fp32=True, **draws(3))
    assert came.dtype == torch.float32 and came.is_contiguous()
    torch.testing.assert_close(came, wanted.float(), rtol=0, atol=2e-5 * float(wanted.abs().max()) + 2e-5)
    if noise_mode != "none" and variant != "no noise":
        other = FastSynthesis(network.synthesis)(ws, "none")
        assert (other - came).abs().max() > 1e-3


@pytest.mark.parametrize("noise_mode", ["const", "random"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_vector_kernels_equal_the_reference(monkeypatch, variant, noise_mode):
    monkeypatch.setattr(fast_stylegan2, "_WORTH_A_BUILD", 0)
    monkeypatch.setattr(fast_stylegan2, "_TILED_SIDE", 0)
    monkeypatch.setattr(fast_stylegan2, "_TILED_SIDE_UP", {torch.float32: 0})
    if build_ops.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build_ops.state('simd')}")
    network = build(**{**VARIANTS[variant], "channels": (16, 32, 16, 48)})
    ws, draws = codes(network, 2), {}
    plan = FastSynthesis(network.synthesis)
    tiled = sum(layer.tiled is not None for block in plan.blocks for layer in block.layers)
    other_filter = variant in ("bilinear filter", "odd filter", "six taps", "separable filter")
    assert tiled == (0 if variant == "other activation" else 4 if other_filter else 7)
    pictures = []
    for draw, precision in ((network.double().synthesis, torch.float64), (plan, torch.float32)):
        draws = {"generator": torch.Generator().manual_seed(3)} if noise_mode == "random" else {}
        pictures.append(draw(ws.to(precision), noise_mode=noise_mode, force_fp32=True, **draws).float())
    wanted, came = pictures
    torch.testing.assert_close(came, wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()) + 2e-5)


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


def test_float16_blocks_are_those_of_the_network():
    """Loud weights and styles that overflow float16 unless they are tamed, as the reference path does it."""
    network = build(num_fp16_res=2, fp16_on_cpu=True, conv_clamp=256.0, architecture="resnet")
    network.synthesis.b32.conv0.weight.mul_(1e4)
    network.synthesis.b16.conv1.affine.bias.mul_(1e4)
    ws, plan = codes(network, 2), FastSynthesis(network.synthesis, precision="fp16")
    assert [block.dtype for block in plan.blocks] == [torch.float32] * 2 + [torch.float16] * 2
    exact = network.synthesis(ws, noise_mode="const", force_fp32=True)
    came, theirs = plan(ws, "const"), network.synthesis(ws, noise_mode="const")
    size = float(exact.abs().max())
    assert 0 < (came - exact).abs().max() < 0.02 * size
    assert (came - exact).square().mean() < 2 * (theirs - exact).square().mean() + 1e-9


class FakeGraph:
    """Stands in for a CUDA graph where there is no GPU: replaying it runs the plan on the recorded buffers."""

    def __init__(self, plan, noise_mode, batch):
        self.codes = torch.zeros(batch, plan.num_ws, plan.w_dim)
        self.picture, self.plan, self.mode, self.replays = plan(self.codes, noise_mode), plan, noise_mode, 0

    def replay(self):
        self.replays += 1
        self.picture.copy_(self.plan(self.codes, self.mode))


def test_a_graph_is_recorded_once_and_replayed_in_pieces(monkeypatch):
    network = build()
    plan = FastSynthesis(network.synthesis)
    graphed = GraphedSynthesis(plan, exact=network.synthesis, device="cpu", batch=2)
    made = []

    def record(noise_mode):
        made.append(FakeGraph(plan, noise_mode, 2))
        return made[-1], made[-1].codes, made[-1].picture

    monkeypatch.setattr(graphed, "_record", record)
    ws = codes(network, 5)
    torch.testing.assert_close(graphed(ws, "const"), plan(ws, "const"), rtol=0, atol=1e-5)
    torch.testing.assert_close(graphed(ws[:1], "const"), plan(ws[:1], "const"), rtol=0, atol=1e-5)
    assert len(made) == 1 and made[0].replays == 4
    fresh = [draw(ws, "random", generator=torch.Generator().manual_seed(0)) for draw in (graphed, plan)]
    assert torch.equal(*fresh) and len(made) == 1
    with pytest.raises(ValueError, match="codes ws of shape"):
        graphed(torch.zeros(1, 2, 3), "const")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here recording works")
def test_a_graph_that_cannot_be_recorded_says_so_once_and_the_plan_draws(capsys):
    network = build()
    plan = FastSynthesis(network.synthesis, precision="bf16")
    graphed = GraphedSynthesis(plan, exact=network.synthesis, device="cuda")
    graphed.device = torch.device("cuda")
    ws = codes(network, 1)
    assert torch.equal(graphed(ws, "const"), plan(ws, "const"))
    assert torch.equal(graphed(ws, "const"), plan(ws, "const"))
    assert capsys.readouterr().err.count("CUDA graph not recorded") == 1
    exact = network.synthesis(ws, noise_mode="none", force_fp32=True)
    torch.testing.assert_close(graphed(ws, "none", force_fp32=True), exact, rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the CUDA path is not run")
@pytest.mark.parametrize("variant", ["skip", "resnet", "orig", "half-precision layers"])
def test_cuda_draws_what_the_processor_draws(variant):
    network = build(**VARIANTS[variant])
    ws = codes(network, 3)
    wanted = network.synthesis(ws, noise_mode="const", force_fp32=True)
    network.cuda()
    set_tf32(False)
    graphed = GraphedSynthesis(FastSynthesis(network.synthesis), exact=network.synthesis, device="cuda", batch=2)
    for _ in range(2):
        torch.testing.assert_close(graphed(ws.cuda(), "const").cpu(), wanted, rtol=0, atol=1e-3)


def test_tf32_is_said_in_both_places():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            set_tf32(allowed)
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_small_blocks_stay_in_float32():
    network = build(img_resolution=16, channels=(12, 10, 8))
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
    with pytest.raises(ValueError, match="precision is 'int8'; allowed: fp32, bf16, fp16"):
        FastSynthesis(network.synthesis, precision="int8")
    with pytest.raises(ValueError, match="codes ws of shape"):
        plan(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="noise_mode is 'loud'"):
        plan(codes(network, 1), "loud")
    with pytest.raises(ValueError, match="force_fp32"):
        plan(codes(network, 1), force_fp32=True)
    with pytest.raises(ValueError, match="float32 weights"):
        FastSynthesis(network.double().synthesis)
