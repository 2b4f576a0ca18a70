"""Laws of fused_layer: its steps one by one, what it leaves out, derivatives to second order, clear errors.

The native form is held against the plain one; see test_ops_native.py for where it runs.
"""

import itertools
import math

import pytest
import torch

from torch_utils.ops import fused
from torch_utils.ops.bias_act import ACTIVATIONS
from torch_utils.ops.fused import fused_layer, fused_layer_reference
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

FILTER = setup_filter([1, 3, 3, 1])


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(n=2, channels=3, size=5, *, out=None):
    out = out or size
    return {"scale": random(n, channels, seed=1), "noise": random(n, 1, out, out, seed=2),
            "strength": random(1, seed=3).reshape([]), "bias": random(channels, seed=4),
            "next_scale": random(n, channels, seed=5)}


def test_equals_its_steps():
    x, a = random(2, 3, 7, 7), arguments(out=6)
    y = fused_layer(x, FILTER, padding=1, filter_gain=4, act="lrelu", gain=1.5, clamp=2, **a)
    p = upfirdn2d(x, FILTER, padding=1, gain=4) * a["scale"][:, :, None, None] + a["strength"] * a["noise"]
    p = p + a["bias"][:, None, None]
    wanted = (torch.where(p < 0, 0.2 * p, p) * 1.5).clamp(-2, 2) * a["next_scale"][:, :, None, None]
    torch.testing.assert_close(y, wanted, rtol=1e-12, atol=1e-12)


def test_what_is_not_given_is_left_out():
    x = random(2, 3, 4, 4)
    assert torch.equal(fused_layer(x, act="linear"), x)
    torch.testing.assert_close(fused_layer(x), math.sqrt(2) * torch.where(x < 0, 0.2 * x, x))
    noise = random(4, 4, seed=2)
    assert torch.equal(fused_layer(x, noise=noise, act="linear"), x + noise)


@pytest.mark.parametrize(("f", "padding", "size"), [(None, 0, 3), (FILTER, 1, 4)])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_derivatives_to_second_order(f, padding, size, act):
    x = random(2, 2, size, size).requires_grad_()
    a = {key: value.requires_grad_() for key, value in arguments(channels=2, out=3).items()}

    def function(x, *values):
        return fused_layer(x, f, padding=padding, act=act, clamp=2.5, **dict(zip(a, values, strict=True)))

    # fast_mode: along random directions; the filter of the reference is slow in double precision
    assert torch.autograd.gradcheck(function, (x, *a.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *a.values()), fast_mode=True)


def test_errors_name_what_came_and_what_is_allowed():
    x = torch.zeros(2, 3, 5, 5)
    with pytest.raises(ValueError, match=r"scale of shape \[3\]; allowed for pictures \[2, 3, 5, 5\]: \[2, 3\]"):
        fused_layer(x, scale=torch.zeros(3))
    with pytest.raises(ValueError, match=r"noise of shape \[5, 5\]; allowed .*: \[4, 4\] or \[2, 1, 4, 4\]"):
        fused_layer(x, FILTER, padding=1, noise=torch.zeros(5, 5))
    with pytest.raises(ValueError, match="a strength without a noise"):
        fused_layer(x, strength=torch.zeros([]))
    with pytest.raises(ValueError, match=r"clamp is -1; allowed: None"):
        fused_layer(x, clamp=-1)
    with pytest.raises(ValueError, match=r"'mish' is not known"):
        fused_layer(x, act="mish")


DTYPES = {torch.float16: 3e-3, torch.bfloat16: 2.5e-2, torch.float32: 4e-6, torch.float64: 1e-12}
NAMES = ("scale", "noise", "strength", "bias", "next_scale")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def inputs(shape, out, device, dtype=torch.float64, layout=torch.channels_last, small=None):
    """Returns x and the small tensors, those in the dtype called small, all with 16-bit values if dtype is one."""
    x = random(*shape).to(dtype)
    tensors = {name: value.to(dtype).to(small or dtype) for name, value in arguments(*shape[:2], out=out).items()}
    return (x.to(device).contiguous(memory_format=layout),
            {name: value.to(device) for name, value in tensors.items()})


def plain(x, f, tensors, options):
    """The reference in float64."""
    row = ACTIVATIONS[options.get("act", "lrelu")]
    padding = options.get("padding", 0)
    tail = fused.Tail((padding,) * 4, False, options.get("filter_gain", 1.0), options.get("act", "lrelu"), row.alpha,
                      row.gain, options.get("clamp"))
    values = [None if tensors.get(name) is None else tensors[name].double() for name in NAMES]
    return fused_layer_reference(x.double(), f, *values, tail)


def assert_near(came, wanted, dtype, factor=1):
    limit = factor * DTYPES[dtype] * max(1.0, float(wanted.detach().abs().max()))
    torch.testing.assert_close(came.double(), wanted.double(), rtol=0, atol=limit)


def test_native_leaves_out_what_is_not_given(native_device):
    x, tensors = inputs((2, 8, 4, 4), 4, native_device)
    for number in range(len(NAMES) + 1):
        for names in itertools.combinations(NAMES, number):
            if "strength" in names and "noise" not in names:
                continue
            some = {name: tensors[name] for name in names}
            torch.testing.assert_close(fused_layer(x, **some), plain(x, None, some, {}), rtol=1e-12, atol=1e-12)
    for noise in (random(4, 4, seed=9), random(1, 1, 4, 4, seed=9)):
        some = {"noise": noise.to(native_device)}
        torch.testing.assert_close(fused_layer(x, **some), plain(x, None, some, {}), rtol=1e-12, atol=1e-12)


