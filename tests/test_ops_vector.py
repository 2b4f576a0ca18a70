"""The vector kernels that train on a processor are what they stand for, derivatives included, whatever the threads."""

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.nn import functional as F

from benchmarks.published_recipe import PublishedDiscriminator, PublishedSynthesis
from torch_utils.ops import batched_conv, build, convolution, layer_tail, weight_gradient
from torch_utils.ops.bent_filter import bent_filter, bent_filter_reference
from torch_utils.ops.fused import Tail, fused_layer, fused_layer_reference
from torch_utils.ops.thin_product import thin_product, thin_product_reference
from torch_utils.ops.upfirdn2d import pad4, setup_filter, upfirdn2d
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

LAST = torch.channels_last
FILTERS = {"1331": setup_filter([1, 3, 3, 1]), "skew": setup_filter([1.0, -2.0, 4.0]), "none": None,
           "long": setup_filter(list(range(1, 10))), "inseparable": torch.eye(3)}
DIGITS = {torch.float64: 1e-11, torch.float32: 5e-5, torch.bfloat16: 6e-2}


@pytest.fixture(autouse=True)
def compiled():
    if build.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build.state('simd')}")


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pictures(*shape, seed=0, dtype=torch.float64):
    return random(*shape, seed=seed, dtype=dtype).contiguous(memory_format=LAST)


