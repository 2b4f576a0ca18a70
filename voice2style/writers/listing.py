"""Says what a file holds: kind, configuration and card (`info`), or names and shapes of its tensors (`listing`)."""

import json

from dnnlib.files import fetch, sha256_file
from dnnlib.settings import to_dict
from torch_utils.checkpoint import load_checkpoint, part_of, read_card
from voice2style.foreign import read

ROLES = ("G_ema", "G", "D")


def listing(source):
    """Returns lines "name  shape  dtype", in published names, of every tensor that is read from a file."""
    path = fetch(source)
    weights = read(path)
    tensors = {**weights.tensors, **{f"encoder.{name}": t for name, t in _encoder(path, weights).items()}}
    width = max(map(len, tensors))
    rows = [(name, list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()]
    return [f"{name:<{width}}  {shape!s:<22} {dtype}" for name, shape, dtype in rows]


def info(source):
    """Returns lines on a file: what it is, what came with it, the settings of its networks, its card as JSON."""
    path = fetch(source)
    weights = read(path)
    facts = weights.source
    version = f" (version {facts.version})" if facts.version else ""
    lines = [f"file: {path}", f"size: {path.stat().st_size} bytes, sha256 {sha256_file(path)}",
             f"what it is: {facts.kind}{version}, in a {facts.container}"]
    lines += [f"note: {note}" for note in facts.notes]
    for role in ROLES:
        if role in weights.settings:
            lines += _network_lines(role, weights.settings[role], part_of(weights.tensors, role))
        else:
            lines.append(f"{role}: none in this file")
    card = read_card(path) if facts.kind == "voice2style" else None
    encoder = _encoder(path, weights)
    if encoder:
        lines.append(f"encoder: {card['encoder']['kind']}, {len(encoder)} tensors, {_count(encoder)} numbers")
    if card is None:
        return [*lines, "card: none in this file; convert it to .safetensors to give it one"]
    return [*lines, "card:", *json.dumps(card, indent=2, ensure_ascii=False).splitlines()]


def _network_lines(role, settings, tensors):
    values = {name: value for name, value in to_dict(settings).items() if value is not None}
    lines = [f"{role}: {len(tensors)} tensors, {_count(tensors)} numbers"]
    return lines + [f"  {name}: {_plainly(value)}" for name, value in values.items()]


def _plainly(value):
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, (list, tuple)) else value


def _count(tensors):
    return f"{sum(t.numel() for t in tensors.values()):,}"


def _encoder(path, weights):
    """Returns name -> tensor of the voice encoder, {} for files without one."""
    card = read_card(path) if weights.source.kind == "voice2style" else None
    return part_of(load_checkpoint(path)[0], "encoder") if card and card.get("encoder") else {}
