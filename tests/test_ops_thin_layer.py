"""The layer that reads a picture is its definition, derivatives included, whatever the threads; others stay plain."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_vector import LAST, assert_near, compiled, on_threads, pictures, random  # noqa: F401
from torch.autograd import forward_ad
from torch.nn import functional as F

from torch_utils.ops import build, thin_layer
from torch_utils.ops.bias_act import bias_act
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.layers import EqualizedConv2d


def definition(x, w, bias, act):
    return bias_act(F.conv2d(x, w, bias), act=act, gain=1.0)


def operands(n, planes, channels, h, w, biased, dtype, number):
    """Leaves in number, whose values dtype can hold."""
    given = pictures(n, planes, h, w), random(channels, planes, 1, 1, seed=1), random(channels, seed=2)
    return [each.to(dtype).to(number).requires_grad_() for each in given[:2 + biased]]


def loss(y, function):
    return (function(y.double()) * random(*y.shape[1:], seed=3)).sum()


@settings(max_examples=60, deadline=None, derandomize=True)  # float32 and float64 differ where a number meets the kink
@given(st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 3), st.integers(1, 4),
       st.sampled_from([16, 48, 80, 128]), st.integers(1, 9), st.integers(1, 9), st.booleans(),
       st.sampled_from(["lrelu", "relu", "linear"]), st.integers(1, 3))
def test_a_thin_layer_is_its_definition_to_third_order(dtype, n, planes, channels, h, w, biased, act, threads):
    results = []
    for number, function in ((dtype, thin_layer.thin_layer), (torch.float64, definition)):
        leaves = operands(n, planes, channels, h, w, biased, dtype, number)

        def differentiate(leaves=leaves, function=function):
            assert function is definition or thin_layer.usable(leaves[0], *leaves[1:3], *[None][biased:], act)
            y = function(*leaves, *[None][biased:], act)
            found = [y, *torch.autograd.grad(loss(y, torch.cos), leaves, retain_graph=True)]
            if dtype == torch.float32 and n:
                first = torch.autograd.grad(loss(y, torch.sin), leaves, create_graph=True)
                second = torch.autograd.grad(sum(loss(g, torch.square) for g in first), leaves, create_graph=True)
                third = torch.autograd.grad(sum(loss(g, torch.square) for g in second), leaves)
                found += [*first, *second, *third]
            return found

        results.append(on_threads(threads, differentiate))
    for one, two in zip(*results, strict=True):
        assert one.dtype == dtype
        assert_near(one, two, dtype)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_a_penalty_on_some_of_the_gradients_is_that_of_the_definition(wanted):
    results = []
    for number, function in ((torch.float32, thin_layer.thin_layer), (torch.float64, definition)):
        leaves = operands(2, 3, 32, 5, 7, True, torch.float32, number)
        y = function(*leaves, "lrelu")
        outer = random(*y.shape, seed=4).to(number).requires_grad_()
        first = torch.autograd.grad(y, [leaves[index] for index in wanted], outer, create_graph=True)
        results.append(torch.autograd.grad(sum(loss(g, torch.square) for g in first), [outer, *leaves],
                                           allow_unused=True, materialize_grads=True))
    for one, two in zip(*results, strict=True):
        assert_near(one, two, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_threads_share_many_pixels_and_change_nothing(dtype):
    def differentiate(number, function):
        leaves = operands(3, 3, 32, 67, 65, True, dtype, number)
        y = function(*leaves, "lrelu")
        return [y, *torch.autograd.grad(y, leaves, random(*y.shape, seed=3, dtype=dtype).to(number))]

    one, other = (on_threads(k, lambda: differentiate(dtype, thin_layer.thin_layer)) for k in (1, 3))
    assert all(map(torch.equal, one, other))
    for came, wanted in zip(one, differentiate(torch.float64, definition), strict=True):
        assert_near(came, wanted, dtype)


def test_what_is_not_a_number_stays_so():
    x = pictures(1, 3, 2, 2, dtype=torch.float32)
    x[0, 1, 0, 1] = math.nan
    y = thin_layer.thin_layer(x, random(16, 3, 1, 1, dtype=torch.float32), None, "lrelu")
    assert y[0, :, 0, 1].isnan().all() and y.isnan().sum() == 16


@pytest.fixture
def calls(monkeypatch):
    """The kinds of pictures that the kernels were called for."""
    kinds, run = [], thin_layer._call
    monkeypatch.setattr(thin_layer, "_call", lambda *a, **k: kinds.append(k["input"].dtype) or run(*a, **k))
    return kinds


def layer(*sizes, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = EqualizedConv2d(*sizes, **{"activation": "lrelu", **options})
        if made.bias is not None:
            made.bias.data.normal_()
    return made


def without(function):
    """Returns what function gives without these kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thin_layer, "usable", lambda *tensors: False)
        return function()


