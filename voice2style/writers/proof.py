"""Reads a written file back and holds it against the original: tensors bit for bit, settings by name."""

import dataclasses

import torch

from torch_utils.checkpoint import load_checkpoint, part_of
from torch_utils.random_streams import stream
from voice2style.foreign import read
from voice2style.networks import build_networks

NUM_CODES = 2
CHANGES_PICTURES = {"conv_clamp", "activation", "mapping_activation", "mapping_lr_multiplier"}
SAME_PICTURES = {"fp16_on_cpu", "w_avg_beta", "freeze_layers", "embed_features", "layer_features", "cmap_dim",
                 "use_noise",  # a form without noise switch gets noise of strength zero
                 "num_people"}  # rosinality's form has no place for the identity classifier; its writer says so


def prove(bundle, path, form):
    """Returns notes on what readers of the written file take differently; ValueError if a tensor is not the same."""
    weights, notes = read(path), []
    for name, tensor in weights.tensors.items():
        original = bundle.tensors.get(name)
        if original is None or same_bits(original, tensor):
            continue
        if form == "rosinality" and name == "G.mapping.w_avg":
            notes.append("the form has one latent_avg: that of G_ema is written, the mean code of G is left out")
        else:
            raise ValueError(f'the written file does not hold {name} as "{bundle.path}" has it; nothing was kept.')
    for role in weights.settings:
        lost = [name for name in bundle.part(role) if f"{role}.{name}" not in weights.tensors
                and not (form == "rosinality" and name.startswith("classifier."))]
        if lost:
            raise ValueError(f"the written file lacks {role}.{lost[0]}; nothing was kept.")
    if form == "voice2style" and bundle.encoder:
        written, wanted = part_of(load_checkpoint(path)[0], "encoder"), bundle.encoder
        if written.keys() != wanted.keys() or not all(same_bits(written[name], wanted[name]) for name in wanted):
            raise ValueError("the written file does not hold the voice encoder as it was; nothing was kept.")
    return notes + _differences(bundle, weights)


def same_bits(a, b):
    """True for tensors of one dtype, one shape and the same bytes (NaN included)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.numel() == 0 or torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)))


def _differences(bundle, weights):
    notes = []
    for role in ("G_ema", "D"):  # G has the settings of G_ema
        if role not in weights.settings:
            continue
        changed = changed_settings(bundle.settings[role], weights.settings[role])
        if not changed:
            continue
        told = ", ".join(f"{name} {mine} (a reader takes {theirs})" for name, (mine, theirs) in changed.items())
        note = f"{role}: this form does not tell {told}"
        if role != "D" and CHANGES_PICTURES & changed.keys():
            note += f"; pictures of {NUM_CODES} codes then differ by {_picture_deviation(bundle, weights):.2g}"
        notes.append(note)
    return notes


def changed_settings(ours, theirs):
    """Returns name -> (ours, theirs) of the settings that differ and matter."""
    pairs = {field.name: (getattr(ours, field.name), getattr(theirs, field.name)) for field in dataclasses.fields(ours)}
    ignored = SAME_PICTURES | (set() if ours.c_dim or not hasattr(ours, "mbstd_group_size") else
                               {"mapping_layers", "mapping_activation", "mapping_lr_multiplier"})
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in ignored}


@torch.no_grad()
def _picture_deviation(bundle, weights):
    """Returns the largest deviation of pictures (in [-1, 1]) between the original and what was read back."""
    pictures = []
    for settings, tensors in ((bundle.settings, bundle.tensors), (weights.settings, weights.tensors)):
        own = {name: tensor for name, tensor in tensors.items() if name.startswith("G_ema.")}
        networks = build_networks(_Weights(own, {"G_ema": settings["G_ema"]}, weights.source))
        G = networks.G_ema
        z = torch.randn(NUM_CODES, G.z_dim, generator=stream(0, "conversion"))
        c = torch.eye(G.c_dim)[torch.arange(NUM_CODES) % G.c_dim] if G.c_dim else None
        pictures.append(G(z, c, noise_mode="const", force_fp32=True))
    return float((pictures[0] - pictures[1]).abs().max())


@dataclasses.dataclass(frozen=True)
class _Weights:
    tensors: dict
    settings: dict
    source: object
