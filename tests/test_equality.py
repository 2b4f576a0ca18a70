"""One table: every way in which this repository computes pictures, logits and operators gives the same numbers.

Rows are paths (PICTURES, LOGITS, KERNELS); columns are the dtype and the layout of the weights, the batch and the
architecture. The reference is the published recipe of benchmarks/ in float64, contiguous, differentiated by autograd.
Where a path has derivatives they are compared too: the first in weights and inputs; the second as path length and R1
need them. A tolerance is a norm of the deviation divided by that of the reference; see `deviation`. A new path is a new
entry of the lists; a path that this machine cannot run is one skipped row with a reason.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib.util
import itertools
import math
import tempfile
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

from benchmarks import published_recipe
from benchmarks.published_recipe import PublishedDiscriminator, PublishedSynthesis
from torch_utils.devices import set_tf32
from torch_utils.ops import build, winograd
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.convolution import conv2d, conv_transpose2d
from torch_utils.ops.fused import fused_layer
from torch_utils.ops.modulated_conv import modulated_conv2d
from torch_utils.ops.modulated_layer import modulated_layer
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators import fast_stylegan2
from voice2style.generators.fast_stylegan2 import FastSynthesis
from voice2style.generators.graphed import GraphedSynthesis
from voice2style.generators.stylegan2 import Generator, GeneratorSettings, Noise

F16, B16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
CUDA = torch.cuda.is_available()


class Limit(NamedTuple):
    """Largest deviations of values, first and second derivatives (None: not differentiated).

    least holds paths of 16 bits to it that something in them runs in 16 bits.
    """

    values: float
    first: float | None = None
    second: float | None = None
    least: float = 0.0


@functools.cache
def native_state(library):
    return build.state(library)


@dataclasses.dataclass(frozen=True)
class Path:
    """A row. prepare(network) returns what computes; limits: {dtype of the weights: Limit}.

    changes: settings of the network that only this path looks at. patches: constants of fast_stylegan2. ops: V2S_OPS.
    only: the architectures that it has (None: all). noises: the noise modes that it draws. needs: packages.
    """

    name: str
    prepare: Callable
    limits: Mapping
    changes: Mapping = dataclasses.field(default_factory=dict)
    patches: Mapping = dataclasses.field(default_factory=dict)
    ops: str = "ref"
    device: str = "cpu"
    only: tuple | None = None
    noises: tuple = ("const", "random", "none")
    needs: tuple = ()
    autocast: bool = False

    def obstacle(self):
        """Returns why this machine cannot run the row, or None."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if self.device == "cuda" and not CUDA:
            return "no CUDA GPU: not run"
        return f"not installed: {', '.join(absent)}" if absent else None

    @contextlib.contextmanager
    def at_work(self):
        """Sets everything that the row asks for, and puts it back."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.patches.items():
                patch.setattr(fast_stylegan2, name, value)
            patch.setenv("V2S_OPS", self.ops)
            build.forget()
            places = torch.backends.cuda.matmul, torch.backends.cudnn
            before = [place.allow_tf32 for place in places]
            set_tf32(False)
            try:
                library = {"native": self.device, "auto": "simd"}.get(self.ops)
                if library and "plain torch" in native_state(library):
                    pytest.skip(f"native ops cannot be built here: {native_state(library)}")
                if self.ops == "auto":
                    build.prepare("simd")
                with torch.autocast(self.device, dtype=B16, enabled=self.autocast):
                    yield
            finally:
                for place, allowed in zip(places, before):
                    place.allow_tf32 = allowed
                patch.undo()
                build.forget()


def columns(paths, architectures, basic, batches):
    """Returns the pytest parameters of a table: path, dtype, layout, batch, architecture.

    Plans and graphs, which have no derivatives, lay out copies of their own: their networks have contiguous weights.
    The architectures beside the basic ones have those too, and where a path is differentiated one batch.
    """
    for path in paths:
        if path.obstacle():
            yield pytest.param(path, *[None] * 4, id=path.name, marks=pytest.mark.skip(reason=path.obstacle()))
            continue
        for dtype, layout, n, name in itertools.product(path.limits, LAYOUTS, batches, path.only or architectures):
            if path.limits[dtype].first is None:
                wanted = layout == "contiguous"
            else:
                wanted = name in basic or (layout, n) == ("contiguous", batches[-1])
            if wanted:
                yield pytest.param(path, dtype, layout, n, name,
                                   id=f"{path.name}-{str(dtype)[6:]}-{layout}-{n}-{name}")


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def deviation(came, wanted, dtype):
    """Returns the largest of |came - wanted| / |wanted| over tensors; a small tensor counts by a share of them all.

    The share is 1 for 16 bits, whose rounding leaves little of a gradient that is a sum of both signs.
    """
    whole = math.sqrt(sum(float(each.detach().double().square().sum()) for each in wanted))
    share = 1 if dtype.itemsize == 2 else 0.01
    assert len(came) == len(wanted) and whole > 0
    return max(float((one.double() - two).norm()) / max(float(two.norm()), share * whole)
               for one, two in zip((each.detach().cpu() for each in came), (each.detach() for each in wanted)))


def assert_within(came, wanted, limit, dtype):
    """came, wanted: lists of values, of first and of second derivatives, as far as the limit asks for them."""
    found = {}
    for kind, ours, theirs, most in zip(("values", "first derivatives", "second derivatives"), came, wanted, limit):
        if most is not None:
            found[kind] = deviation(ours, theirs, dtype)
            assert found[kind] <= most, f"{kind} deviate by {found[kind]:.2e}, allowed: {most:.0e}"
    assert max(found.values()) >= limit.least, f"only {found} apart: nothing ran in 16 bits"


# --- Pictures of a generator

ARCHITECTURES = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "conditional": {"c_dim": 3},
    "clamped": {"conv_clamp": 0.7, "architecture": "resnet"},
    "rosinality's demodulation": {"scaled_demodulation": True},
    "upright": {"const_shape": (4, 2)},
    "no noise": {"use_noise": False},
    "four planes": {"img_channels": 4},
    "swish": {"activation": "swish", "architecture": "resnet"},
    "relu": {"activation": "relu"},
    "two taps": {"resample_filter": (1, 1)},
    "three taps": {"resample_filter": (1, 2, 1)},
    "six taps": {"resample_filter": (1, 5, 10, 10, 5, 1), "architecture": "resnet"},
    "separable filter": {"resample_filter": (1, 7, 21, 35, 35, 21, 7, 1)},
    "lopsided filter": {"resample_filter": (1, 2, 3, 4)},
    "lopsided residual": {"resample_filter": (1, 2, 3, 4), "architecture": "resnet"},
}
BASIC = ("skip", "resnet", "orig", "conditional", "clamped", "upright")
HALF = {"num_fp16_res": 2, "fp16_on_cpu": True}
GENERATOR = GeneratorSettings(img_resolution=16, channels=(32, 16, 32), z_dim=10, w_dim=12, mapping_layers=2)


@functools.cache
def generator_of(architecture):
    """Returns the float32 weights of an architecture; its noises and biases are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(dataclasses.replace(GENERATOR, **ARCHITECTURES[architecture])).eval()
        for name, parameter in network.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return network


