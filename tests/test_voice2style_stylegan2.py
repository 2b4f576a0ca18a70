"""Laws of the StyleGAN2 generator: truncation, style order, noise, batches, precision, settings, clear errors."""

import dataclasses
import json

import pytest
import torch

from dnnlib.settings import from_dict, to_dict
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.modulated_conv import modulated_conv2d
from voice2style.generators import GENERATORS
from voice2style.generators.stylegan2 import Generator, GeneratorSettings, Noise, channel_table

SMALL = GeneratorSettings(img_resolution=16, channels=(8, 6, 4), z_dim=10, w_dim=12, mapping_layers=2)


def build(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Generator(dataclasses.replace(SMALL, **changes)).eval()
        for name, parameter in network.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.data += 0.3 * torch.randn(parameter.shape)
        if network.settings.w_avg_beta is not None:
            network.mapping.w_avg.normal_()
    return network.requires_grad_(False)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def codes(network, n=3, seed=0):
    return random(n, network.num_ws, network.w_dim, seed=seed)


ARCHITECTURES = pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])


@ARCHITECTURES
@pytest.mark.parametrize(("const_shape", "size"), [((4, 4), (16, 16)), ((4, 2), (16, 8)), ((3, 5), (12, 20))])
def test_shapes(architecture, const_shape, size):
    network = build(architecture=architecture, const_shape=const_shape, c_dim=3, img_channels=4)
    ws = network.mapping(random(2, 10), random(2, 3))
    assert ws.shape == (2, 6, 12)
    assert network.synthesis(ws).shape == (2, 4, *size)
    assert network(random(2, 10), random(2, 3)).dtype == torch.float32


def test_the_table_builds_a_generator():
    settings, network = GENERATORS["stylegan2"]
    assert network(settings(img_resolution=8, channels=(4, 4), w_dim=8, z_dim=8)).num_ws == 4


def test_channel_table():
    assert channel_table(1024) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert channel_table(64, channel_base=1024, channel_max=64) == (64, 64, 64, 32, 16)


def test_truncation():
    network, z = build(), random(4, 10)
    ws, mean = network.mapping(z), network.mapping.w_avg
    torch.testing.assert_close(network.mapping(z, truncation_psi=0), mean.expand(4, 6, 12))
    torch.testing.assert_close(network.mapping(z, truncation_psi=0.3), mean + 0.3 * (ws - mean))
    cut = network.mapping(z, truncation_psi=0.3, truncation_cutoff=2)
    torch.testing.assert_close(cut[:, :2], mean + 0.3 * (ws[:, :2] - mean))
    assert torch.equal(cut[:, 2:], ws[:, 2:])
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


def test_the_running_mean_follows_only_when_asked():
    network, z = build(), random(4, 10)
    before, mean = network.mapping.w_avg.clone(), network.mapping(z)[:, 0].mean(0)
    assert torch.equal(network.mapping.w_avg, before)
    network.mapping(z, update_emas=True)
    torch.testing.assert_close(network.mapping.w_avg, mean + 0.998 * (before - mean))


def test_the_mapping_ignores_the_length_of_z_and_of_the_embedded_label():
    network, z, c = build(c_dim=2), random(4, 10), random(4, 2)
    network.mapping.embed.bias.zero_()
    torch.testing.assert_close(network.mapping(5 * z, 7 * c), network.mapping(z, c), rtol=1e-4, atol=1e-5)


@ARCHITECTURES
def test_which_row_of_ws_moves_which_layer(architecture):
    """Rows in order: b4.conv1, then conv0 and conv1 of each block; a torgb shares the row of the layer behind it."""
    network = build(architecture=architecture)
    takes = {"b4.conv1": 0, "b8.conv0": 1, "b8.conv1": 2, "b16.conv0": 3, "b16.conv1": 4, "b16.torgb": 5}
    if architecture == "skip":
        takes |= {"b4.torgb": 1, "b8.torgb": 3}
    seen, ws = {}, codes(network, 1)
    for name in takes:
        network.synthesis.get_submodule(name).affine.register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: inputs[0]}))
    network.synthesis(ws, noise_mode="none")
    for name, row in takes.items():
        assert torch.equal(seen.pop(name), ws[:, row]), name
    assert not hasattr(network.synthesis.b4, "torgb") or architecture == "skip"