def test_small_tensors_may_be_more_exact_than_the_picture(native_device):
    x, tensors = inputs((2, 8, 4, 4), 3, native_device, torch.bfloat16, small=torch.float32)
    x.requires_grad_()
    for tensor in tensors.values():
        tensor.requires_grad_()
    y = fused_layer(x, FILTER.to(native_device), padding=1, **tensors)
    assert_near(y, plain(x, FILTER.to(native_device), tensors, {"padding": 1}), torch.bfloat16)
    gradients = torch.autograd.grad(y, [x, *tensors.values()], y)
    assert [g.dtype for g in gradients] == [torch.bfloat16] + 5 * [torch.float32]


def first_gradients(function, x, tensors, names):
    leaves = {name: value.detach().requires_grad_(name in names) for name, value in tensors.items()}
    x = x.detach().requires_grad_()
    y = function(x, leaves)
    back = random(*y.shape, seed=11).to(y)
    return torch.autograd.grad(y, [x, *(leaves[name] for name in names)], back)


SHAPES = [(2, 16, 6, 7), (1, 8, 70, 67), (2, 1040, 3, 3), (1, 2064, 2, 3), (3, 24, 1, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("f", [None, FILTER], ids=["bare", "1331"])
def test_the_backward_kernel_gives_the_gradients_of_the_reference(f, shape, dtype, native_device, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the kernel was to be used")

    monkeypatch.setattr(fused, "_go_back_by_steps", refuse)
    padding = 0 if f is None else 2
    f = None if f is None else f.to(native_device)
    act, clamp = ("swish", 1.1) if shape[2] == 3 else ("lrelu", None)
    names = ("scale", "strength", "bias", "next_scale")
    x, tensors = inputs(shape, 1, native_device, dtype, torch.channels_last)
    grow = 0 if f is None else 1
    tensors["noise"] = random(shape[2] + grow, shape[3] + grow, seed=2).to(dtype).to(native_device)
    options = {"padding": padding, "act": act, "clamp": clamp, "filter_gain": 2.0}
    came = first_gradients(lambda x, t: fused_layer(x, f, **options, **t), x, tensors, names)
    wanted = first_gradients(lambda x, t: plain(x, f, t, options), x.double(), tensors, names)
    for one, two in zip(came, wanted, strict=True):
        assert one.dtype == dtype
        # The slope of swish jumps at the clamp, and rounding of 16 bits does not move it: both see the same x.
        assert_near(one, two, dtype, factor=4)


def test_pictures_without_a_backward_kernel_go_by_steps(native_device):
    for shape, layout in (((2, 3, 4, 4), LAYOUTS[1]), ((2, 8, 4, 4), LAYOUTS[0])):
        x, tensors = inputs(shape, 4, native_device, layout=layout)
        came = first_gradients(lambda x, t: fused_layer(x, **t), x, tensors, NAMES)
        wanted = first_gradients(lambda x, t: plain(x, None, t, {}), x, tensors, NAMES)
        for one, two in zip(came, wanted, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("f", "padding", "size"), [(None, 0, 3), (FILTER, 1, 4)])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_native_derivatives_by_differences(f, padding, size, act, native_device):
    x, tensors = inputs((2, 2, size, size), 3, native_device)
    values = [x.requires_grad_(), *(value.requires_grad_() for value in tensors.values())]

    def function(x, *values):
        return fused_layer(x, None if f is None else f.to(native_device), padding=padding, act=act, clamp=2.5,
                           **dict(zip(tensors, values, strict=True)))

    assert torch.autograd.gradcheck(function, values)
    assert torch.autograd.gradgradcheck(function, values)
    tensors["noise"].requires_grad_(False)  # then the kernel of the backward pass runs
    assert torch.autograd.gradcheck(function, values)


def test_gradients_are_partial_where_one_tensor_depends_on_another(native_device):
    """R1 and path length differentiate through a layer whose scales come from the same style as its picture."""
    style = random(2, 8, seed=7).to(native_device).requires_grad_()
    x, tensors = inputs((2, 8, 4, 4), 4, native_device)

    def penalty(function):
        given = {**tensors, "scale": style.square(), "next_scale": style.sin()}
        y = function(x * style[:, :, None, None], given)
        (slope,) = torch.autograd.grad(y.square().sum(), style, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), style)[0]

    torch.testing.assert_close(penalty(lambda x, t: fused_layer(x, **t)), penalty(lambda x, t: plain(x, None, t, {})),
                               rtol=1e-9, atol=1e-9)


def test_native_refuses_more_elements_than_it_counts(native_device):
    huge = torch.zeros([], device=native_device).expand(2, 4, 2**14, 2**14)
    with pytest.raises(ValueError, match=r"shape \[2, 4, 16384, 16384\] has 2147483648 elements"):
        fused_layer(huge)
    assert fused_layer(torch.zeros(0, 8, 4, 4, device=native_device)).shape == (0, 8, 4, 4)
