"""Writes a plain .safetensors state dict: the published tensor names behind "G_ema.", "G." and "D.", no card."""

from torch_utils.checkpoint import write_tensors


def files(bundle, dest):
    """Returns {what: path} of the files that `write` makes."""
    return {"networks": dest}


def write(bundle, paths):
    """Writes the file; returns notes on what the form has no place for."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in bundle.tensors.items()}
    write_tensors(paths["networks"], whole, metadata={"format": "pt"})
    return bundle.silence("a plain state dict")
