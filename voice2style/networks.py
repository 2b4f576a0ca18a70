"""Any readable file becomes running networks: `load_networks(path)` -> G_ema, G, D and where they come from."""

import dataclasses

import torch

from dnnlib.files import fetch


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks of a file, in evaluation mode and without gradients; None where the file has none.

    Every generator answers `mapping(z, c, truncation_psi=, truncation_cutoff=)` -> ws [N, L, D],
    `synthesis(ws, noise_mode=, force_fp32=)` -> images [N, C, H, W] and `G(z, c, ...)`; `D(img, c)` -> logits [N, 1].
    `source` says what the file is and what was estimated or left out.
    """

    G_ema: torch.nn.Module | None
    G: torch.nn.Module | None
    D: torch.nn.Module | None
    source: object


def load_networks(path, device="cpu", *, sha256=None):
    """Networks of a local path, file:// or http(s):// address of any readable form; ValueError says what is wrong.

    The generator to draw with is `G_ema`; a file that has only G (no running average) gives it as both, and says so.
    `sha256`: the wanted checksum of the file, when it is known.
    """
    from voice2style.foreign import read

    return build_networks(read(fetch(path, sha256=sha256)), device=device)


def build_networks(weights, *, device="cpu"):
    """Networks from ForeignWeights; the tensors become the modules' own without being copied."""
    from voice2style.foreign.complete import blank

    built, source = {}, weights.source
    for role, settings in weights.settings.items():
        network = blank(role, settings)
        own = {n[len(role) + 1 :]: t for n, t in weights.tensors.items() if n.startswith(f"{role}.")}
        network.load_state_dict(own, assign=True)
        built[role] = network.eval().requires_grad_(False).to(device)
    if "G_ema" not in built and "G" in built:
        built["G_ema"] = built["G"]
        source = dataclasses.replace(source, notes=(*source.notes, "the file has no G_ema: G stands in for it"))
    return Networks(built.get("G_ema"), built.get("G"), built.get("D"), source)