@ARCHITECTURES
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_batch_independence(architecture, noise_mode):
    network = build(architecture=architecture).double()
    ws = codes(network).double()
    together = network.synthesis(ws, noise_mode=noise_mode)
    alone = torch.cat([network.synthesis(row[None], noise_mode=noise_mode) for row in ws])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_noise_modes():
    network = build()
    ws = codes(network)

    def noisy(ws, seed):
        return network.synthesis(ws, noise_mode="random", generator=torch.Generator().manual_seed(seed))

    first = noisy(ws, 1)
    assert torch.equal(first, noisy(ws, 1))
    assert not torch.equal(first, noisy(ws, 2))
    assert not torch.equal(network.synthesis(ws, noise_mode="const"), network.synthesis(ws, noise_mode="none"))
    torch.testing.assert_close(noisy(ws[:2], 1), first[:2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(network.synthesis(ws), network.synthesis(ws))


def test_without_noise_inputs_all_modes_agree():
    network = build(use_noise=False)
    ws = codes(network)
    assert not [name for name in network.state_dict() if "noise" in name]
    assert torch.equal(network.synthesis(ws, noise_mode="random"), network.synthesis(ws, noise_mode="none"))


@ARCHITECTURES
def test_the_clamp_holds_every_block(architecture):
    network = build(architecture=architecture, conv_clamp=0.01)
    bound = 0.01 * (3 if architecture == "skip" else 1)  # torgb's output is clamped in every block, the sum is not
    assert network.synthesis(50 * codes(network)).abs().max() <= bound * 1.01


@ARCHITECTURES
def test_double_computes_in_double_throughout(architecture):
    network = build(architecture=architecture, c_dim=2, num_fp16_res=4).double()
    single = build(architecture=architecture, c_dim=2)
    z, c = random(2, 10), random(2, 2)
    img = network(z.double(), c.double(), noise_mode="const")
    assert img.dtype == torch.float64
    torch.testing.assert_close(img.float(), single(z, c, noise_mode="const"), rtol=1e-3, atol=1e-4)
    nudged = network(z.double() + 1e-11, c.double(), noise_mode="const")
    assert 0 < (nudged - img).abs().max() < 1e-8


def test_half_precision_blocks_and_force_fp32():
    options = {"num_fp16_res": 2, "conv_clamp": 256.0}
    ws = codes(build())
    exact = build(conv_clamp=256.0).synthesis(ws, noise_mode="const")
    half = build(fp16_on_cpu=True, **options)
    assert [half.synthesis.get_submodule(name).use_fp16 for name in ("b4", "b8", "b16")] == [False, True, True]
    img = half.synthesis(ws, noise_mode="const")
    assert img.dtype == torch.float32
    assert 0 < (img - exact).abs().max() < 0.05
    assert torch.equal(half.synthesis(ws, noise_mode="const", force_fp32=True), exact)
    assert torch.equal(build(**options).synthesis(ws, noise_mode="const"), exact)  # on a CPU only where asked for


def test_first_values():
    """Weights near N(0, 1), biases 0 (affine: 1), noise strengths 0, mapping weights divided by their rate."""
    network = Generator(GeneratorSettings(img_resolution=8, channels=(64, 64), z_dim=64, w_dim=64, mapping_layers=1))
    state = network.state_dict()
    for name, value in state.items():
        kind = name.rsplit(".", 1)[1]
        if kind == "bias":
            assert (value == (1 if "affine" in name else 0)).all(), name
        elif kind in ("weight", "const", "noise_const") and value.numel() > 3000:
            scale = 100 if name.startswith("mapping") else 1
            assert value.std() == pytest.approx(scale, rel=0.1), name
        elif kind in ("noise_strength", "w_avg"):
            assert (value == 0).all(), name


@pytest.mark.parametrize("changes", [{}, {"architecture": "resnet", "conv_clamp": 256.0, "w_avg_beta": None}])
def test_settings_round_trip_through_json(changes):
    settings = dataclasses.replace(SMALL, **changes)
    assert from_dict(GeneratorSettings, json.loads(json.dumps(to_dict(settings)))) == settings


def test_another_filter_reaches_the_layers_that_resample():
    network = build(architecture="resnet", resample_filter=(1, 2, 1))
    shapes = {name: list(value.shape) for name, value in network.synthesis.b8.named_buffers()
              if name.endswith("resample_filter")}
    assert shapes == {"resample_filter": [3, 3], "conv0.resample_filter": [3, 3], "conv1.resample_filter": [4, 4],
                      "skip.resample_filter": [3, 3]}
    assert network.synthesis(codes(network)).shape == (3, 3, 16, 16)


@pytest.mark.parametrize(("changes", "message"), [
    ({"img_resolution": 24}, r"img_resolution is 24; allowed: a power of two"),
    ({"channels": (8, 8)}, r"channels \[8, 8\] .* each of the resolutions \[4, 8, 16\]"),
    ({"architecture": "dense"}, r"architecture is 'dense'; allowed: skip, resnet, orig"),
    ({"activation": "mish"}, r"activation is 'mish'; allowed: linear"),
    ({"const_shape": (4,)}, r"const_shape is \(4,\); allowed: two numbers"),
])
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_errors_name_what_came_and_what_is_allowed():
    network, labelled, meanless = build(), build(c_dim=3), build(w_avg_beta=None)
    with pytest.raises(ValueError, match=r"z: shape \[2, 9\] came; allowed: \[N, 10\]"):
        network.mapping(random(2, 9))
    with pytest.raises(ValueError, match=r"label c of shape \[2, 3\], but this network knows no labels"):
        network.mapping(random(2, 10), random(2, 3))
    with pytest.raises(ValueError, match=r"label c: nothing came; allowed: \[N, 3\]"):
        labelled.mapping(random(2, 10))
    with pytest.raises(ValueError, match=r"1 labels c for 2 latents z"):
        labelled.mapping(random(2, 10), random(1, 3))
    with pytest.raises(ValueError, match=r"keeps no mean code; allowed: 1"):
        meanless.mapping(random(2, 10), truncation_psi=0.5)
    with pytest.raises(ValueError, match=r"codes ws of shape \[2, 5, 12\]; allowed: \[N, 6, 12\]"):
        network.synthesis(random(2, 5, 12))
    with pytest.raises(ValueError, match=r"noise_mode is 'loud'; allowed: random, const, none"):
        network.synthesis(codes(network), noise_mode="loud")


@pytest.mark.parametrize("activation", ["lrelu", "tanh"])
def test_a_layer_by_hand(activation):
    """Convolution, then noise, then bias, then activation, then gain, then the clamp, which the gain scales too."""
    network = build(activation=activation, conv_clamp=1.5)
    layer, noise = network.synthesis.b8.conv1, Noise("const", random(2), [], None)
    x, w = random(2, 6, 8, 8), random(2, 12)
    y = modulated_conv2d(x, layer.weight, layer.affine(w), padding=1) + layer.noise_const * layer.noise_strength
    wanted = bias_act(y, layer.bias, act=activation) * 0.5
    torch.testing.assert_close(layer(x, w, noise, gain=0.5), wanted.clamp(-0.75, 0.75))