def copy_of(network, dtype=F64, *, layout="contiguous", device="cpu", changes=None):
    """Returns a network with the same weights, built anew only where its settings change."""
    if changes:
        other = type(network)(dataclasses.replace(network.settings, **changes)).eval()
        other.load_state_dict(network.state_dict())
    else:
        other = copy.deepcopy(network)
    return other.to(dtype=dtype, device=device, memory_format=LAYOUTS[layout])


def codes(network, n):
    """Returns codes as the mapping gives them, another one in every row, and each sample's own label."""
    like = next(network.parameters())
    rows = n * network.num_ws
    labels = torch.eye(network.c_dim)[torch.arange(rows) % network.c_dim].to(like) if network.c_dim else None
    return network.mapping(random(rows, network.z_dim).to(like), labels)[:, 0].unflatten(0, (n, -1))


def pictures(draw, network, n, derivatives=True, **noise):
    """Returns [picture], gradients in the codes and all weights, and those of the path length in all weights."""
    with torch.set_grad_enabled(derivatives):
        ws = codes(network, n)
        picture = draw(ws, **noise)
    if not derivatives:
        return [picture], [], []
    direction = random(*picture.shape, seed=1).to(picture) / math.sqrt(picture[0, 0].numel())
    weights = list(network.parameters())
    (slope,) = torch.autograd.grad((picture * direction).sum(), ws, create_graph=True)
    lengths = slope.square().sum(2).mean(1).sqrt()
    options = {"allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(picture.square().sum(), weights, retain_graph=True, **options)
    return [picture], [slope, *first], torch.autograd.grad(lengths.sum(), weights, **options)


@functools.cache
def wanted_pictures(architecture, n, noise):
    network = copy_of(generator_of(architecture))
    if noise == "random":  # the published programs draw it layer by layer, ours sample by sample
        layers = [layer for layer in network.synthesis.modules() if hasattr(layer, "noise_strength")]
        source = Noise("random", random(n), [layer.shape for layer in layers], torch.Generator().manual_seed(3))
        for layer in layers:
            layer.noise_const = next(source.drawn).reshape(n, 1, *layer.shape)
    draw, mode = PublishedSynthesis(network.synthesis), "none" if noise == "none" else "const"
    return [[each.detach() for each in kind]
            for kind in pictures(draw, network, n, derivatives=noise == "const", noise_mode=mode)]


def itself(network):
    return network.synthesis


def frozen(precision):
    def prepare(network):
        plan = FastSynthesis(network.synthesis, precision=precision)
        layers = [layer for block in plan.blocks for layer in block.layers]
        asked = fast_stylegan2._WORTH_A_BUILD == 0
        assert asked == any(layer.tiled is not None for layer in layers) or network.settings.activation == "swish"
        asked = fast_stylegan2._WINOGRAD_CHANNELS == 1
        assert asked == any(layer.tiled is None and layer.winograd is not None for layer in layers)
        return plan

    return prepare


def recorded(precision):
    def prepare(network):
        return GraphedSynthesis(FastSynthesis(network.synthesis, precision=precision), exact=network.synthesis,
                                device="cuda", batch=2)

    return prepare


@functools.cache
def graph():
    """Returns the bytes of the ONNX graph that convert.py writes, of architecture skip."""
    from voice2style.writers.onnx_graphs import SynthesisGraph, save_graph

    network = copy_of(generator_of("skip"), F32)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file, torch.no_grad():
        save_graph(SynthesisGraph(network), codes(network, 3).contiguous(), file.name, names=("ws", "image"),
                   dynamic={0: "N"}, card="{}")
        return file.read()


def by_onnxruntime(network):
    import onnxruntime

    session = onnxruntime.InferenceSession(graph(), providers=["CPUExecutionProvider"])
    return lambda ws, noise_mode: torch.from_numpy(session.run(None, {"ws": ws.contiguous().numpy()})[0])


def by_openvino(network):
    from voice2style.backends.openvino import OpenVinoSynthesis
    from voice2style.writers import onnx_graphs

    with pytest.MonkeyPatch.context() as patch:  # an export takes seconds
        patch.setattr(onnx_graphs, "save_graph", lambda module, example, path, **how: path.write_bytes(graph()))
        return OpenVinoSynthesis(types.SimpleNamespace(generator=network, num_ws=network.num_ws, w_dim=network.w_dim))


EXACT, SINGLE, ON_GPU = Limit(1e-13, 1e-12, 1e-12), Limit(1e-5, 3e-5, 1e-4), Limit(1e-4, 1e-3, 1e-2)
HALVES, AUTOCAST = Limit(5e-3, 0.02, 0.1, least=1e-4), Limit(0.03, 0.08, 0.2, least=1e-3)
DRAWN, DRAWN_16, DRAWN_B16 = Limit(1e-5), Limit(3e-3, least=1e-4), Limit(0.02, least=1e-3)  # no derivatives
STORED = {"noises": ("const", "none")}
VECTORS = {"_WORTH_A_BUILD": 0}
OFF_CPU = {"device": "cuda", "only": BASIC}
PICTURES = [
    Path("network", itself, {F32: SINGLE, F64: EXACT}),
    Path("forced float32", lambda network: functools.partial(network.synthesis, force_fp32=True), {F32: SINGLE},
         changes=HALF, only=BASIC),
    Path("float16 blocks", itself, {F32: HALVES}, changes=HALF, only=BASIC),
    Path("bfloat16 autocast", itself, {F32: AUTOCAST}, autocast=True, only=BASIC),
    Path("native ops", itself, {F32: SINGLE, F64: EXACT}, ops="native"),
    Path("vector kernels", itself, {F32: SINGLE, F64: EXACT}, ops="auto"),
    Path("vector kernels, bfloat16 autocast", itself, {F32: AUTOCAST}, ops="auto", autocast=True, only=BASIC),
    Path("published, grouped", lambda network: PublishedSynthesis(network.synthesis), {F32: SINGLE}, **STORED,
         only=BASIC),
    Path("published, activations", lambda network: PublishedSynthesis(network.synthesis, grouped=False),
         {F32: SINGLE, F64: EXACT}, **STORED, only=BASIC),
    Path("plan", frozen("fp32"), {F32: DRAWN}),
    Path("plan of weights", frozen("fp32"), {F32: DRAWN}, patches={"_WEIGHTS_PER_ACTIVATION": 0}),
    Path("plan of activations", frozen("fp32"), {F32: DRAWN}, patches={"_WEIGHTS_PER_ACTIVATION": 1 << 40}),
    Path("plan, picture by picture", frozen("fp32"), {F32: DRAWN},
         patches={"_WEIGHTS_PER_ACTIVATION": 0, "_AT_ONCE": 1 << 10}),
    Path("plan of Winograd", frozen("fp32"), {F32: DRAWN}, patches={"_WINOGRAD_CHANNELS": 1, "_WINOGRAD_SIDE": 4}),
    Path("plan of vector kernels", frozen("fp32"), {F32: DRAWN}, ops="auto", patches=VECTORS),
    Path("plan of vector kernels in bfloat16", frozen("bf16"), {F32: DRAWN_B16}, ops="auto", only=BASIC,
         patches=VECTORS),
    Path("plan, native ops", frozen("fp32"), {F32: DRAWN}, ops="native", patches={"_worth_tiles": lambda _: False}),
    Path("plan in bfloat16", frozen("bf16"), {F32: DRAWN_B16}, only=BASIC),
    Path("plan in float16", frozen("fp16"), {F32: DRAWN_16}, changes=HALF, only=BASIC),
    Path("onnxruntime", by_onnxruntime, {F32: DRAWN}, noises=("const",), only=("skip",),
         needs=("onnx", "onnxscript", "onnxruntime")),
    Path("OpenVINO", by_openvino, {F32: DRAWN}, noises=("const",), only=("skip",),
         needs=("onnx", "onnxscript", "openvino")),
    Path("GPU", itself, {F32: ON_GPU, F64: EXACT}, **OFF_CPU),
    Path("GPU, native ops", itself, {F32: ON_GPU, F64: EXACT}, ops="native", **OFF_CPU),
    Path("GPU, float16 blocks", itself, {F32: HALVES}, changes=HALF, **OFF_CPU),
    Path("GPU, graph", recorded("fp32"), {F32: Limit(1e-4)}, **OFF_CPU, **STORED),
    Path("GPU, graph in float16", recorded("fp16"), {F32: DRAWN_16}, changes=HALF, **OFF_CPU, **STORED),
]


COLUMNS = ("path", "dtype", "layout", "n", "name")


@pytest.mark.parametrize(COLUMNS, columns(PICTURES, ARCHITECTURES, BASIC, (1, 3)))
def test_pictures(path, dtype, layout, n, name):
    limit = path.limits[dtype]
    network = copy_of(generator_of(name), dtype, layout=layout, device=path.device, changes=path.changes)
    with path.at_work():
        draw = path.prepare(network)
        for mode in path.noises if layout == "contiguous" else path.noises[:1]:
            draws = {"generator": torch.Generator().manual_seed(3)} if mode == "random" else {}
            differentiate = mode == "const" and limit.first is not None
            came = pictures(draw, network, n, differentiate, noise_mode=mode, **draws)
            assert came[0][0].dtype == dtype and (came[0][0].is_contiguous() or limit.first is not None)
            here = limit if differentiate else Limit(limit.values, least=limit.least)
            assert_within(came, wanted_pictures(name, n, mode), here, precision_of(limit, dtype))


def precision_of(limit, dtype):
    return B16 if limit.least else dtype


def test_the_columns_of_pictures_differ():
    found = {(name, noise): wanted_pictures(name, 1, noise)[0][0] for name in ARCHITECTURES for noise in
             ("const", "random", "none")}
    for (one, first), (two, second) in itertools.combinations(found.items(), 2):
        same_by_name = one[0] == two[0] == "no noise" or {one[0], two[0]} == {"skip", "rosinality's demodulation"}
        assert first.shape != second.shape or same_by_name or (first - second).norm() > 1e-3 * first.norm(), (one, two)


# --- Logits of a discriminator

JUDGES = {
    "resnet": {},
    "skip": {"architecture": "skip"},
    "orig": {"architecture": "orig"},
    "conditional": {"c_dim": 3, "cmap_dim": 5},
    "clamped": {"conv_clamp": 0.5},
    "upright": {"const_shape": (4, 2)},
    "no batch statistics": {"mbstd_num_channels": 0},
    "frozen layers": {"freeze_layers": 3},
    "swish": {"activation": "swish"},
    "three taps": {"resample_filter": (1, 2, 1), "architecture": "skip"},
    "six taps": {"resample_filter": (1, 5, 10, 10, 5, 1)},
    "separable filter": {"resample_filter": (1, 7, 21, 35, 35, 21, 7, 1)},
    "lopsided filter": {"resample_filter": (1, 2, 3, 4), "architecture": "skip"},
    "lopsided residual": {"resample_filter": (1, 2, 3, 4)},
}
JUDGED = ("resnet", "skip", "orig", "conditional", "clamped", "upright")
DISCRIMINATOR = DiscriminatorSettings(img_resolution=16, channels=(32, 16, 32), mapping_layers=2)


@functools.cache
def discriminator_of(architecture):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Discriminator(dataclasses.replace(DISCRIMINATOR, **JUDGES[architecture])).eval()
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return network


def logits(score, network, n):
    """Returns [logits], gradients in pictures and all weights, and those of R1 in all weights."""
    like, (height, width) = next(network.parameters()), (4 * side for side in network.settings.const_shape)
    images = random(n, 3, height, width).to(like).requires_grad_()
    labels = torch.eye(3)[torch.arange(n) % 3].to(like) if network.c_dim else None
    found, weights = score(images, labels), list(network.parameters())
    (steep,) = torch.autograd.grad(found.sum(), images, create_graph=True)
    first = torch.autograd.grad(F.softplus(-found).sum(), weights, retain_graph=True)
    second = torch.autograd.grad(steep.square().sum(), weights, allow_unused=True, materialize_grads=True)
    return [found], [steep, *first], second


@functools.cache
def wanted_logits(architecture, n):
    network = copy_of(discriminator_of(architecture))
    return [[each.detach() for each in kind] for kind in logits(PublishedDiscriminator(network), network, n)]


def whole(network):
    return network


LOGITS = [
    Path("network", whole, {F32: SINGLE, F64: EXACT}),
    Path("forced float32", lambda network: functools.partial(network, force_fp32=True), {F32: SINGLE}, changes=HALF,
         only=JUDGED),
    Path("float16 blocks", whole, {F32: HALVES}, changes=HALF, only=JUDGED),
    Path("bfloat16 autocast", whole, {F32: AUTOCAST}, autocast=True, only=JUDGED),
    Path("native ops", whole, {F32: SINGLE, F64: EXACT}, ops="native"),
    Path("vector kernels", whole, {F32: SINGLE, F64: EXACT}, ops="auto"),
    Path("vector kernels, bfloat16 autocast", whole, {F32: AUTOCAST}, ops="auto", autocast=True, only=JUDGED),
    Path("published", PublishedDiscriminator, {F32: SINGLE}),
    Path("GPU", whole, {F32: ON_GPU, F64: EXACT}, device="cuda", only=JUDGED),
    Path("GPU, native ops", whole, {F32: ON_GPU, F64: EXACT}, ops="native", device="cuda",
         only=JUDGED),
    Path("GPU, float16 blocks", whole, {F32: HALVES}, changes=HALF, device="cuda",
         only=JUDGED),
]


@pytest.mark.parametrize(COLUMNS, columns(LOGITS, JUDGES, JUDGED, (1, 4)))
def test_logits(path, dtype, layout, n, name):
    limit = path.limits[dtype]
    network = copy_of(discriminator_of(name), dtype, layout=layout, device=path.device, changes=path.changes)
    with path.at_work():
        came = logits(path.prepare(network), network, n)
        assert came[0][0].dtype == dtype
        assert_within(came, wanted_logits(name, n), limit, precision_of(limit, dtype))


# --- Operators

FILTERS = {"1331": setup_filter([1, 3, 3, 1]), "skew": setup_filter([[1.0, 2.0, -1.0], [0.5, 3.0, 4.0]]),
           "skew4": torch.arange(16.0).reshape(4, 4).sub(5).div(16), "121": setup_filter([1, 2, 1]),
           "long": setup_filter([1, 2, 5, 9, 9, 4, 2, 1])}
FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: math.sqrt(2) * x.clamp(min=0),
    "lrelu": lambda x: math.sqrt(2) * torch.where(x < 0, 0.2 * x, x),
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "elu": lambda x: torch.where(x < 0, x.clamp(max=0).exp() - 1, x),
    "selu": lambda x: 1.0507009873554805 * torch.where(x < 0, 1.6732632423543772 * (x.clamp(max=0).exp() - 1), x),
    "softplus": lambda x: (1 + x.exp()).log(),
    "swish": lambda x: math.sqrt(2) * x / (1 + (-x).exp()),
}
SHAPE = (2, 16, 5, 6)


