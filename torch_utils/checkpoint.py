"""One .safetensors file with its card in the metadata: saved whole or not at all, loaded strictly."""

import json
import os

from dnnlib.files import atomic_path

CARD_KEY = "voice2style"
_MAX_HEADER_BYTES = 64 << 20


def save_checkpoint(path, tensors, card):
    """Writes named tensors and a card (a plain JSON dict) to one file; the file appears whole or not at all."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        write_tensors(temporary, whole, metadata={CARD_KEY: json.dumps(card, sort_keys=True)})


def write_tensors(path, tensors, *, metadata):
    """Writes tensors in the .safetensors form; OSError when the disk does not take them."""
    import safetensors
    import safetensors.torch

    try:
        safetensors.torch.save_file(tensors, path, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise OSError(f"the checkpoint cannot be written: {error}") from error


def write_archive(path, contents):
    """Writes what torch.save takes; OSError when the disk does not take it (torch says RuntimeError)."""
    import torch

    try:
        torch.save(contents, path)
    except RuntimeError as error:
        raise OSError(f"the file cannot be written, perhaps the disk is full: {error}") from error


def read_header(path):
    """Returns the JSON header of a .safetensors file, read without touching the tensors.

    ValueError in one sentence when the file is empty, truncated, or no .safetensors file.
    """
    size = os.path.getsize(path)
    if size == 0:
        raise ValueError(f'"{path}" is empty (0 bytes); it is not a checkpoint.')
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > _MAX_HEADER_BYTES or file.read(1) != b"{":
            raise ValueError(f'"{path}" is not a .safetensors file; give a checkpoint of voice2style, '
                             "or convert it with convert.py.")
        if 8 + length > size:
            raise ValueError(f'"{path}" is truncated: its header says {length} bytes, {size - 8} are there.')
        file.seek(8)
        text = file.read(length)
    try:
        header = json.loads(text)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f'"{path}" has a damaged .safetensors header; get the file again.') from error
    if 8 + length + max(ends, default=0) > size:
        raise ValueError(f'"{path}" is truncated: {8 + length + max(ends)} bytes are declared, {size} are there; '
                         "get the file again.")
    return header


def read_card(path):
    """Returns the card of a checkpoint, or None for a .safetensors file without one; reads the header only."""
    metadata = read_header(path).get("__metadata__") or {}
    if CARD_KEY not in metadata:
        return None
    try:
        return json.loads(metadata[CARD_KEY])
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'the card of "{path}" is damaged; get the file again.') from error


def load_checkpoint(path, *, device="cpu"):
    """Returns (tensors by name, card or None) of a .safetensors file; ValueError for anything else."""
    card = read_card(path)
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path, device=str(device)), card
    except safetensors.SafetensorError as error:
        raise ValueError(f'"{path}" is damaged ({error}); get the file again.') from error


def part_of(tensors, prefix):
    """Returns the tensors whose names begin with `prefix.`, without it."""
    start = prefix + "."
    return {name[len(start):]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def load_strictly(module, tensors, *, where):
    """Copies tensors into a module; ValueError names what is missing, unknown or of another shape."""
    import torch

    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted]
    wrong = [f"{name} {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
             for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    faults = [f"{label}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" for label, names in
              (("missing", missing), ("unknown", unknown), ("of another shape", wrong)) if names]
    if faults:
        raise ValueError(f"{where} does not fit its own card ({'; '.join(faults)}); get the file again.")
    with torch.no_grad():
        for name, tensor in wanted.items():  # state_dict shares storage with the module
            tensor.copy_(tensors[name])