def assert_near(came, wanted, dtype):
    """Equal up to the digits of dtype, of numbers of the size of the largest."""
    size = max(1.0, float(wanted.detach().abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(came.double() / size, wanted.double() / size, rtol=0, atol=DIGITS[dtype])
    if dtype == torch.bfloat16:  # single numbers stray, all together do not
        assert (came.double() - wanted).norm() <= 0.015 * wanted.norm()


def on_threads(number, function):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        return function()
    finally:
        torch.set_num_threads(before)


def plain(function):
    """Returns what function gives without vector kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_tail, "usable", lambda *tensors, **options: False)
        patch.setattr(batched_conv, "form_of", lambda *tensors: None)
        patch.setattr(weight_gradient, "usable", lambda *tensors: False)
        return function()


def small_tensors(n, channels, size, noise):
    shape = {"each": (n, 1, *size), "shared": size, "none": None}[noise]
    return {"scale": random(n, channels, seed=1), "next_scale": random(n, channels, seed=2),
            "noise": None if shape is None else random(*shape, seed=3),
            "strength": None if shape is None else random(1, seed=4), "bias": random(channels, seed=5)}


@settings(max_examples=60, deadline=None, derandomize=True)  # float32 and float64 differ where a number meets a kink
@given(st.sampled_from(list(DIGITS)), st.sampled_from(list(FILTERS)), st.integers(0, 3), st.integers(8, 70),
       st.integers(6, 11), st.integers(6, 11), st.sampled_from(["lrelu", "relu", "linear"]),
       st.sampled_from([None, 0.7]), st.sampled_from(["each", "shared", "none"]), st.sets(st.sampled_from(
           ["scale", "next_scale", "bias"])), st.integers(1, 3))
def test_a_tail_is_its_steps_to_second_order(dtype, name, n, channels, h, w, act, clamp, noise, left_out, threads):
    """Values; and for float32 and float64 gradients, and those of a penalty on them."""
    f, pad = FILTERS[name], (2, 1, 1, 2)
    taps = 1 if f is None else f.shape[0]
    size = (h + 4 - taps, w + 4 - taps)  # with the pads above
    a = small_tensors(n, channels, size, noise)
    a = {key: None if key in left_out else value for key, value in a.items()}
    x = pictures(n, channels, h, w, seed=6)

    def differentiate(number):
        real = layer_tail.KINDS[number]
        given = {key: None if value is None else value.to(layer_tail.KINDS[dtype]).to(real).requires_grad_(
            key != "noise") for key, value in a.items()}
        leaf = x.to(dtype).to(number).requires_grad_()
        y = fused_layer(leaf, f, padding=pad, filter_gain=3.0, act=act, clamp=clamp, **given)
        if dtype == torch.bfloat16:
            return [y]
        leaves = [leaf, *(value for value in given.values() if value is not None and value.requires_grad)]
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g + g.square()).sum() for g in first), leaves, allow_unused=True,
                                     materialize_grads=True)
        return [y, *first, *second]

    came = on_threads(threads, lambda: differentiate(dtype))
    for one, two in itertools.zip_longest(came, plain(lambda: differentiate(torch.float64))):
        assert_near(one, two, dtype)


@pytest.mark.parametrize("f", ["1331", "none"])
@pytest.mark.parametrize("clamp", [None, 1.5])
def test_derivatives_of_a_tail_are_those_of_finite_differences(f, clamp):
    x = pictures(1, 9, 4, 3).requires_grad_()
    a = small_tensors(1, 9, (3, 2) if f == "1331" else (4, 3), "each")
    names = [key for key in a if key != "noise"]

    def function(x, *values):
        return fused_layer(x, FILTERS[f], padding=1 if f == "1331" else 0, clamp=clamp, noise=a["noise"],
                           **dict(zip(names, values, strict=True)))

    leaves = (x, *(a[name].requires_grad_() for name in names))
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def test_the_third_derivative_of_a_tail_and_the_gradient_of_its_noise_are_those_of_its_steps():
    x, a = pictures(2, 8, 4, 5), small_tensors(2, 8, (4, 5), "each")

    def differentiate():
        leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_(),
                  *(value.clone().requires_grad_() for value in a.values())]
        found = fused_layer(leaves[0], **dict(zip(a, leaves[1:], strict=True))).square()
        steps = []
        for order in range(3):
            found = torch.autograd.grad(found.sum() if order == 0 else sum(g.square().sum() for g in found), leaves,
                                        create_graph=True)
            steps += found
        return steps

    for one, two in zip(differentiate(), plain(differentiate), strict=True):
        assert_near(one, two, torch.float64)


def test_what_is_not_a_number_stays_so_and_a_clamp_holds_the_infinite():
    x = pictures(1, 16, 2, 2)
    x[0, 3, 0, 0], x[0, 4, 0, 0] = math.nan, math.inf
    y = fused_layer(x, clamp=2.0)
    assert y[0, 3, 0, 0].isnan() and y[0, 4, 0, 0] == 2 and y.isnan().sum() == 1
    strange = torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32).view(torch.float32)  # carries into the sign
    y = thin_product(pictures(1, 16, 1, 1, dtype=torch.bfloat16), strange[:, None].expand(1, 3, 16))
    assert y.isnan().all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), st.sampled_from(["1331", "skew", "long"]),
       st.integers(0, 2), st.integers(8, 40), st.integers(4, 11), st.integers(4, 11), st.integers(1, 3),
       st.integers(1, 3), st.tuples(*[st.integers(-2, 9)] * 4), st.booleans(), st.integers(1, 3))
def test_a_filter_is_that_of_plain_torch(dtype, name, n, channels, h, w, up, down, pad, flip, threads):
    f = FILTERS[name]
    taps = max(f.shape)
    if min(h * up + pad[2] + pad[3], w * up + pad[0] + pad[1]) < taps or h * up + min(pad[2:]) < 1:
        return
    x = pictures(n, channels, h, w, dtype=dtype).requires_grad_()
    options = {"up": up, "down": down, "padding": pad, "flip_filter": flip, "gain": 1.5}

    def differentiate():
        y = upfirdn2d(x, f, **options)
        return y, torch.autograd.grad(y, x, random(*y.shape, seed=9, dtype=dtype))[0]

    for one, two in zip(on_threads(threads, differentiate), plain(differentiate), strict=True):
        assert_near(one, two, dtype)


def test_filters_are_split_only_where_they_are_products():
    assert layer_tail.taps_of(FILTERS["1331"], torch.float64) is not None
    assert layer_tail.taps_of(FILTERS["inseparable"], torch.float32) is None
    assert layer_tail.taps_of(torch.zeros(3, 3), torch.float32) is None
    almost = FILTERS["1331"].double()
    almost[1, 2] += 1e-9
    assert layer_tail.taps_of(almost, torch.float32) and layer_tail.taps_of(almost, torch.float64) is None


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), st.integers(1, 3), st.integers(8, 70),
       st.integers(4, 9), st.integers(4, 9), st.sampled_from(["lrelu", "relu", "linear"]), st.integers(0, 3))
def test_a_filter_behind_an_activation_is_the_two_steps(dtype, n, channels, h, w, act, pad):
    f, results = FILTERS["1331"], []
    for number, function in ((dtype, bent_filter), (torch.float64, bent_filter_reference)):
        x = pictures(n, channels, h, w).to(dtype).to(number).requires_grad_()
        b = random(channels, seed=1).to(dtype).to(layer_tail.KINDS[number]).requires_grad_()
        y = function(x, f, b, padding=pad, act=act)
        first = torch.autograd.grad(y.double().sin().sum(), (x, b), create_graph=True)
        second = torch.autograd.grad(sum(g.double().square().sum() for g in first), (x, b))
        results.append([y] if dtype == torch.bfloat16 else [y, *first, *second])
    for one, two in zip(*results, strict=True):
        assert_near(one, two, dtype)


def test_derivatives_of_a_filter_behind_an_activation_are_those_of_finite_differences():
    leaves = pictures(1, 9, 4, 3).requires_grad_(), random(9, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: bent_filter(x, FILTERS["1331"], b, padding=2), leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, b: bent_filter(x, FILTERS["1331"], b, padding=2), leaves,
                                        fast_mode=True)


SHAPES = {"same": ((1, 1), (1, 1), 1), "adjoint": ((1, 1), (1, 1), 1, True), "down": ((2, 2), (0, 0), 1),
          "down padded": ((2, 2), (1, 0), 1), "up": ((2, 2), (0, 0), 1, True),
          "up rest": ((2, 2), (0, 0), 1, True, (1, 0))}


def library(x, w, shape):
    if shape.transposed:
        return F.conv_transpose2d(x, w, None, shape.stride, shape.padding, shape.rest)
    return F.conv2d(x, w, None, shape.stride, shape.padding)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(SHAPES)), st.integers(0, 3), st.sampled_from([16, 48]), st.sampled_from([32, 64]),
       st.integers(3, 19), st.integers(3, 19), st.booleans(), st.booleans())
def test_a_convolution_of_a_batch_is_the_library_s_whatever_the_threads(name, n, num_in, num_out, h, w, last, short):
    shape = convolution._Shape(*SHAPES[name])
    dtype, num_in = (torch.bfloat16, 2 * num_in) if short else (torch.float32, num_in)
    x = pictures(n, num_in, h, w, dtype=dtype)
    weight = random(*((num_in, num_out) if shape.transposed else (num_out, num_in)), 3, 3, seed=1) / (3 * num_in**0.5)
    weight = weight.to(dtype).contiguous(memory_format=LAST if last else torch.contiguous_format)
    form = name.split()[0].replace("adjoint", "same")
    came, other = (on_threads(k, lambda: batched_conv.convolve(x, weight, shape, form)) for k in (1, 3))
    wanted = library(x.double(), weight.double(), shape)
    assert came.dtype == dtype and torch.equal(came, other)
    torch.testing.assert_close(came.double(), wanted, rtol=0, atol=0.3 if short else 2e-5)
    if short and wanted.numel():
        assert (came - wanted).norm() < 0.02 * wanted.norm()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([((1, 1), (1, 1)), ((1, 1), (0, 2)), ((2, 2), (0, 0)), ((2, 2), (1, 0))]), st.integers(1, 9),
       st.sampled_from([16, 48, 64]), st.sampled_from([16, 32, 48]), st.integers(3, 19), st.integers(3, 19),
       st.booleans(), st.integers(1, 3))
def test_a_weight_gradient_is_the_library_s(strides, n, num_fine, num_coarse, h, w, short, threads):
    stride, padding = strides
    dtype = torch.bfloat16 if short else torch.float32
    num_fine, num_coarse = (channels * (2 if short else 1) for channels in (num_fine, num_coarse))
    fine = pictures(n, num_fine, h, w, dtype=dtype)
    weight = torch.zeros(num_coarse, num_fine, 3, 3, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(fine.double(), weight, None, stride, padding)
    coarse = pictures(*y.shape, seed=1, dtype=dtype)
    (wanted,) = torch.autograd.grad(y, weight, coarse.double())
    came, again = (on_threads(threads, lambda: weight_gradient.weight_gradient(fine, coarse, stride, padding))
                   for _ in range(2))
    assert torch.equal(came, again)
    deviation = (came - wanted).norm() / wanted.norm()
    assert deviation < (0.04 if short else 2e-5)


@pytest.mark.parametrize("options", [{"stride": 1, "padding": 1}, {"stride": 2, "padding": 0}], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_the_kernels_are_what_conv2d_differentiates_with(options, transposed):
    """A penalty on the input's gradient, differentiated in input and weights; every kernel is called."""
    function = convolution.conv_transpose2d if transposed else convolution.conv2d
    x, w = pictures(16, 32, 23, 22, dtype=torch.float32), random(32, 32, 3, 3, seed=1, dtype=torch.float32) / 17

    def differentiate(dtype):
        leaves = x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()
        y = function(*leaves, **options)
        (dx,) = torch.autograd.grad(y.sin().sum(), leaves[:1], create_graph=True)
        return y, dx, *torch.autograd.grad(dx.square().sum() + y.cos().sum(), leaves)

    called, patch = [], pytest.MonkeyPatch()
    with patch.context() as inner:
        for module, name in ((batched_conv, "convolve"), (weight_gradient, "weight_gradient")):
            run = getattr(module, name)
            inner.setattr(module, name, lambda *a, run=run, name=name: called.append(name) or run(*a))
        inner.setattr(batched_conv, "FEWEST_TILES", dict.fromkeys(batched_conv.FORMS, 1))
        came = differentiate(torch.float32)
    assert set(called) == {"convolve", "weight_gradient"}
    for one, two in zip(came, plain(lambda: differentiate(torch.float64)), strict=True):
        assert_near(one, two, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("architecture, judge", [("skip", "resnet"), ("resnet", "skip"), ("orig", "orig")])
def test_whole_networks_of_many_channels_are_those_of_the_published_recipe(architecture, judge, dtype):
    """Pictures, logits and first gradients; in float32 path-length and R1 gradients too. Every kernel takes part."""
    channels = (32, 32, 32, 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = Generator(GeneratorSettings(img_resolution=32, channels=channels, z_dim=8, w_dim=8, mapping_layers=2,
                                        architecture=architecture))
        D = Discriminator(DiscriminatorSettings(img_resolution=32, channels=channels, architecture=judge))
        for name, parameter in (*G.named_parameters(), *D.named_parameters()):
            if name.endswith(("noise_strength", "bias")):
                parameter.data += 0.2 * torch.randn(parameter.shape)
    G, D = G.to(memory_format=LAST), D.to(memory_format=LAST)
    weights, z, results = [p for p in (*G.synthesis.parameters(), *D.parameters()) if p.ndim == 4], random(8, 8), []
    for synthesis, score, autocast in ((lambda ws: G.synthesis(ws, noise_mode="const"), D, dtype == torch.bfloat16),
                                       (PublishedSynthesis(G.synthesis), PublishedDiscriminator(D), False)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            ws = G.mapping(z.float())
            images = synthesis(ws)
            logits = score(images)
        first = torch.autograd.grad(F.softplus(-logits.float()).mean(), weights, retain_graph=True, allow_unused=True)
        found = [images, logits, torch.cat([g.flatten() for g in first if g is not None])]
        if dtype == torch.float32:
            (slope,) = torch.autograd.grad((images * images.detach().sin()).sum(), ws, create_graph=True)
            path = torch.autograd.grad(slope.square().sum().sqrt(), list(G.parameters()), allow_unused=True)
            reals = images.detach().tanh().requires_grad_()
            (steep,) = torch.autograd.grad(score(reals).sum(), reals, create_graph=True)
            r1 = torch.autograd.grad(steep.square().sum(), list(D.parameters()), allow_unused=True)
            found += [torch.cat([g.flatten() for g in group if g is not None]) for group in (path, r1)]
        results.append([each.detach().float() for each in found])
    limits = (1e-4, 1e-4, 1e-3, 1e-3, 1e-3) if dtype == torch.float32 else (0.05, 0.1, 0.2)
    for ours, theirs, limit in zip(*results, limits, strict=True):
        assert 0 < (ours - theirs).norm() / theirs.norm() < limit


@pytest.mark.parametrize("layer", [lambda x, f, pad: fused_layer(x, f, padding=pad),
                                   lambda x, f, pad: bent_filter(x, f, torch.zeros(8), padding=pad)])
@pytest.mark.parametrize("pad", [0, (1, 0, 0, 1)])
def test_pictures_smaller_than_their_filter_are_refused(layer, pad):
    with pytest.raises(ValueError, match="smaller than the filter .*nothing would be left"):
        layer(pictures(1, 8, 2, 2, dtype=torch.float32), FILTERS["1331"], pad)


def test_a_weight_gradient_takes_whole_vectors_of_channels():
    """Else the last vector of a picture's last pixel would be read from beyond it."""
    fine, lanes = pictures(8, 16, 16, 16, dtype=torch.float32), build.library("simd").v2s_simd_lanes()
    for channels in (8, 16, 24, 32):
        coarse = pictures(8, channels, 16, 16, dtype=torch.float32)
        assert weight_gradient.usable(fine, coarse, (3, 3), (1, 1), 1) == (channels % max(8, lanes) == 0)


def test_plain_torch_runs_where_the_kernels_are_refused(monkeypatch):
    monkeypatch.setenv("V2S_OPS", "ref")
    build.forget()
    try:
        x, w = pictures(8, 32, 16, 16, dtype=torch.float32), random(32, 32, 3, 3, dtype=torch.float32)
        assert not layer_tail.usable(x) and not weight_gradient.usable(x, x, (3, 3), (1, 1), 1)
        assert batched_conv.form_of(x, w, convolution._Shape(*SHAPES["same"])) is None
        assert torch.equal(convolution.conv2d(x, w, padding=1), F.conv2d(x, w, padding=1))
    finally:
        build.forget()


def test_the_reference_is_reached_with_the_numbers_filled_in():
    x = pictures(1, 8, 3, 3)
    tail = Tail(pad4(0), False, 1.0, "lrelu", 0.2, 2.0, None)
    torch.testing.assert_close(fused_layer(x, gain=2.0), fused_layer_reference(x, *[None] * 6, tail))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.sampled_from([16, 48]), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9),
       st.booleans(), st.integers(1, 3))
def test_a_thin_product_is_its_definition_to_third_order(n, channels, planes, h, w, short, threads):
    dtype, results = torch.bfloat16 if short else torch.float32, []
    for number, function in ((dtype, thin_product), (torch.float64, thin_product_reference)):
        x = pictures(n, channels, h, w).to(dtype).to(number).requires_grad_()
        weight = random(n, planes, channels, seed=1).to(dtype).to(number).requires_grad_()

        def differentiate(x=x, weight=weight, function=function):
            y = function(x, weight) / channels**0.5
            (first,) = torch.autograd.grad(y, x, y.sin(), create_graph=True)
            second = torch.autograd.grad(first.square().sum(), (x, weight), create_graph=True)
            plainly = torch.autograd.grad(y, (x, weight), y.detach().cos(), retain_graph=True)
            third = torch.autograd.grad(second[0].square().sum() + second[1].sum(), (x, weight))
            return [y, *plainly] if short else [y, *plainly, first, *second, *third]

        results.append(on_threads(threads, differentiate))
    for one, two in zip(*results, strict=True):
        assert_near(one, two, dtype)


def test_a_trace_sees_plain_operators():
    """A vector kernel would leave nothing in it but the result for the pictures that it was traced with."""
    w, bias = random(32, 32, 3, 3, dtype=torch.float32) / 17, random(32, dtype=torch.float32)

    def layer(x):
        return fused_layer(convolution.conv2d(x, w, padding=1), FILTERS["1331"], padding=(2, 1, 2, 1), bias=bias)

    one, two = (pictures(4, 32, 16, 16, seed=seed, dtype=torch.float32) for seed in (1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace does not see, and that it is going out of use
        traced = torch.jit.trace(layer, one)
    torch.testing.assert_close(traced(two), layer(two), rtol=0, atol=1e-4)


def test_tangents_and_function_transforms_go_through_plain_torch():
    """A kernel would lose the tangents, and finds no memory under vmap."""
    w, planes, bias = (random(*shape, dtype=torch.float32) for shape in ((32, 32, 3, 3), (8, 3, 32), (32,)))
    x, direction = (pictures(8, 32, 12, 12, seed=seed, dtype=torch.float32) for seed in (1, 2))

    def run(x):
        return [convolution.conv2d(x, w, padding=1), upfirdn2d(x, FILTERS["1331"], padding=1),
                fused_layer(x, FILTERS["1331"], padding=1, bias=bias, act="linear"), thin_product(x, planes),
                bent_filter(x, FILTERS["1331"], bias, padding=2, act="linear")]

    with forward_ad.dual_level():
        tangents = [forward_ad.unpack_dual(y).tangent for y in run(forward_ad.make_dual(x, direction))]
    for tangent, far, near in zip(tangents, run(x + direction), run(x), strict=True):
        assert_near(tangent, far - near, torch.float32)
    for together, *apart in zip(torch.vmap(run)(torch.stack([x, direction])), run(x), run(direction), strict=True):
        assert_near(together, torch.stack(apart), torch.float32)