class Operator(NamedTuple):
    """ours and definition take the same tensors, of these shapes, the first of which is the picture."""

    ours: Callable
    definition: Callable
    shapes: tuple


def tail(y, scale=None, noise=None, strength=None, bias=None, next_scale=None, *, act="lrelu", clamp=None):
    """What fused_layer does behind its filter, step by step."""
    y = y if scale is None else y * scale[:, :, None, None]
    y = y if noise is None else y + (noise if strength is None else noise * strength)
    y = FORMULAS[act](y if bias is None else y + bias[:, None, None])
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if next_scale is None else y * next_scale[:, :, None, None]


def bias_act_of(act, clamp):
    return Operator(lambda x, b: bias_act(x, b, act=act, gain=None, clamp=clamp),
                    lambda x, b: tail(x, bias=b, act=act, clamp=clamp), (SHAPE, SHAPE[1:2]))


def upfirdn2d_of(name, up, down, pad, flip, gain):
    f, kernel = FILTERS.get(name), FILTERS.get(name, torch.ones(1, 1)).double()
    kernel = kernel.flip(0, 1) if flip else kernel
    return Operator(lambda x: upfirdn2d(x, None if f is None else f.to(x.device), up, down, pad, flip, gain),
                    lambda x: published_recipe.fir(x, kernel, up=up, down=down, pad=pad, gain=gain), ((2, 4, 7, 9),))


