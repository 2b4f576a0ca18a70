"""Reads rosinality's .pt files (training, converted, early ones without noises) and maps them to published names."""

import math
import re

from voice2style.foreign.inert import ArrayRef, TensorRef
from voice2style.foreign.nvidia_torch import by_role
from voice2style.foreign.plan import Found, Plan
from voice2style.foreign.state_dicts import resolutions
from voice2style.foreign.windows import Refusal

G_ANCHOR, D_ANCHOR = "input.input", "final_linear.1.weight"
LAYER = {  # rest of a styled layer's name -> our name, transform
    "conv.weight": ("weight", "first"),
    "conv.modulation.weight": ("affine.weight", None),
    "conv.modulation.bias": ("affine.bias", None),
    "noise.weight": ("noise_strength", "scalar"),
    "activate.bias": ("bias", None),
}
TO_RGB = {
    "conv.weight": ("weight", "first"),
    "conv.modulation.weight": ("affine.weight", None),
    "conv.modulation.bias": ("affine.bias", None),
    "bias": ("bias", "flat"),
}
TRANSFORMS = {
    "first": lambda t: t[0],
    "plane": lambda t: t[0, 0],
    "scalar": lambda t: t.reshape(()),
    "flat": lambda t: t.reshape(-1),
    "mean": lambda t: t.reshape(-1, t.shape[-1])[0],
}


def recognises(contents):
    """True if a generator with rosinality's names is in the file, or a discriminator by itself."""
    names = contents.tensors
    return bool(find_generators(names) or (find_discriminators(names) and not any("b4.const" in n for n in names)))


def find_generators(tensors):
    prefixes = [n[: -len(G_ANCHOR)] for n in tensors if n.endswith(G_ANCHOR)]
    return [p for p in prefixes if f"{p}conv1.conv.weight" in tensors and f"{p}to_rgb1.conv.weight" in tensors]


def find_discriminators(tensors):
    prefixes = [n[: -len(D_ANCHOR)] for n in tensors if n.endswith(D_ANCHOR)]
    return [p for p in prefixes if f"{p}convs.0.0.weight" in tensors and f"{p}final_conv.0.weight" in tensors]


def read(contents):
    """Found, for a file with rosinality's networks."""
    notes, plans = [], []
    generators = by_role(find_generators(contents.tensors), notes, "generator")
    for role, prefix in generators.items():
        plans.append(plan_generator(contents, role, prefix))
    for prefix in by_role(find_discriminators(contents.tensors), notes, "discriminator").values():
        try:
            plans.append(_plan_discriminator(contents.tensors, prefix))
        except Refusal as error:
            if not plans:
                raise
            notes.append(f"D is left out: {error}")
    if {"g_optim", "d_optim"} & set(contents.top_keys()):
        notes.append("optimizer states are left out")
    kind = "rosinality training checkpoint" if "g_optim" in contents.top_keys() else "rosinality"
    return Found(kind, "", plans, notes)


def plan_generator(contents, role, prefix):
    """Plan of one generator; `prefix` is its part of every name, up to the dot."""
    tensors = {n[len(prefix) :]: t for n, t in contents.tensors.items() if n.startswith(prefix)}
    if any(".iwt." in n or ".dwt." in n for n in tensors):
        raise Refusal("it seems to be a SWAGAN (wavelets in to_rgbs), another architecture: not read")
    plan = Plan(role, _generator_settings(tensors), {})
    unknown = []
    for name, ref in tensors.items():
        ours = _generator_name(name)
        if ours:
            plan.tensors[ours[0]] = ref
            if ours[1]:
                plan.transforms[ours[0]] = TRANSFORMS[ours[1]]
        elif not name.endswith(".kernel") and not name.startswith("latent_avg"):
            unknown.append(name)
    if unknown:
        raise Refusal(f"its generator has tensors that rosinality's StyleGAN2 does not have ({', '.join(unknown[:3])})")
    _use_kernel(plan, tensors.get("convs.0.conv.blur.kernel"))
    _check_first_dimensions(plan)
    _mean_code(contents, plan, prefix)
    return plan


def _check_first_dimensions(plan):
    """The transforms index and reshape: their tensors must have the published number of dimensions."""
    wanted = {"first": (4, 5), "plane": (4,), "scalar": (0, 1), "flat": (1, 2, 3, 4), "mean": (1, 2)}
    names = {function: kind for kind, function in TRANSFORMS.items()}
    for name, function in plan.transforms.items():
        shape = plan.tensors[name].shape
        good = len(shape) in wanted[names[function]] and all(shape)
        if not good or (names[function] == "scalar" and math.prod(shape) != 1):
            raise Refusal(f"its {plan.role} has {name} of shape {list(shape)}, which no rosinality file has")


def _mean_code(contents, plan, prefix):
    """latent_avg beside or inside the network becomes w_avg."""
    for name in (
        f"{prefix}latent_avg",
        f"{prefix.rpartition('.')[0].rpartition('.')[0]}.latent_avg".lstrip("."),
        "latent_avg",
    ):
        ref = contents.tensors.get(name)
        if isinstance(ref, TensorRef) and ref.shape and ref.shape[-1] == plan.settings["w_dim"] and len(ref.shape) <= 2:
            plan.tensors["mapping.w_avg"] = ref
            plan.transforms["mapping.w_avg"] = TRANSFORMS["mean"]
            return
    value = contents.values.get("latent_avg")
    if isinstance(value, ArrayRef) and value.shape and value.shape[-1] == plan.settings["w_dim"]:
        plan.tensors["mapping.w_avg"] = value
        plan.transforms["mapping.w_avg"] = TRANSFORMS["mean"]


