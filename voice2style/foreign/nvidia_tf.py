"""Reads NVIDIA's TensorFlow pickles: stylegan2 (state version 4) and stylegan2-ada (version 5)."""

import re

from voice2style.foreign.inert import ArrayRef, Thing
from voice2style.foreign.plan import Found, Plan
from voice2style.foreign.state_dicts import all_or_none, resolutions
from voice2style.foreign.windows import Refusal

TRANSFORMS = {  # kind -> (number of dimensions, function)
    "same": (None, None),
    "dense": (2, lambda t: t.t()),
    "conv": (4, lambda t: t.permute(3, 2, 0, 1)),
    "flipped": (4, lambda t: t.flip(0, 1).permute(3, 2, 0, 1)),  # doubling convolutions are stored mirrored
    "plus one": (1, lambda t: t + 1),
    "first": (4, lambda t: t[0]),
    "plane": (4, lambda t: t[0, 0]),
    "scalar": (None, lambda t: t.reshape(())),
}
OTHER_ARITHMETIC = {  # static_kwargs that change the arithmetic -> the only value read
    "normalize_latents": True,
    "use_spectral_norm": False,
    "fused_modconv": None,
    "use_instance_norm": None,
    "score_max": 1,
}
LAYER_PARTS = {"mod_weight": ("affine.weight", "dense"), "mod_bias": ("affine.bias", "plus one"),
               "bias": ("bias", "same"), "noise_strength": ("noise_strength", "scalar")}  # fmt: skip


def network_state(value):
    """State of an inert TensorFlow Network, or None."""
    if (
        isinstance(value, Thing)
        and isinstance(value.state, dict)
        and isinstance(value.state.get("variables"), (list, tuple))
    ):
        return value.state if "static_kwargs" in value.state or "build_func_name" in value.state else None
    return None


def networks(root):
    """role -> state, for a 3-tuple (G, D, Gs), a single network, or a dictionary of them."""
    if isinstance(root, dict):
        pairs = [({"Gs": "G_ema", "G_ema": "G_ema", "G": "G", "D": "D"}.get(str(k)), v) for k, v in root.items()]
    elif isinstance(root, (tuple, list)):
        roles = {3: ("G", "D", "G_ema"), 2: ("G", "D"), 1: ("G_ema",)}.get(len(root), ())
        pairs = list(zip(roles, root))
    else:
        pairs = [("G_ema", root)]
    found = {role: network_state(value) for role, value in pairs if role}
    return {role: state for role, state in found.items() if state is not None}


def recognises(contents):
    """True if the file holds TensorFlow networks, of any version."""
    return bool(networks(contents.root))


def read(contents):
    """Found, for a version 4 or 5 file."""
    states, plans, notes = networks(contents.root), [], []
    version = next(iter(states.values())).get("version")
    if version not in (4, 5):
        older = {1: "ProGAN", 2: "ProGAN", 3: "StyleGAN1"}.get(
            version if isinstance(version, int) else None, "an unknown network"
        )
        raise Refusal(
            f"it seems to be a TensorFlow pickle of {older} (state version {version}): another architecture, not read"
        )
    for role in ("G_ema", "G"):
        if role in states:
            plans.append(_generator(role, states[role], version))
    if "D" in states:
        try:
            plans.append(_discriminator(states["D"], version))
        except Refusal as error:
            if not plans:
                raise
            notes.append(f"D is left out: {error}")
    psi = _kwargs(states.get("G_ema", {})).get("truncation_psi", 0.5)
    notes.append(f"TensorFlow's own scripts draw with truncation_psi {psi!r} unless told otherwise")
    return Found(
        {4: "NVIDIA TensorFlow stylegan2", 5: "NVIDIA TensorFlow stylegan2-ada"}[version], str(version), plans, notes
    )


def _kwargs(state):
    kwargs = state.get("static_kwargs")
    return kwargs if isinstance(kwargs, dict) else {}