def fused_of(name, pad, act, clamp, shape=SHAPE):
    names, f = ("scale", "noise", "strength", "bias", "next_scale"), None if name is None else FILTERS[name]

    def ours(x, *small):
        return fused_layer(x, None if f is None else f.to(x.device), padding=pad, filter_gain=4 if pad else 1, act=act,
                           clamp=clamp, **dict(zip(names, small)))

    def definition(x, *small):
        y = x if f is None else published_recipe.fir(x, f.double(), pad=(pad,) * 4, gain=4)
        return tail(y, *small, act=act, clamp=clamp)

    height, width = (side + 2 * pad - (1 if f is None else len(f)) + 1 for side in shape[2:])
    return Operator(ours, definition, (shape, shape[:2], (2, 1, height, width), (), shape[1:2], shape[:2]))


def layer_of(name, up, clamp=None):
    """A synthesis layer in one convolution and one pass."""
    f = FILTERS[name]

    def ours(x, weight, styles, noise, bias):
        return modulated_layer(x, weight, styles, up=up, resample_filter=f.to(x.device), noise=noise, bias=bias,
                               clamp=clamp)

    def definition(x, weight, styles, noise, bias):
        y = published_recipe.modulated(x, weight, styles, noise=noise, up=up == 2, kernel=f.double())
        return tail(y, bias=bias, clamp=clamp)

    return Operator(ours, definition, (SHAPE, (8, 16, 3, 3), (2, 16), (5 * up, 6 * up), (8,)))


