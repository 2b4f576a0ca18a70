"""The native ops against their references: golden numbers, every kernel, layout and dtype, derivatives, limits.

On "cpu" the kernels run as loops; the same tests run on a GPU where there is one.
"""

import itertools

import numpy as np
import pytest
import torch
from conftest import native_devices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_ops_golden import EXACT, GAIN, golden_cases, leaf

from torch_utils.ops import build, native
from torch_utils.ops import upfirdn2d as resampling
from torch_utils.ops.bias_act import ACTIVATIONS, Spec, bias_act, bias_act_reference
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

DTYPES = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 2e-6, torch.float64: 1e-12}  # relative tolerance
CONTIGUOUS, LAST = torch.contiguous_format, torch.channels_last
FILTERS = {
    "1331": setup_filter([1, 3, 3, 1]),
    "skew4": torch.arange(16.0).reshape(4, 4).sub(5).div(16),
    "skew": setup_filter([[1.0, 2.0, -1.0], [0.5, 3.0, 4.0]]),
    "one": None,
}


def random(*shape, device, seed=0, dtype=torch.float64):
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.to(dtype).to(device)


def assert_near(came, wanted, dtype):
    """Equal up to one rounding to dtype, of numbers of the size of the largest."""
    assert came.dtype == dtype
    limit = DTYPES[dtype] * max(1.0, float(wanted.detach().abs().max()) if wanted.numel() else 1.0)
    torch.testing.assert_close(came.double(), wanted.double(), rtol=0, atol=limit)


def test_the_launch_on_a_gpu_is_tested():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU: kernels ran as loops on the host, their launch did not run")
    assert "cuda" in native_devices()


def spec_of(act, gain=None, clamp=None, alpha=None, dim=1):
    row = ACTIVATIONS[act]
    return Spec(dim, act, row.alpha if alpha is None else alpha, row.gain if gain is None else gain, clamp)


@pytest.mark.parametrize(("case", "a"), golden_cases("bias_act"))
def test_bias_act_golden(case, a, native_device):
    a = {key: value.to(native_device) for key, value in a.items()}
    options = {key: case[key] for key in ("dim", "act", "alpha", "gain", "clamp") if key in case}
    x, b, dy = leaf(a["x"]), leaf(a["b"]) if "b" in a else None, leaf(a["dy"])
    y = bias_act(x, b, **options)
    assert build.prepare(native_device) and "_BiasAct" in type(y.grad_fn).__name__
    torch.testing.assert_close(y, a["y"], **EXACT)
    dx, *db = torch.autograd.grad(y, [x] if b is None else [x, b], dy, create_graph=True)
    for came, wanted in zip((dx, *db), (a["dx"], a.get("db")), strict=False):
        torch.testing.assert_close(came, wanted, **EXACT)
    second = torch.autograd.grad(dx, [x, dy], a["v"], allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(second, (a["d2_x"], a["d2_dy"]), **EXACT)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x16, b16 = a["x"].to(dtype), None if b is None else a["b"].to(dtype)
        wanted = bias_act(x16.double(), None if b is None else b16.double(), **options)
        assert_near(bias_act(x16, b16, **options), wanted, dtype)


@pytest.mark.parametrize(("case", "a"), golden_cases("upfirdn2d"))
def test_upfirdn2d_golden(case, a, native_device):
    a = {key: value.to(native_device) for key, value in a.items()}
    options = {key: value for key, value in case.items() if key not in ("op", "f", "shape")}
    function = getattr(resampling, case["op"])
    for layout in (CONTIGUOUS, LAST):
        x = leaf(a["x"].contiguous(memory_format=layout))
        y = function(x, a.get("f"), **options)
        assert "_NativePass" in type(y.grad_fn).__name__
        torch.testing.assert_close(y, a["y"], **GAIN)
        torch.testing.assert_close(torch.autograd.grad(y, x, a["dy"])[0], a["dx"], **GAIN)
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            x16 = a["x"].to(dtype).contiguous(memory_format=layout)
            y16 = function(x16, a.get("f"), **options)
            assert y16.stride() == y.stride()
            two_passes = 2 if a.get("f") is not None and a["f"].ndim == 1 else 1
            assert_near(y16 / two_passes, function(x16.double(), a.get("f"), **options) / two_passes, dtype)


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1])
def test_bias_lies_along_any_dimension_of_any_layout(dim, native_device):
    for order in itertools.permutations(range(4)):
        x = random(3, 4, 5, 6, device=native_device).permute(order)
        b = random(x.shape[dim], device=native_device, seed=1)
        y = bias_act(x, b, dim=dim, act="swish")
        torch.testing.assert_close(y, bias_act_reference(x, b, spec_of("swish", dim=dim)), rtol=1e-12, atol=1e-12)
        assert y.stride() == x.stride()
    holes = random(3, 4, 5, 12, device=native_device)[..., ::2]
    torch.testing.assert_close(bias_act(holes, act="relu"), bias_act_reference(holes, None, spec_of("relu")))


