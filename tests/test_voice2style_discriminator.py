"""Laws of the StyleGAN2 discriminator: batch statistics, labels, freezing, precision, settings, clear errors."""

import dataclasses
import json
import math

import pytest
import torch

from dnnlib.settings import from_dict, to_dict
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.layers import MinibatchStd, normalize_2nd_moment

SMALL = DiscriminatorSettings(img_resolution=16, channels=(8, 6, 4), mapping_layers=2)
ARCHITECTURES = pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])


def build(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Discriminator(dataclasses.replace(SMALL, **changes)).eval()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@ARCHITECTURES
@pytest.mark.parametrize(("const_shape", "size"), [((4, 4), (16, 16)), ((4, 2), (16, 8))])
def test_shapes(architecture, const_shape, size):
    network = build(architecture=architecture, const_shape=const_shape, img_channels=4, c_dim=3, cmap_dim=5)
    assert network(random(4, 4, *size), random(4, 3)).shape == (4, 1)
    assert network.b4.out.weight.shape == (5, 8)


def test_batch_statistics_by_hand():
    """Batch of 6, groups of 3: sample n gets the mean over C, H, W of the deviation over samples n mod 2."""
    x = random(6, 2, 3, 3)
    y = MinibatchStd(3)(x)
    assert torch.equal(y[:, :2], x)
    for n in range(6):
        group = x[n % 2:: 2]
        wanted = (group.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[n, 2], wanted.expand(3, 3))


def test_batch_statistics_know_groups_not_order():
    x = random(8, 4, 2, 2)
    y = MinibatchStd(4, 2)(x)
    moved = [2, 1, 0, 3, 6, 5, 4, 7]  # within the groups {0, 2, 4, 6} and {1, 3, 5, 7}
    torch.testing.assert_close(MinibatchStd(4, 2)(x[moved])[:, 4:], y[moved][:, 4:])
    torch.testing.assert_close(MinibatchStd(None)(x)[:, 4:].std(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(MinibatchStd(4)(x[:1])[:, 4:], torch.full([1, 1, 2, 2], 1e-4))
    with pytest.raises(ValueError, match="batch of 6; allowed: a multiple of the group size 4"):
        MinibatchStd(4)(x[:6])


@ARCHITECTURES
def test_without_batch_statistics_samples_do_not_see_each_other(architecture):
    network = build(architecture=architecture, mbstd_num_channels=0).double()
    assert network.b4.mbstd is None
    img = random(3, 3, 16, 16).double()
    torch.testing.assert_close(network(img), torch.cat([network(row[None]) for row in img]), rtol=1e-10, atol=1e-10)
    seeing = build(architecture=architecture).double()
    assert not torch.allclose(seeing(img), torch.cat([seeing(row[None]) for row in img]))


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_batches_behind_each_other_are_judged_as_if_alone(architecture):
    network = build(architecture=architecture, c_dim=3, num_people=5).double()
    img, c = random(16, 3, 16, 16).double(), random(16, 3).double()
    alone = torch.cat([network(*parts) for parts in zip(img.chunk(2), c.chunk(2))])
    torch.testing.assert_close(network(img, c, batches=2), alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network.judge(img, c, batches=2)[0], alone, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(network(img, c), alone)


def test_labels_enter_as_a_projection():
    network, img, c = build(c_dim=3), random(4, 3, 16, 16), random(4, 3)
    captured = []
    network.b4.out.register_forward_hook(lambda module, inputs, output: captured.append(output))
    logits, cmap = network(img, c), network.mapping(None, c)
    torch.testing.assert_close(logits, (captured[0] * cmap).sum(1, keepdim=True) / math.sqrt(8))
    bare = build(c_dim=3, mapping_layers=0).mapping
    torch.testing.assert_close(bare(None, c), normalize_2nd_moment(bare.embed(c)))


def test_a_classifier_on_the_trunk_changes_nothing_else():
    images = random(4, 3, 16, 16)
    for changes in ({}, {"c_dim": 3}):
        labels = random(4, 3) if changes else None
        plain, headed = build(**changes), build(num_people=5, **changes)
        assert set(headed.state_dict()) - set(plain.state_dict()) == {
            "classifier.fc.weight", "classifier.fc.bias", "classifier.out.weight", "classifier.out.bias"}
        assert torch.equal(headed(images, labels), plain(images, labels))  # also the same initial values
        logits, people = headed.judge(images, labels)
        assert torch.equal(logits, plain(images, labels)) and people.shape == (4, 5)
        alone = headed.judge(images[:1], None if labels is None else labels[:1])[1]
        assert torch.allclose(alone, people[:1], atol=1e-5)  # it sees no batch statistics
        again = build(seed=1, num_people=5, **changes)
        again.load_state_dict(headed.state_dict())
        assert torch.equal(again.judge(images, labels)[1], people)
    with pytest.raises(ValueError, match="this discriminator has no identity classifier"):
        build().judge(images)
    with pytest.raises(ValueError, match="num_people is 1; allowed: 0"):
        build(num_people=1)


def test_the_classifier_trains_the_trunk():
    network = build(num_people=5)
    torch.nn.functional.cross_entropy(network.judge(random(4, 3, 16, 16))[1], torch.arange(4)).backward()
    assert network.b16.conv0.weight.grad.abs().max() > 0 and network.b4.out.weight.grad is None


def test_frozen_layers_are_the_first_and_keep_their_names():
    free, frozen = build(), build(freeze_layers=5)
    assert set(free.state_dict()) == set(frozen.state_dict())
    gone = {name for name, _ in free.named_parameters()} - {name for name, _ in frozen.named_parameters()}
    layers = {name.rsplit(".", 1)[0] for name in gone}
    assert layers == {"b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0"}
    frozen.load_state_dict(free.state_dict())
    img = random(2, 3, 16, 16)
    torch.testing.assert_close(frozen(img), free(img))


@ARCHITECTURES
def test_double_computes_in_double_throughout(architecture):
    network, single = build(architecture=architecture, num_fp16_res=4).double(), build(architecture=architecture)
    img = random(4, 3, 16, 16)
    logits = network(img.double())
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.float(), single(img), rtol=1e-3, atol=1e-4)
    assert 0 < (network(img.double() + 1e-11) - logits).abs().max() < 1e-8


@ARCHITECTURES
def test_half_precision_blocks_and_force_fp32(architecture):
    img = random(4, 3, 16, 16)
    exact = build(architecture=architecture, conv_clamp=256.0)(img)
    options = {"architecture": architecture, "num_fp16_res": 4, "conv_clamp": 256.0}
    half = build(fp16_on_cpu=True, **options)
    assert 0 < (half(img) - exact).abs().max() < 0.05
    torch.testing.assert_close(half(img, force_fp32=True), exact)
    torch.testing.assert_close(build(**options)(img), exact)


@ARCHITECTURES
def test_r1_gradient_by_finite_differences(architecture):
    """The gradient that the R1 penalty squares, against a central difference along a random direction."""
    network = build(architecture=architecture).double()
    real, step = random(4, 3, 16, 16).double().requires_grad_(), 1e-6 * random(4, 3, 16, 16, seed=1).double()
    (grads,) = torch.autograd.grad(network(real).sum(), real)
    with torch.no_grad():
        change = (network(real + step) - network(real - step)).sum() / 2
    torch.testing.assert_close((grads * step).sum(), change, rtol=1e-4, atol=0)


@pytest.mark.parametrize("changes", [{}, {"mbstd_group_size": None, "cmap_dim": 7, "conv_clamp": 2.0, "c_dim": 3}])
def test_settings_round_trip_through_json(changes):
    settings = dataclasses.replace(SMALL, **changes)
    assert from_dict(DiscriminatorSettings, json.loads(json.dumps(to_dict(settings)))) == settings


def test_errors_name_what_came_and_what_is_allowed():
    network = build()
    with pytest.raises(ValueError, match=r"pictures of shape \[2, 3, 8, 8\]; allowed: \[N, 3, 16, 16\]"):
        network(random(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"label c of shape \[2, 3\], but this network knows no labels"):
        network(random(2, 3, 16, 16), random(2, 3))
    with pytest.raises(ValueError, match=r"label c: nothing came; allowed: \[N, 3\]"):
        build(c_dim=3)(random(2, 3, 16, 16))
    with pytest.raises(ValueError, match=r"img_resolution is 4; allowed for a discriminator: 8 or more"):
        build(img_resolution=4, channels=(8,))
    with pytest.raises(ValueError, match=r"mbstd_num_channels is 3; allowed: 0 or a divisor of 8"):
        build(mbstd_num_channels=3)