def variables(state, depth=0):
    """name -> ArrayRef or number, with the components' names in front."""
    if depth > 4:
        raise Refusal("TensorFlow networks nested more than 4 deep")
    found = {}
    components = state.get("components")
    for name, component in components.items() if isinstance(components, dict) else ():
        inner = network_state(component)
        if inner is not None:
            found.update({f"{name}/{k}": v for k, v in variables(inner, depth + 1).items()})
    for entry in state["variables"]:
        if not isinstance(entry, (tuple, list)) or len(entry) != 2 or not isinstance(entry[0], str):
            raise Refusal("a TensorFlow network whose variables are not pairs of name and value")
        if isinstance(entry[1], (ArrayRef, int, float)):
            found[entry[0]] = entry[1]
    return found


def _shape(values, name, num_dimensions):
    ref = values.get(name)
    if not isinstance(ref, ArrayRef) or ref.shape is None or len(ref.shape) != num_dimensions or not all(ref.shape):
        raise Refusal(f"its variable {name} is missing or has an unknown shape")
    return ref.shape


def _add(plan, name, kind, value):
    """Puts one variable into the plan after checking what its transform needs."""
    num_dimensions, function = TRANSFORMS[kind]
    if isinstance(value, ArrayRef):
        shape = value.shape
        if (
            shape is None
            or (num_dimensions is not None and len(shape) != num_dimensions)
            or (num_dimensions and not all(shape))
        ):
            raise Refusal(f"its variable for {name} has shape {shape}, which no such file has")
        if kind == "scalar" and shape not in ((), (1,)):
            raise Refusal(f"its variable for {name} has shape {shape}, a single number is needed")
    elif kind != "scalar":
        raise Refusal(f"its variable for {name} is a single number")
    plan.tensors[name] = value
    if function:
        plan.transforms[name] = function


def _common_settings(kwargs, version, values, prefix):
    """Settings both networks take from static_kwargs; ValueErrors for what would change the arithmetic."""
    for key, allowed in OTHER_ARITHMETIC.items():
        if allowed is not None and kwargs.get(key, allowed) != allowed:
            raise Refusal(f"it was trained with {key}={kwargs[key]!r}, which is not supported")
    found = sorted({int(m[1]) for n in values if (m := re.match(rf"{prefix}(\d+)x\1/Conv", n))})
    if len(found) < 2 or found != resolutions(found[-1]):
        raise Refusal(f"it has blocks of resolutions {found}: they should double from 4 on")
    kernel = kwargs.get("resample_kernel", [1, 3, 3, 1])
    kernel = [1, 1] if kernel is None else kernel  # TensorFlow's None is the box filter
    if (
        not isinstance(kernel, (list, tuple))
        or not 0 < len(kernel) <= 16
        or not all(isinstance(k, (int, float)) for k in kernel)
    ):
        raise Refusal("its resample_kernel is not a short list of numbers")
    clamp, half = kwargs.get("conv_clamp"), kwargs.get("num_fp16_res", 0)
    return found, {
        "img_resolution": found[-1],
        "activation": _text(kwargs.get("nonlinearity", "lrelu")),
        "resample_filter": tuple(float(k) for k in kernel),
        "conv_clamp": float(clamp) if isinstance(clamp, (int, float)) else None,
        "num_fp16_res": half if isinstance(half, int) and 0 <= half < 12 else 0,
        "mapping_activation": _text(kwargs.get("mapping_nonlinearity", "lrelu")),
    }


def _text(value):
    return value if isinstance(value, str) else "lrelu"


def _number(value, default):
    return float(value) if isinstance(value, (int, float)) else default


def _check_kind(values, version):
    """Refuses the relatives of StyleGAN2 that share the file form."""
    if any("StyleMod/" in n or n.endswith("Noise/weight") for n in values):
        raise Refusal(
            "it seems to be StyleGAN1 or config A of StyleGAN2 (StyleMod variables): another architecture, not read"
        )
    if any("LabelConcat/" in n for n in values):
        raise Refusal(
            "it seems to be a label-conditional stylegan2 network of TensorFlow version 4 (mapping/LabelConcat),"
            " which computes labels differently: not read; train or convert it with stylegan2-ada"
        )
    lods = [v for n, v in values.items() if n.split("/")[-1] == "lod"]
    if any(isinstance(v, (int, float)) and v > 0 for v in lods) and any("_lod" in n for n in values):
        raise Refusal("it is a snapshot from the middle of progressive growing (lod > 0): take the final snapshot")