def test_the_gradient_of_an_exact_bias_is_exact(native_device):
    """Its sum over pixels is beyond the range of float16, in which the picture is."""
    x = torch.full((1, 2, 300, 300), 3.0, dtype=torch.float16, device=native_device)
    b = torch.zeros(2, device=native_device, requires_grad=True)
    y = bias_act(x, b, act="linear")
    assert torch.autograd.grad(y, b, torch.ones_like(y))[0].tolist() == [90000.0, 90000.0]


def test_bias_act_of_memory_that_is_not_aligned(native_device):
    for skip, length in itertools.product((0, 1, 3), (1, 5, 16, 2049)):
        x = random(length + skip, device=native_device, dtype=torch.float32)[skip:]
        b = random(length, device=native_device, seed=1, dtype=torch.float32)
        torch.testing.assert_close(bias_act(x, b, dim=0, act="tanh"), torch.tanh(x + b))


def test_overwrite_uses_the_memory_of_x(native_device):
    x = random(4, 6, device=native_device)
    wanted, before = bias_act(x, act="lrelu"), x.data_ptr()
    y = bias_act(x, act="lrelu", overwrite=True)
    assert y.data_ptr() == before and torch.equal(y, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_to_16_bits_is_that_of_torch(dtype, native_device):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32)
    edges = np.array([0, 65504, 65519.99, 65520, 65536, 2.0**-14, 2.0**-24, 2.0**-25, 2.98e-8, 6.09e-5, 3.3e38],
                     dtype=np.float32)
    values = torch.from_numpy(np.concatenate([bits.view(np.float32), edges, -edges])).to(native_device)
    y = bias_act(torch.zeros(len(values), dtype=dtype, device=native_device), values, dim=0)
    torch.testing.assert_close(y, values.to(dtype), rtol=0, atol=0, equal_nan=True)
    patterns = torch.from_numpy(np.arange(2**16, dtype=np.uint16).view(np.int16)).view(dtype).to(native_device)
    assert torch.equal(bias_act(patterns).nan_to_num(7), patterns.nan_to_num(7))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_nan_and_large_numbers_pass(act, native_device):
    x = torch.tensor([float("nan"), 1e30, -1e30, 80.0, -80.0, 200.0, -200.0], device=native_device)
    for clamp in (None, 3.0):
        wanted = bias_act_reference(x, None, spec_of(act, clamp=clamp))
        torch.testing.assert_close(bias_act(x, act=act, clamp=clamp), wanted, equal_nan=True)


@pytest.mark.parametrize(("act", "alpha"), [("lrelu", None), ("lrelu", -0.3), ("relu", None), ("softplus", None),
                                            ("swish", None)])