@pytest.mark.parametrize("autocast", [False, True])
def test_the_layer_on_the_picture_is_the_plain_one(calls, autocast):
    made, x = layer(3, 32, 1), pictures(2, 3, 9, 7, dtype=torch.float32).requires_grad_()

    def differentiate():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = made(x, gain=0.7)
        return y, *torch.autograd.grad(loss(y, torch.sin), (x, made.weight, made.bias))

    dtype = torch.bfloat16 if autocast else torch.float32
    came, wanted = differentiate(), without(differentiate)
    assert calls == [dtype, dtype]
    assert [each.dtype for each in came] == [each.dtype for each in wanted]
    for one, two in zip(came, wanted, strict=True):
        assert_near(one, two.double(), dtype)


@pytest.mark.parametrize("sizes, options, dtype, autocast", [
    ((5, 32, 1), {}, torch.float32, None), ((3, 32, 3), {}, torch.float32, None), ((3, 9, 1), {}, torch.float32, None),
    ((3, 32, 1), {"conv_clamp": 0.5}, torch.float32, None), ((3, 32, 1), {"down": 2}, torch.float32, None),
    ((3, 32, 1), {"activation": "swish"}, torch.float32, None), ((3, 32, 1), {}, torch.float64, None),
    ((3, 32, 1), {}, torch.float32, torch.float16)], ids=str)
def test_other_layers_stay_plain(calls, sizes, options, dtype, autocast):
    made, x = layer(*sizes, **options).to(dtype), pictures(2, sizes[0], 8, 8, dtype=dtype)
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        came, wanted = made(x), without(lambda: made(x))
    assert not calls and torch.equal(came, wanted)


def test_plain_torch_runs_where_the_kernels_are_refused(calls, monkeypatch):
    monkeypatch.setenv("V2S_OPS", "ref")
    build.forget()
    try:
        layer(3, 32, 1)(pictures(2, 3, 8, 8, dtype=torch.float32))
    finally:
        build.forget()
    assert not calls


def test_traces_tangents_and_function_transforms_see_plain_operators(calls):
    made = layer(3, 32, 1, activation="linear").requires_grad_(False)
    one, two = (pictures(2, 3, 8, 8, seed=seed, dtype=torch.float32) for seed in (1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace does not see, and that it is going out of use
        traced = torch.jit.trace(made, one, check_trace=False)(two)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(made(forward_ad.make_dual(one, two))).tangent
    together = torch.vmap(made)(torch.stack([one, two]))
    assert not calls
    assert_near(traced, made(two), torch.float32)
    assert_near(tangent, made(one + two) - made(one), torch.float32)
    assert_near(together, torch.stack([made(one), made(two)]), torch.float32)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_gradients_of_r1_are_the_plain_ones(calls, architecture):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        D = Discriminator(DiscriminatorSettings(img_resolution=16, channels=(16, 16, 32), architecture=architecture))
    D, reals = D.to(memory_format=LAST), pictures(4, 3, 16, 16, dtype=torch.float32).requires_grad_()

    def differentiate():
        logits = D(reals)
        (steep,) = torch.autograd.grad(logits.sum(), reals, create_graph=True)
        return logits, steep, *torch.autograd.grad(steep.square().sum() + logits.sum(), list(D.parameters()))

    came, wanted = differentiate(), without(differentiate)
    assert len(calls) >= 5  # the layer, its gradients, and those of its gradients
    for one, two in zip(came, wanted, strict=True):
        assert_near(one, two.double(), torch.float32)