# ---- generator ----


def _generator(role, state, version):
    kwargs, values = _kwargs(state), variables(state)
    _check_kind(values, version)
    rs, settings = _common_settings(kwargs, version, values, "synthesis/")
    top = rs[-1]
    num_layers = sum(1 for n in values if re.fullmatch(r"mapping/Dense\d+/weight", n))
    widths = [_shape(values, "synthesis/4x4/Conv/weight", 4)[3]]
    widths += [_shape(values, f"synthesis/{r}x{r}/Conv1/weight", 4)[3] for r in rs[1:]]
    w_dim = _shape(values, "synthesis/4x4/Conv/mod_weight", 2)[0]
    label = _shape(values, "mapping/LabelEmbed/weight", 2) if "mapping/LabelEmbed/weight" in values else (0, 0)
    first = _shape(values, "mapping/Dense0/weight", 2) if num_layers else (w_dim, w_dim)
    last = "synthesis/ToRGB_lod0/weight"
    last = last if last in values else f"synthesis/{top}x{top}/ToRGB/weight"
    skip = "synthesis/4x4/ToRGB/weight" in values
    resnet = "synthesis/8x8/Skip/weight" in values
    settings.update(
        z_dim=first[0] - label[1],
        c_dim=label[0],
        w_dim=w_dim,
        channels=tuple(widths),
        img_channels=_shape(values, last, 4)[3],
        mapping_layers=num_layers,
        mapping_lr_multiplier=_number(kwargs.get("mapping_lrmul"), 0.01),
        embed_features=label[1] or None,
        layer_features=first[1] if num_layers > 1 else None,
        w_avg_beta=_number(kwargs.get("dlatent_avg_beta"), 0.995),
        architecture="resnet" if resnet else "skip" if skip else "orig",
        use_noise=kwargs.get("use_noise") is not False and all_or_none(
            f"synthesis/{r}x{r}/{layer}/noise_strength" in values
            for r in rs for layer in (("Conv0_up", "Conv1") if r > 4 else ("Conv",))
        ),
        const_shape=tuple(_shape(values, "synthesis/4x4/Const/const", 4)[2:]),
    )
    plan = Plan(role, settings, {})
    for name, value in values.items():
        if ours := _generator_name(name, top):
            if settings["use_noise"] or ".noise_" not in ours[0]:
                _add(plan, *ours, value)
        elif not _ignorable(name):
            raise Refusal(f"its generator has a variable {name} that StyleGAN2 does not have")
    return plan


def _ignorable(name):
    """Variables that do not reach the final picture: the level of detail, and lower levels' image layers."""
    return name.split("/")[-1] == "lod" or bool(re.search(r"(To|From)RGB_lod[1-9]\d*/", name)) or name.startswith("pl_")


def _generator_name(name, top):
    """(our name, kind of transform), or None."""
    if name == "dlatent_avg":
        return "mapping.w_avg", "same"
    if m := re.fullmatch(r"mapping/Dense(\d+)/(weight|bias)", name):
        return f"mapping.fc{m[1]}.{m[2]}", "dense" if m[2] == "weight" else "same"
    if m := re.fullmatch(r"mapping/LabelEmbed/(weight|bias)", name):
        return f"mapping.embed.{m[1]}", "dense" if m[1] == "weight" else "same"
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", "first"
    if m := re.fullmatch(r"synthesis/noise(\d+)", name):
        n = int(m[1])
        layer = "b4.conv1" if n == 0 else f"b{2 ** min((n + 5) // 2, 30)}.conv{(n + 1) % 2}"
        return f"synthesis.{layer}.noise_const", "plane"
    if m := re.fullmatch(r"synthesis/(?:(\d+)x\1/)?ToRGB_lod0/(\w+)", name):
        return _layer_name(f"b{top}.torgb", m[2], "conv")
    if m := re.fullmatch(r"synthesis/(\d+)x\1/(Conv|Conv0_up|Conv1|ToRGB|Skip)/(\w+)", name):
        layer = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}[m[2]]
        return _layer_name(f"b{m[1]}.{layer}", m[3], "flipped" if m[2] == "Conv0_up" else "conv")
    return None


