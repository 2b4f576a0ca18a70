"""Reads NVIDIA's PyTorch networks (ada and sg3 repositories and their forks) and plain tensors with the same names."""

import math

from voice2style.foreign.complete import layout
from voice2style.foreign.plan import Found, Plan
from voice2style.foreign.state_dicts import discriminator_settings, generator_settings
from voice2style.foreign.structure import plain, shapes_under
from voice2style.foreign.windows import Refusal

BOOKKEEPING = ("num_batches_tracked",)


def role_of(prefix):
    """ "G_ema", "G" or "" (unnamed) by the words of a generator's prefix."""
    words = prefix.lower().strip(".").split(".")
    if any(
        "ema" in word or word in ("gs", "generator_smooth", "g_smooth", "g_running", "netg_shadow") for word in words
    ):
        return "G_ema"
    return "G" if any(word in ("g", "generator", "netg", "gen") for word in words) else ""


def find_generators(contents):
    """Prefixes under which a generator of published names lies."""
    return [n[: -len("synthesis.b4.const")] for n in contents.tensors if n.endswith("synthesis.b4.const")]


def find_discriminators(contents):
    prefixes = [n[: -len("b4.out.weight")] for n in contents.tensors if n.endswith("b4.out.weight")]
    return [p for p in prefixes if p + "b4.fc.weight" in contents.tensors and not p.endswith("synthesis.")]


def recognises(contents):
    """True if a generator or discriminator with published names is in the file."""
    return bool(find_generators(contents) or find_discriminators(contents))


def by_role(prefixes, notes, what):
    """role -> prefix; of several with one role the shortest name counts, the rest is noted."""
    found = {}
    for prefix in sorted(prefixes, key=lambda p: (len(p), p)):
        role = role_of(prefix) if what == "generator" else "D"
        if (role or "G_ema") in found:
            notes.append(f'a second {what} under "{prefix}" is not loaded')
        else:
            found[role or "G_ema"] = prefix
    return found


def read(contents):
    """Found, for a file with published names."""
    notes, plans = [], []
    generators = by_role(find_generators(contents), notes, "generator")
    for role, prefix in generators.items():
        plans.append(_generator(contents, role, prefix))
    for prefix in by_role(find_discriminators(contents), notes, "discriminator").values():
        if plan := _discriminator(contents, prefix, notes, required=not plans):
            plans.append(plan)
    if "D" in contents.top_keys() and not any(plan.role == "D" for plan in plans) and contents.root["D"] is not None:
        named = sorted({str(v[0]) for k, v in contents.modules.items() if k == "D"}) or ["unknown"]
        notes.append(f"D is not a StyleGAN2 discriminator (class {named[0]}) and is left out")
    if not contents.modules:
        notes.append(
            "plain tensors do not tell activations, learning-rate multipliers, clamping, half precision and"
            " batch-statistics groups: the usual values are taken (lrelu, 0.01, no clamping, float32, groups of 4)"
        )
    repository = _repository(contents, plans, generators)
    kind = f"{repository} StyleGAN2" if contents.modules else "StyleGAN2 state dict"
    return Found(kind, "6" if contents.modules else "", plans, notes)


def _repository(contents, plans, generators):
    for prefix in generators.values():
        if is_ada(contents, prefix):
            return "NVIDIA ada"
    return "NVIDIA sg3" if generators else "NVIDIA"


def is_ada(contents, prefix):
    """True for the ada repository: nested synthesis_kwargs, and no fused_modconv_default on its blocks."""
    path = prefix.rstrip(".")
    block = contents.attributes(f"{prefix}synthesis.b4") or contents.attributes(f"{prefix}b4.conv")
    if not block:
        return False
    kwargs = contents.attributes(path).get("_init_kwargs")
    if isinstance(kwargs, dict) and "synthesis_kwargs" in kwargs:
        return True
    newer = "fused_modconv_default" in block or "num_fp16_res" in contents.attributes(f"{prefix}synthesis")
    return not newer and "in_channels" not in contents.attributes(f"{prefix}synthesis.b4.conv1")


# ---- attributes of modules ----


def attribute(contents, path, name, kinds):
    """An attribute of the module at `path` if it has the wanted kind, else None."""
    value = contents.attributes(path).get(name)
    good = plain(value) and isinstance(value, kinds) and (not isinstance(value, bool) or kinds is bool)
    return value if good and not (isinstance(value, float) and not math.isfinite(value)) else None


def common(contents, paths, name, kinds, what):
    """The value all modules at `paths` share; a file whose layers differ has another arithmetic and is refused."""
    values = {
        contents.attributes(p).get(name)
        for p in paths
        if name in contents.attributes(p) and plain(contents.attributes(p)[name])
    }
    if len(values) > 1:
        raise Refusal(
            f"its layers differ in {what} ({', '.join(map(str, sorted(values, key=str)))}), which is not supported"
        )
    value = values.pop() if values else None
    return value if isinstance(value, kinds) else None


def _mapping_attributes(contents, prefix, settings):
    """activation, lr_multiplier of the mapping's layers."""
    layers = [f"{prefix}mapping.fc{i}" for i in range(settings.get("mapping_layers", 0))]
    found = {
        "mapping_activation": common(contents, layers, "activation", str, "mapping activation"),
        "mapping_lr_multiplier": common(
            contents, layers, "bias_gain", (int, float), "mapping learning-rate multiplier"
        ),
    }
    return {key: value for key, value in found.items() if value is not None}


def _half_blocks(contents, prefix, resolutions):
    """Number of the highest resolutions that run in half precision."""
    half = [r for r in resolutions if contents.attributes(f"{prefix}b{r}").get("use_fp16") is True]
    if half and half != resolutions[-len(half) :]:
        raise Refusal(f"blocks {half} run in half precision and not the highest ones, which is not supported")
    return len(half)


