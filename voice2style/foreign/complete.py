"""Turns a plan into tensors: reads them, checks every shape, and fills in, aloud, what a file leaves out."""

import functools

import torch
from torch.overrides import TorchFunctionMode

from torch_utils.ops.upfirdn2d import setup_filter
from torch_utils.random_streams import stream
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.foreign.inert import ArrayRef, TensorRef
from voice2style.foreign.state_dicts import filter_taps
from voice2style.foreign.windows import Refusal
from voice2style.generators.stylegan2 import Generator, GeneratorSettings
from voice2style.layers import DEFAULT_FILTER
from voice2style.sizes import check_size

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SEED = 0
NUM_MEAN_SAMPLES = {"G_ema": 2048, "G": 512}  # pictures are drawn with G_ema
_MEAN_VALUES = 1 << 22  # inputs of the mapping for all codes of a mean: no limit for published sizes
_TOUCHABLE = 4096  # larger than any filter, whose values are wanted
_SCALINGS = (torch.Tensor.div, torch.Tensor.__truediv__, torch.Tensor.true_divide, torch.div)
_SPARE = {}  # networks that were built to learn their layout and wait for the values


class _Unfilled(TorchFunctionMode):
    """Inside it torch.randn hands out memory that nobody touches, scaling included: a network takes no room.

    (The meta device would do the same, but importing its Python kernels takes seconds.)"""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _SCALINGS and isinstance(args[0], torch.Tensor) and args[0].numel() > _TOUCHABLE:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def blank(role, settings):
    """Network of a role ("G_ema", "G", "D") whose tensors wait for their values."""
    spare = _SPARE.pop((role == "D", settings), None)
    if spare is not None:
        return spare
    with _Unfilled():
        return Discriminator(settings) if role == "D" else Generator(settings)


@functools.lru_cache(maxsize=8)
def _layout(is_discriminator, settings):
    network = blank("D" if is_discriminator else "G", settings)
    if len(_SPARE) < 4:
        _SPARE[is_discriminator, settings] = network
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


def layout(role, settings, room):
    """(settings object, name -> shape of every tensor) of the network that settings (or their table) describe.

    `room`: bytes that the file may make us hold; a larger network is refused before it is built."""
    try:
        if isinstance(settings, dict):
            settings = (DiscriminatorSettings if role == "D" else GeneratorSettings)(**settings)
        check_size(settings, room, role=f"its {role}")
        return settings, _layout(role == "D", settings)
    except ValueError as error:  # the settings contradict each other
        raise Refusal(f"its {role} cannot be built: {error}") from error


def complete(plan, allowance):
    """(settings, tensors by our name) of one network; adds to plan.notes what was estimated or converted."""
    for key, ref in plan.filters.items():
        plan.settings[key] = filter_taps(ref.load(allowance))
    settings, wanted = layout(plan.role, plan.settings, allowance.num_bytes)
    missing = [n for n in wanted if n not in plan.tensors]
    fillable = [n for n in missing if n.endswith(("resample_filter", "noise_const")) or n == "mapping.w_avg"]
    if lacking := [n for n in missing if n not in fillable]:
        raise Refusal(
            f"its {plan.role} lacks {len(lacking)} tensors ({', '.join(lacking[:3])}): it is damaged or incomplete"
        )
    tensors = {}
    for name, shape in wanted.items():
        if name not in fillable:
            tensors[name] = _read(plan, name, allowance)
            if not shape and tensors[name].numel() == 1:  # a single number that was stored as [1]
                tensors[name] = tensors[name].reshape(())
            if tensors[name].shape != shape:
                raise Refusal(
                    f"its {plan.role} has {name} of shape {list(tensors[name].shape)}, {list(shape)} fits the rest"
                )
    _fill(plan, settings, wanted, fillable, tensors)
    return settings, tensors


def _read(plan, name, allowance):
    """One tensor in float32; TensorFlow files keep single numbers as such."""
    ref = plan.tensors[name]
    if isinstance(ref, ArrayRef):
        array = ref.load(allowance)
        own, value = array.dtype.name, None
        if array.dtype.kind == "f":
            value = torch.from_numpy(array.astype("=f4", copy=False))
    elif isinstance(ref, TensorRef):
        own = str(ref.storage.dtype).removeprefix("torch.")
        value = ref.load(allowance, torch.float32) if ref.storage.dtype in FLOATS else None
    else:
        own, value = "float32", torch.tensor(float(ref))
    if value is None:
        raise Refusal(f"its {plan.role} has {name} of type {own}: weights are floating point numbers")
    note = f"{own} weights are converted to float32"
    if own != "float32" and note not in plan.notes:
        plan.notes.append(note)
    transform = plan.transforms.get(name)
    return transform(value).contiguous() if transform else value


def _fill(plan, settings, wanted, missing, tensors):
    """Default filters, noise from a fixed seed, and the mean code as an average over many codes."""
    noises = [n for n in missing if n.endswith("noise_const")]
    for name in noises:
        tensors[name] = torch.randn(wanted[name], generator=stream(SEED, "noise_const", name))
    if noises:
        plan.notes.append(
            f"{plan.role}: the file has no noise_const; {len(noises)} were drawn anew from seed {SEED}"
            " (pictures in noise mode 'const' differ from the author's in fine detail)"
        )
    for name in missing:
        if name.endswith("resample_filter"):
            tensors[name] = setup_filter(settings.resample_filter if _resamples(plan.role, name) else DEFAULT_FILTER)
    if "mapping.w_avg" in missing:
        tensors["mapping.w_avg"] = _mean_code(settings, tensors, NUM_MEAN_SAMPLES[plan.role])
        plan.notes.append(
            f"{plan.role}: the file has no mean code (w_avg);"
            f" it was estimated from {NUM_MEAN_SAMPLES[plan.role]} codes of seed {SEED}"
        )


def _resamples(role, name):
    """True where the network's own filter sits; layers that keep the size carry the default one, unused."""
    layer = name.split(".")[-2]
    return not (layer == "conv1" if role != "D" else layer in ("conv", "conv0", "fromrgb"))


@torch.no_grad()
def _mean_code(settings, tensors, num):
    """Mean of mapping(z) [w_dim] over many z, and over all labels in turn."""
    network = blank("G", settings)
    own = {n.removeprefix("mapping."): t for n, t in tensors.items() if n.startswith("mapping.")}
    own["w_avg"] = torch.zeros(network.w_dim)
    network.mapping.load_state_dict(own, assign=True)
    network.mapping.num_ws = 1  # a code is repeated for every layer: not here
    widest = max(network.z_dim, network.c_dim, 1)
    num = max(min(num, _MEAN_VALUES // widest), 1)  # a hostile width must not cost more than an ordinary one
    z = torch.randn(num, network.z_dim, generator=stream(SEED, "w_avg"))
    labels = torch.arange(num) % max(network.c_dim, 1)
    total = torch.zeros(network.w_dim, dtype=torch.float64)
    for rows in torch.arange(num).split(max(min(512, _MEAN_VALUES // 8 // widest), 1)):
        c = torch.nn.functional.one_hot(labels[rows], network.c_dim).float() if network.c_dim else None
        total += network.mapping(z[rows], c)[:, 0].double().sum(0)
    return (total / num).float()