def _use_kernel(plan, ref):
    """Filter of the blur, stored with the gain of doubling; other sizes than four taps are padded in another way."""
    if ref is None:
        return
    if ref.shape != (4, 4):
        raise Refusal(f"its blur has a kernel of shape {list(ref.shape)}, only 4 taps are read")
    plan.filters["resample_filter"] = ref


def _shape(tensors, name, num_dimensions):
    if name not in tensors or len(tensors[name].shape) != num_dimensions or not all(tensors[name].shape):
        raise Refusal(f"its tensor {name} is missing or has another shape than in rosinality's files")
    return tensors[name].shape


def _generator_settings(tensors):
    """Keyword arguments of GeneratorSettings; everything rosinality can vary shows in the shapes."""
    num_convs = sum(1 for n in tensors if re.fullmatch(r"convs\.\d+\.conv\.weight", n))
    num_layers = sum(1 for n in tensors if re.fullmatch(r"style\.\d+\.weight", n))
    if num_convs % 2 or not num_convs:
        raise Refusal(f"its generator has {num_convs} up-sampling convolutions, an even number is needed")
    top = 4 * 2 ** (num_convs // 2)
    first = _shape(tensors, "conv1.conv.weight", 5)
    w_dim = _shape(tensors, "conv1.conv.modulation.weight", 2)[1]
    channels = [first[1]] + [_shape(tensors, f"convs.{2 * j + 1}.conv.weight", 5)[1] for j in range(num_convs // 2)]
    constant = _shape(tensors, "input.input", 4)
    return {
        "z_dim": _shape(tensors, "style.1.weight", 2)[1] if num_layers else w_dim,
        "w_dim": w_dim,
        "img_resolution": top,
        "img_channels": _shape(tensors, "to_rgb1.conv.weight", 5)[1],
        "channels": tuple(channels),
        "mapping_layers": num_layers,
        "layer_features": _shape(tensors, "style.1.weight", 2)[0] if num_layers > 1 else None,
        "architecture": "skip",
        "const_shape": tuple(constant[2:]),
        "scaled_demodulation": True,
    }


def _generator_name(name):
    """(our name, transform) of one of rosinality's names, or None."""
    if m := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping.fc{int(m[1]) - 1}.{m[2]}", None
    if name == "input.input":
        return "synthesis.b4.const", "first"
    if m := re.fullmatch(r"noises\.noise_(\d+)", name):
        n = int(m[1])
        layer = "b4.conv1" if n == 0 else f"b{8 * 2 ** ((n - 1) // 2)}.conv{(n - 1) % 2}"
        return f"synthesis.{layer}.noise_const", "plane"
    if m := re.fullmatch(r"(conv1|convs\.(\d+))\.(.+)", name):
        layer = "b4.conv1" if m[2] is None else f"b{8 * 2 ** (int(m[2]) // 2)}.conv{int(m[2]) % 2}"
        return _joined(f"synthesis.{layer}", LAYER.get(m[3]))
    if m := re.fullmatch(r"to_rgb(1|s\.(\d+))\.(.+)", name):
        resolution = 4 if m[2] is None else 8 * 2 ** int(m[2])
        return _joined(f"synthesis.b{resolution}.torgb", TO_RGB.get(m[3]))
    return None


def _joined(path, entry):
    return (f"{path}.{entry[0]}", entry[1]) if entry else None


# ---- discriminator ----


def _plan_discriminator(tensors, prefix):
    tensors = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
    first = _shape(tensors, "convs.0.0.weight", 4)
    num_blocks = sum(1 for n in tensors if re.fullmatch(r"convs\.\d+\.conv1\.0\.weight", n))
    top = 4 * 2**num_blocks
    final = _shape(tensors, "final_conv.0.weight", 4)
    by_size = {top // 2**i: _shape(tensors, f"convs.{i + 1}.conv1.0.weight", 4)[0] for i in range(num_blocks)}
    settings = {
        "img_resolution": top,
        "img_channels": first[1],
        "channels": (final[0], *(by_size[r] for r in resolutions(top)[1:])),
        "architecture": "resnet",
        "mbstd_num_channels": final[1] - final[0],
    }
    plan, unknown = Plan("D", settings, {}), []
    for name, ref in tensors.items():
        if ours := _discriminator_name(name, top):
            plan.tensors[ours] = ref
        elif not name.endswith(".kernel"):
            unknown.append(name)
    if unknown:
        raise Refusal(f"it has tensors that rosinality's discriminator does not have ({', '.join(unknown[:3])})")
    if (kernel := tensors.get("convs.1.conv2.0.kernel")) is not None and kernel.shape == (4, 4):
        plan.filters["resample_filter"] = kernel
    return plan


def _discriminator_name(name, top):
    fixed = {
        "convs.0.0.weight": f"b{top}.fromrgb.weight",
        "convs.0.1.bias": f"b{top}.fromrgb.bias",
        "final_conv.0.weight": "b4.conv.weight",
        "final_conv.1.bias": "b4.conv.bias",
        "final_linear.0.weight": "b4.fc.weight",
        "final_linear.0.bias": "b4.fc.bias",
        "final_linear.1.weight": "b4.out.weight",
        "final_linear.1.bias": "b4.out.bias",
    }
    if name in fixed:
        return fixed[name]
    inner = {"conv1.0.weight": "conv0.weight", "conv1.1.bias": "conv0.bias", "conv2.1.weight": "conv1.weight",
             "conv2.2.bias": "conv1.bias", "skip.1.weight": "skip.weight"}  # fmt: skip
    m = re.fullmatch(r"convs\.(\d+)\.(.+)", name)
    if m and 0 < int(m[1]) < 20 and m[2] in inner:
        return f"b{top // 2 ** (int(m[1]) - 1)}.{inner[m[2]]}"
    return None