def _resolutions(settings):
    return [4 * 2**k for k in range(len(settings["channels"]))]


def _split_extras(contents, prefix, wanted, plan):
    """Keeps what our network has; what a fork added outside the layers, or as a buffer, is dropped and said."""
    harmless, harmful = [], []
    for name in [n for n in plan.tensors if n not in wanted]:
        ref = plan.tensors.pop(name)
        inside = name.startswith(("mapping.", "synthesis.b", "b"))
        learned = ref.is_parameter or not contents.modules
        unused_noise = ".noise_" in name and plan.settings.get("use_noise") is False
        if not name.endswith(BOOKKEEPING) and not unused_noise:
            (harmful if inside and learned else harmless).append(name)
    if harmful:
        raise Refusal(
            f"its {plan.role} has learned tensors that StyleGAN2 does not have ({', '.join(harmful[:3])}"
            f"{', ...' if len(harmful) > 3 else ''}): a changed architecture, its pictures would come out wrong"
        )
    if harmless:
        plan.notes.append(
            f"{plan.role}: {len(harmless)} tensors unknown to StyleGAN2 are left out ({', '.join(harmless[:3])})"
        )


def _kernels(plan, name):
    return {"resample_filter": plan.tensors[name]} if name in plan.tensors else {}


# ---- the two networks ----


def _generator(contents, role, prefix):
    shapes = shapes_under(contents, prefix)
    settings = generator_settings(shapes)
    has_layers = settings["mapping_layers"] or contents.attributes(f"{prefix}mapping")
    if not has_layers and "mapping.w_avg" not in shapes and "mapping.embed.weight" not in shapes:
        raise Refusal("it has a synthesis network but no mapping network: save the whole generator")
    plan = Plan(role, settings, {n[len(prefix) :]: t for n, t in contents.tensors.items() if n.startswith(prefix)})
    plan.filters = _kernels(plan, "synthesis.b8.conv0.resample_filter")
    if contents.modules:
        _generator_attributes(contents, prefix, settings)
    _split_extras(contents, prefix, layout(role, settings, contents.room)[1], plan)
    return plan


def _generator_attributes(contents, prefix, settings):
    """Adds what only attributes tell, and holds attributes and shapes against each other."""
    path, rs = prefix.rstrip("."), _resolutions(settings)
    layers = [f"{prefix}synthesis.b{r}.conv{j}" for r in rs for j in (0, 1)]
    settings.update(_mapping_attributes(contents, prefix, settings))
    for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"):
        said = attribute(contents, path, key, int)
        if said is not None and said != settings[key] and not (key == "z_dim" and not settings["mapping_layers"]):
            raise Refusal(f"it says {key} {said} and its tensors say {settings[key]}")
    torgbs = [f"{prefix}synthesis.b{r}.torgb" for r in rs]
    settings["conv_clamp"] = common(contents, layers + torgbs, "conv_clamp", (int, float), "clamping")
    if (activation := common(contents, layers, "activation", str, "activation")) is not None:
        settings["activation"] = activation
    settings["num_fp16_res"] = _half_blocks(contents, f"{prefix}synthesis.", rs)
    settings["fp16_on_cpu"] = is_ada(contents, prefix)
    mapping = contents.attributes(f"{prefix}mapping")
    if "w_avg_beta" in mapping:
        settings["w_avg_beta"] = attribute(contents, f"{prefix}mapping", "w_avg_beta", (int, float))
    architectures = [f"{prefix}synthesis.b{r}" for r in rs]
    said = common(contents, architectures, "architecture", str, "architecture")
    if said is not None and len(rs) > 1:
        settings["architecture"] = said
    if common(contents, layers, "use_noise", bool, "the use of noise") is False:
        settings["use_noise"] = False  # layers may keep their noise tensors and not use them


def _discriminator(contents, prefix, notes, *, required):
    try:
        settings = discriminator_settings(shapes_under(contents, prefix))
        plan = Plan("D", settings, {n[len(prefix) :]: t for n, t in contents.tensors.items() if n.startswith(prefix)})
        if contents.modules:
            _discriminator_attributes(contents, prefix, settings)
        _split_extras(contents, prefix, layout("D", settings, contents.room)[1], plan)
    except Refusal as error:
        if required:
            raise
        notes.append(f"D is left out: {error}")
        return None
    plan.filters = _kernels(plan, "b8.conv1.resample_filter")
    return plan


def _discriminator_attributes(contents, prefix, settings):
    rs = _resolutions(settings)[1:]
    convs = [f"{prefix}b{r}.conv{j}" for r in rs for j in (0, 1)] + [f"{prefix}b4.conv"]
    settings.update(_mapping_attributes(contents, prefix, settings))
    settings["conv_clamp"] = common(contents, convs, "conv_clamp", (int, float), "clamping")
    if (activation := common(contents, [*convs, f"{prefix}b4.fc"], "activation", str, "activation")) is not None:
        settings["activation"] = activation
    settings["num_fp16_res"] = _half_blocks(contents, prefix, rs)
    settings["fp16_on_cpu"] = "in_channels" not in contents.attributes(f"{prefix}b4.conv")
    if "group_size" in contents.attributes(f"{prefix}b4.mbstd"):
        settings["mbstd_group_size"] = attribute(contents, f"{prefix}b4.mbstd", "group_size", int)
    said = common(contents, [f"{prefix}b{r}" for r in [4, *rs]], "architecture", str, "architecture")
    if said is not None:
        settings["architecture"] = said