def modulated_of(fused, up, size):
    def ours(x, weight, styles):
        return modulated_conv2d(x, weight, styles, up=up, padding=size // 2, fused=fused, flip_weight=up == 1,
                                resample_filter=FILTERS["1331"].to(x.device), demodulate=size > 1)

    return Operator(ours, lambda x, weight, styles: published_recipe.modulated(
        x, weight, styles, up=up == 2, kernel=FILTERS["1331"], demodulate=size > 1),
        (SHAPE, (8, 16, size, size), (2, 16)))


def convolution_of(ours, theirs, shape, **options):
    return Operator(functools.partial(ours, **options), functools.partial(theirs, **options), (SHAPE, shape, (8,)))


OPERATORS = {
    **{f"bias_act {act}": bias_act_of(act, 0.9) for act in FORMULAS},
    "bias_act without a clamp": bias_act_of("lrelu", None),
    "upfirdn2d filters": upfirdn2d_of("skew4", 1, 1, (1, 2, 0, 3), True, 2.5),
    "upfirdn2d enlarges": upfirdn2d_of("1331", 2, 1, (2, 1, 2, 1), False, 4),
    "upfirdn2d reduces": upfirdn2d_of("1331", 1, 2, (1, 1, 1, 1), False, 1),
    "upfirdn2d crops": upfirdn2d_of("skew4", 2, 1, (-1, 2, 3, -2), False, 1),
    "upfirdn2d without a filter": upfirdn2d_of("none", 2, 1, (1, 0, 2, -1), False, 1),
    "upfirdn2d by 3 / 2": upfirdn2d_of("skew", 3, 2, (4, 5, 6, 3), True, 0.7),
    "fused_layer": fused_of("1331", 2, "lrelu", 1.1),
    "fused_layer of thin pictures": fused_of("1331", 1, "lrelu", None, shape=(2, 3, 34, 34)),
    "fused_layer smooth": fused_of("121", 1, "swish", None),
    "fused_layer without a filter": fused_of(None, 0, "lrelu", None),
    "layer": layer_of("1331", 1),
    **{f"layer {name} up 2": layer_of(name, 2) for name in ("1331", "121", "long")},
    "layer with a clamp": layer_of("1331", 2, clamp=3.0),
    **{f"modulated_conv2d {'fused' if fused else 'shared'} up {up} size {size}": modulated_of(fused, up, size)
       for fused, (up, size) in itertools.product((True, False), ((1, 3), (2, 3), (1, 1)))},
    "conv2d": convolution_of(conv2d, F.conv2d, (8, 16, 3, 3), padding=1),
    "conv2d in strides and groups": convolution_of(conv2d, F.conv2d, (8, 4, 3, 3), stride=2, groups=4),
    "conv_transpose2d": convolution_of(conv_transpose2d, F.conv_transpose2d, (16, 8, 3, 3), stride=2),
}
# Derivatives: in 16 bits a number may fall on the other side of a clamp, where the slope is another one.
SIXTEEN = {F16: Limit(4e-3, 0.05, 0.1, least=1e-5), B16: Limit(0.02, 0.1, 0.2, least=1e-4)}
KERNELS = [
    Path("plain torch", None, {F32: SINGLE, F64: EXACT, **SIXTEEN}),
    Path("native loops", None, {F32: SINGLE, F64: EXACT, **SIXTEEN}, ops="native"),
    Path("GPU, plain torch", None, {F32: ON_GPU, F64: EXACT, **SIXTEEN}, device="cuda"),
    Path("GPU, native", None, {F32: ON_GPU, F64: EXACT, **SIXTEEN}, ops="native", device="cuda"),
]


