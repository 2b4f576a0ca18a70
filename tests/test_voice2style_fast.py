"""The frozen plan: loud float16, recorded graphs, copies, batches, wishes that it refuses (see test_equality.py)."""

import dataclasses

import pytest
import torch

from torch_utils.devices import set_tf32
from torch_utils.ops import build as build_ops
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators import fast_stylegan2
from voice2style.generators.fast_stylegan2 import FastSynthesis
from voice2style.generators.graphed import GraphedSynthesis
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

SMALL = GeneratorSettings(img_resolution=32, channels=(12, 10, 8, 6), z_dim=10, w_dim=12, mapping_layers=2)


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, {"architecture": "orig"}, {"conv_clamp": 0.7, "c_dim": 3}])
def test_the_last_block_line_by_line(monkeypatch, changes, precision):
    """Equal, bit by bit, to one layer after the other; a network of less work never starts a compiler."""
    monkeypatch.setattr(fast_stylegan2, "_WORTH_A_BUILD", 0)
    if build_ops.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build_ops.state('simd')}")
    network = build(**changes, img_resolution=64, channels=(16, 32, 16, 48, 16))
    ws, pictures = codes(network, 2), []
    for threshold in (64 * 64 * 16, 1 << 40):
        monkeypatch.setattr(fast_stylegan2, "_IN_LINES", threshold)
        plan = FastSynthesis(network.synthesis, precision=precision)
        assert plan.blocks[-1].in_lines == (threshold < 1 << 40)
        pictures.append(plan(ws, "const"))
    assert torch.equal(*pictures)
    monkeypatch.setattr(fast_stylegan2, "_WORTH_A_BUILD", 1e18)
    monkeypatch.setattr(build_ops, "built", lambda name: None)
    plan = FastSynthesis(network.synthesis, precision=precision)
    assert not any(layer.tiled for block in plan.blocks for layer in block.layers)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("changes", [{}, {"architecture": "resnet", "use_noise": False}, {"architecture": "orig"},
                                     {"conv_clamp": 0.7, "activation": "tanh"}])
def test_no_codes_are_no_pictures(monkeypatch, changes, kernels):
    """An empty batch, as torch's own modules take it: from the plan and from the network, which has gradients of 0."""
    monkeypatch.setattr(fast_stylegan2, "_WORTH_A_BUILD", 0 if kernels else 1e18)
    monkeypatch.setattr(fast_stylegan2, "_IN_LINES", 64 * 64 * 16)
    if kernels and build_ops.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build_ops.state('simd')}")
    if not kernels:
        monkeypatch.setattr(build_ops, "built", lambda name: None)
    network = build(img_resolution=64, channels=(16, 32, 16, 48, 16), z_dim=16, w_dim=16, **changes)
    synthesis = network.requires_grad_(True).synthesis
    ws = network.mapping(torch.zeros(0, 16))
    plans = [FastSynthesis(synthesis, precision=precision) for precision in ("fp32", "bf16", "fp16")]
    for draw in (synthesis, *plans):
        for mode, generator in (("const", None), ("none", None), ("random", None), ("random", torch.Generator()),
                                ("random", [])):
            pictures = draw(ws, noise_mode=mode, generator=generator)
            assert pictures.shape == (0, 3, 64, 64) and pictures.dtype == torch.float32
    synthesis(ws, noise_mode="const").sum().backward()
    assert synthesis.b64.conv1.weight.grad.abs().max() == 0
    discriminator = Discriminator(DiscriminatorSettings(img_resolution=64, channels=(16, 32, 16, 48, 16)))
    assert discriminator(torch.zeros(0, 3, 64, 64)).shape == (0, 1)


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


def test_tf32_is_said_in_both_places():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            set_tf32(allowed)
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_the_first_block_stays_in_float32():
    network = build(img_resolution=8, channels=(12, 10))
    layers = [block.dtype for block in FastSynthesis(network.synthesis, precision="bf16").blocks]
    assert layers == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("at_once", [1, 1 << 11, 1 << 12])
def test_a_batch_in_pieces(monkeypatch, at_once):
    network = build(img_resolution=16, channels=(12, 10, 8))
    ws = codes(network, 5)
    for mode, seed in (("const", None), ("none", None), ("random", 1)):
        draw = lambda mode=mode, seed=seed: FastSynthesis(network.synthesis)(  # noqa: E731
            ws, mode, generator=None if seed is None else torch.Generator().manual_seed(seed))
        whole = draw()
        with monkeypatch.context() as patch:
            patch.setattr(fast_stylegan2, "_AT_ONCE", at_once)
            torch.testing.assert_close(draw(), whole, rtol=0, atol=1e-5)


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


@pytest.mark.parametrize("width", [16, 10])  # with vector kernels where there are any, and without
def test_autocast_leaves_a_plan_alone(width):
    """Its small tensors would be bfloat16, which the kernels do not read."""
    network = build(channels=(width,) * 4)
    ws, plan = codes(network, 2), FastSynthesis(network.synthesis)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawn = plan(ws, "const")
    assert torch.equal(drawn, plan(ws, "const"))


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