def test_bias_act_derivatives_by_differences(act, alpha, native_device):
    x, b = random(2, 4, 3, device=native_device).requires_grad_(), random(4, device=native_device, seed=1)
    for gain in (None, -2.0):
        inputs = (x, b.requires_grad_())
        function = lambda x, b: bias_act(x, b, act=act, alpha=alpha, gain=gain, clamp=1.1)  # noqa: B023, E731
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_bias_act_third_derivative(native_device):
    x, b = random(5, device=native_device).requires_grad_(), random(5, device=native_device, seed=1).requires_grad_()

    def slope(x, b):
        return torch.autograd.grad(bias_act(x, b, dim=0, act="softplus").sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(slope, (x, b))


CASES = [  # up, down, padding, flip_filter, gain
    (1, 1, 0, False, 1),
    (1, 1, [1, 2, 0, 3], True, 2.5),
    (1, 1, [-2, 3, 1, -1], False, 1),
    (2, 1, [2, 1, 2, 1], False, 4),
    (2, 1, [3, 4, -1, 5], True, 1),
    (2, 1, [0, 5, 4, 1], False, 1.5),
    (1, 2, [1, 1], False, 1),
    (1, 2, [-1, 2, 4, 0], True, 3),
    (3, 2, [4, 5, 6, 3], True, 0.7),
    ([2, 1], [1, 3], [3, 2, 1, 1], False, 1),
]


def path_taken(x, f, case, path):
    up, down, padding, flip_filter, gain = case
    plan = resampling.Plan(resampling.pair(up, "up"), resampling.pair(down, "down"), resampling.pad4(padding))
    call, y = resampling.fill_call(x, f, plan, flip_filter, gain, path)
    native.call("upfirdn2d", call, x.device)
    return native.path_of(call, x.device), y


def plainly(function, *arguments):
    """The same function in plain torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "usable", lambda *tensors: False)
        return function(*arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_kernel_gives_the_same_numbers(case, dtype, native_device):
    square = case[0] in (1, 2) and case[1] in (1, 2)
    f = FILTERS["skew4"].to(native_device)
    x = random(2, 8, 9, 35, device=native_device, dtype=dtype)
    wanted = plainly(upfirdn2d, x.double(), f, *case)
    for layout, path in itertools.product((CONTIGUOUS, LAST), ("any", "special", "best")):
        special = "packs" if layout is LAST else "tiles"
        small = layout is CONTIGUOUS and wanted.shape[3] < 32
        expected = "any" if not square or path == "any" or (path == "best" and small) else special
        taken, y = path_taken(x.contiguous(memory_format=layout), f, case, special if path == "special" else path)
        assert taken == expected
        assert y.is_contiguous(memory_format=layout)
        assert_near(y, wanted, dtype)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_pictures_that_fill_tiles_and_pairs_just_so(extra, native_device):
    """Tiles are 64 x 16; where the padding is odd, the first one begins a pixel before the picture."""
    f = FILTERS["skew4"].to(native_device)
    x = random(1, 2, 16, 32, device=native_device)
    for layout, pad in itertools.product((CONTIGUOUS, LAST), (0, 1, 2, 3)):
        path = "tiles" if layout is CONTIGUOUS else "packs"
        for up, picture, pads in ((2, x[:, :, :8], [pad, 3 + extra - pad] * 2),
                                  (1, x, [pad, 35 + extra - pad, pad, 3 - pad])):
            case = (up, 1, pads, False, 1)
            taken, y = path_taken(picture.contiguous(memory_format=layout), f, case, path)
            assert taken == path and y.shape[2:] == (16 + extra * (up == 2), 64 + extra)
            torch.testing.assert_close(y, plainly(upfirdn2d, picture, f, *case))


@pytest.mark.parametrize("layout", [CONTIGUOUS, LAST])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_upfirdn2d_derivatives_by_differences(case, layout, native_device):
    x = random(1, 2, 4, 5, device=native_device).contiguous(memory_format=layout).requires_grad_()
    f = FILTERS["skew4"].to(native_device)
    assert torch.autograd.gradcheck(lambda x: upfirdn2d(x, f, *case), x)
    assert torch.autograd.gradgradcheck(lambda x: upfirdn2d(x, f, *case), x)


@pytest.mark.parametrize("taps", [(32, 32), (1, 32), (31, 2)])
def test_large_filters(taps, native_device):
    x, f = random(1, 3, 20, 18, device=native_device), random(*taps, device=native_device, seed=1)
    for up, down in ((1, 1), (2, 1), (1, 2), (3, 2)):
        case = (up, down, 16, True, 1)
        torch.testing.assert_close(upfirdn2d(x, f, *case), plainly(upfirdn2d, x, f, *case))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_adjoint_law_for_any_shape(data, native_device):
    """<A x, y> = <x, A' y> and native = plain, whatever the sizes, factors, pads and filter."""
    number = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    up, down = [number(1, 3), number(1, 3)], [number(1, 3), number(1, 3)]
    pads, taps = [number(-2, 6) for _ in range(4)], (number(1, 6), number(1, 6))
    if number(0, 1):  # half of the time a case that has kernels of its own
        up, down, taps = data.draw(st.sampled_from([([1, 1], [1, 1]), ([2, 2], [1, 1]), ([1, 1], [2, 2])])) + ((4, 4),)
    shape = (number(1, 2), data.draw(st.sampled_from([1, 2, 3, 4])), number(8, 10), number(8, 40))
    layout = data.draw(st.sampled_from([CONTIGUOUS, LAST]))
    x = leaf(random(*shape, device=native_device).contiguous(memory_format=layout))
    f = random(*taps, device=native_device, seed=1)
    case = (up, down, pads, bool(number(0, 1)), 1.5)
    y = upfirdn2d(x, f, *case)
    torch.testing.assert_close(y, plainly(upfirdn2d, x, f, *case))
    back = random(*y.shape, device=native_device, seed=2)
    (dx,) = torch.autograd.grad(y, x, back)
    torch.testing.assert_close((y * back).sum(), (x * dx).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_empty_pictures(shape, native_device):
    x = leaf(torch.zeros(shape, device=native_device))
    y = upfirdn2d(bias_act(x, act="swish"), FILTERS["1331"].to(native_device), up=2, padding=2)
    assert y.shape == (*shape[:2], 9, 9)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


def test_more_elements_than_the_kernels_count_are_refused(native_device):
    huge = torch.zeros([], device=native_device).expand(2, 4, 2**14, 2**14)
    with pytest.raises(ValueError, match=r"bias_act: shape \[2, 4, 16384, 16384\] has 2147483648 elements.*2147483647"):
        bias_act(huge)
    with pytest.raises(ValueError, match=r"upfirdn2d: shape .*: take a smaller batch, or V2S_OPS=ref"):
        upfirdn2d(huge, FILTERS["1331"].to(native_device), padding=3)
    with pytest.raises(ValueError, match=r"upfirdn2d: shape \[2, 4, 16383, 32767\] has"):
        upfirdn2d(huge[:, :, :8192], FILTERS["1331"].to(native_device), up=2, padding=[1, 1, 1, 1])


def test_other_tensors_take_the_plain_way(native_device):
    whole = torch.ones(2, 3, dtype=torch.int64, device=native_device)
    assert bias_act(whole, act="linear").dtype == torch.int64
    meta = upfirdn2d(torch.empty(1, 2, 8, 8, device="meta"), FILTERS["1331"].to("meta"))
    assert meta.shape == (1, 2, 5, 5)


def test_a_compiler_of_torch_gets_plain_torch(native_device):
    """torch.compile and torch.export fuse plain operators; a call through ctypes would be a wall to them."""
    f = FILTERS["1331"].to(native_device)

    def layer(x):
        return upfirdn2d(bias_act(x, act="lrelu"), f, up=2, padding=[2, 1])

    x = random(1, 2, 4, 4, device=native_device, dtype=torch.float32)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
