"""Names what is in the wild and not read here: one recogniser and one sentence for each kind."""

import re

from voice2style.foreign.nvidia_tf import network_state
from voice2style.foreign.structure import module_of

STYLEGAN3 = "draw with NVIDIA's stylegan3 repository, or give a StyleGAN2 network"
READABLE = (
    "readable are StyleGAN2 networks: NVIDIA's PyTorch (ada, sg3) and TensorFlow (v4, v5) pickles, rosinality,"
    " e4e and pSp .pt, state dicts with those names, and .safetensors"
)


def _names(pattern):
    search = re.compile(pattern).search
    return lambda contents: any(search(name) for name in contents.tensors)


def _classes(pattern):
    search = re.compile(pattern).search
    return lambda contents: (
        any(search(name) for name, _ in contents.modules.values()) or any(search(n) for n in contents.inert)
    )


def _either(*tests):
    return lambda contents: any(test(contents) for test in tests)


def _alias_free(contents):
    """Children `input` and L{i}_{size}_{channels} of a synthesis network."""
    return _names(
        r"(^|\.)synthesis\.L\d+_\d+_\d+\.|(^|\.)L\d+_\d+_\d+\.(magnitude_ema|up_filter|affine)|"
        r"synthesis\.input\.(freqs|phases)"
    )(contents) or any(
        "layer_names" in state and "num_critical" in state
        for _, state in contents.modules.values()
        if isinstance(state, dict)
    )


def _xl(contents):
    """Alias-free too, with a class embedding and one mean code per class."""
    if any(name.endswith("mapping.w_avg") and len(ref.shape) == 2 for name, ref in contents.tensors.items()):
        return _alias_free(contents)
    return _either(_classes("SuperresGenerator"), _names(r"mapping\.embed_proj\."))(contents) or any(
        "head_layer_names" in state for _, state in contents.modules.values() if isinstance(state, dict)
    )


# (what it seems to be, recogniser, what to do); the first match counts
RELATIVES = [  # asked before the readers: parts of these look like StyleGAN2
    ("StyleGAN-XL", _xl, "draw with the stylegan-xl repository, or give a StyleGAN2 network"),
    (
        "a 3-D generator of the EG3D family (triplanes)",
        _either(
            _classes(r"TriPlaneGenerator|OSGDecoder"),
            _names(r"(^|\.)backbone\.synthesis\.|(^|\.)superresolution\.block"),
        ),
        "draw with the eg3d repository, or give a StyleGAN2 network",
    ),
    ("StyleGAN3 (alias-free, config T or R)", _alias_free, STYLEGAN3),
    (
        "SWAGAN (StyleGAN2 with wavelets)",
        _names(r"\.(iwt|dwt)\.|(^|\.)(iwt|dwt)\."),
        "train with --arch stylegan2, or draw with rosinality's repository",
    ),
]
STRANGERS = [  # asked when no reader knows the file
    (
        "an mmagic / mmgen StyleGAN2 (OpenMMLab names)",
        _names(r"(^|\.)(style_mapping\.\d|constant_input\.const|injected_noise_\d|.*style_modulation\.)"),
        "convert it to rosinality's names with OpenMMLab's tools first",
    ),
    (
        "a genforce network",
        _either(
            _names(r"(^|\.)(mapping\.dense\d+\.|synthesis\.layer\d+\.(weight|wscale|bias|style|conv))"),
            lambda c: "generator_smooth" in c.top_keys(),
        ),
        "take the TensorFlow or PyTorch pickle it was converted from",
    ),
    (
        "a lucidrains stylegan2_pytorch network",
        _names(r"(^|\.)(G|GE|GAN\.G)\.(initial_block|to_initial_block)|(^|\.)(SE|S)\.net\.\d|(^|\.)initial_block$"),
        "another architecture: draw with that package",
    ),
    (
        "FastGAN",
        _either(_classes("Fastgan|FastGAN"), _names(r"(^|\.)(init\.init\.\d|feat_\d+\.|se_\d+\.main|to_big\.)")),
        "another architecture: draw with the repository that made it",
    ),
    (
        "StyleGAN1",
        _names(
            r"(^|\.)(generator\.)?progression\.\d|(^|\.)(g_synthesis|g_mapping)\.|(^|[./])StyleMod|"
            r"adain\d?\.style|\.epi\d\.|"
            r"(^|\.)style_mod\."
        ),
        "another architecture: convert nothing, draw with the repository that made it",
    ),
    (
        "ProGAN",
        _names(
            r"(^|\.)(scaleLayers|toRGBLayers|fromRGBLayers|scale_layers|rgb_layers|"
            r"initial_block\.conv_1|to_rgb_\d|lod)\b"
        ),
        "another architecture: draw with the repository that made it",
    ),
    (
        "a hypernetwork or encoder without a decoder",
        _names(r"(^|\.)(hypernet|encoder\.(input_layer|body\.\d))\b"),
        "give the file that also has decoder.*, or the generator alone",
    ),
    (
        "the synthesis part of a StyleGAN2 generator alone",
        _names(r"(^|\.)b4\.const$"),
        "save the whole generator, its mapping network included",
    ),
    (
        "the mapping part of a StyleGAN2 generator alone",
        _names(r"^(mapping\.)?fc0\.weight$"),
        "save the whole generator, its synthesis network included",
    ),
]


def recognise(contents, table):
    """(what it seems to be, what to do) for a known kind that is not read, or None."""
    for kind, test, advice in table:
        if test(contents):
            return kind, advice
    return None


def describe(contents):
    """What was found in a file of no known kind, in a few words."""
    root, parts = contents.root, []
    module = module_of(root)
    if module:
        parts.append(f"a module of class {module[0]}")
    elif contents.top_keys():
        parts.append("keys " + ", ".join(contents.top_keys()[:5]))
    elif isinstance(root, (tuple, list)):
        parts.append(f"a {type(root).__name__} of {len(root)}" + (" networks" if any(map(network_state, root)) else ""))
    elif not contents.tensors:
        parts.append(f"a {type(root).__name__}")
    if contents.tensors:
        parts.append(f"{len(contents.tensors)} tensors such as {min(contents.tensors, key=len)}")
    if contents.inert:
        parts.append("calls that were not made: " + ", ".join(contents.inert[:4]))
    return "; ".join(parts)