def _layer_name(path, part, weight_kind):
    if part == "weight":
        return f"synthesis.{path}.weight", weight_kind
    return (f"synthesis.{path}.{LAYER_PARTS[part][0]}", LAYER_PARTS[part][1]) if part in LAYER_PARTS else None


# ---- discriminator ----


def _discriminator(state, version):
    kwargs, values = _kwargs(state), variables(state)
    _check_kind(values, version)
    rs, settings = _common_settings(kwargs, version, values, "")
    top, conv, out = rs[-1], _shape(values, "4x4/Conv/weight", 4), _shape(values, "Output/weight", 2)
    label = _shape(values, "LabelEmbed/weight", 2) if "LabelEmbed/weight" in values else (0, 0)
    if out[1] > 1 and not label[0]:
        raise Refusal("it is label-conditional in the way of TensorFlow version 4, which is not read")
    image = next(
        (
            n
            for n in ("FromRGB_lod0/weight", f"{top}x{top}/FromRGB/weight", f"{top}x{top}/FromRGB_lod0/weight")
            if n in values
        ),
        "",
    )
    num_layers = sum(1 for n in values if re.fullmatch(r"Mapping\d+/weight", n))
    group = kwargs.get("mbstd_group_size", 4 if version == 4 else None)
    settings.update(
        img_channels=_shape(values, image, 4)[2],
        channels=(conv[3], *(_shape(values, f"{r}x{r}/Conv0/weight", 4)[2] for r in rs[1:])),
        architecture="resnet" if "8x8/Skip/weight" in values else "skip" if "4x4/FromRGB/weight" in values else "orig",
        mbstd_group_size=group if isinstance(group, int) and group > 0 else None,
        mbstd_num_channels=conv[2] - conv[3],
    )
    if label[0]:
        settings.update(
            c_dim=label[0],
            cmap_dim=out[1],
            mapping_layers=num_layers,
            mapping_lr_multiplier=_number(kwargs.get("mapping_lrmul"), 0.1),
            embed_features=label[1],
            layer_features=_shape(values, "Mapping0/weight", 2)[1] if num_layers > 1 else None,
        )
    plan = Plan("D", settings, {})
    for name, value in values.items():
        if ours := _discriminator_name(name, top):
            _add(plan, *ours, value)
        elif not _ignorable(name):
            raise Refusal(f"its discriminator has a variable {name} that StyleGAN2 does not have")
    return plan


def _discriminator_name(name, top):
    """(our name, kind of transform), or None."""
    if m := re.fullmatch(r"(?:(\d+)x\1/)?FromRGB_lod0/(weight|bias)", name):
        return f"b{top}.fromrgb.{m[2]}", "conv" if m[2] == "weight" else "same"
    if m := re.fullmatch(r"(LabelEmbed|Mapping(\d+)|4x4/Dense0|Output)/(weight|bias)", name):
        layer = {"LabelEmbed": "mapping.embed", "4x4/Dense0": "b4.fc", "Output": "b4.out"}.get(
            m[1], f"mapping.fc{m[2]}"
        )
        return f"{layer}.{m[3]}", "dense" if m[3] == "weight" else "same"
    if m := re.fullmatch(r"(\d+)x\1/(FromRGB|Conv|Conv0|Conv1_down|Skip)/(weight|bias)", name):
        layer = {"FromRGB": "fromrgb", "Conv": "conv", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}[m[2]]
        return f"b{m[1]}.{layer}.{m[3]}", "conv" if m[3] == "weight" else "same"
    return None