def results(function, tensors):
    """Returns [result], its gradients in all tensors, and those of the squared gradients of the picture."""
    tensors = [tensor.requires_grad_() for tensor in tensors]
    y = function(*tensors)
    first = torch.autograd.grad((y * random(*y.shape, seed=9).to(y)).sum(), tensors, create_graph=True)
    options = {"allow_unused": True, "materialize_grads": True}
    second = torch.autograd.grad((y.double().square().sum() + first[0].double().square().sum()), tensors, **options)
    return [y], list(first), list(second)


@pytest.mark.parametrize(COLUMNS, columns(KERNELS, OPERATORS, OPERATORS, (2,)))
def test_operators(path, dtype, layout, n, name):
    ours, definition, shapes = OPERATORS[name]
    tensors = [random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    if name.startswith("bias_act"):  # exact sums, none of them 0: rounding does not decide on the side of a bend
        tensors = [(8 * tensor).round() / 8 + 1 / 32 for tensor in tensors]
    tensors = [tensor.to(dtype).to(path.device) for tensor in tensors]
    wanted = results(definition, [tensor.double().cpu() for tensor in tensors])
    tensors[0] = tensors[0].contiguous(memory_format=LAYOUTS[layout])
    with path.at_work():
        came = results(ours, tensors)
    (y,), first, _ = came
    assert y.dtype == dtype and [each.dtype for each in first] == [dtype] * len(shapes)
    assert_within(came, wanted, path.limits[dtype], dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "most"), [(F32, 1e-5), (F64, 1e-13)], ids=str)
def test_winograd(dtype, most, layout):
    x, weight = random(*SHAPE[:2], 8, 12).to(dtype), random(8, 16, 3, 3, seed=1).to(dtype)
    came = winograd.conv3x3(x.contiguous(memory_format=LAYOUTS[layout]), winograd.transform_weight(weight))
    assert deviation([came], [F.conv2d(x.double(), weight.double(), padding=1)], dtype) < most
