"""Writes a plain .safetensors state dict: the published tensor names behind "G_ema.", "G." and "D.", no card."""

import safetensors.torch


def files(bundle, dest):
    """Returns {what: path} of the files that `write` makes."""
    return {"networks": dest}


def write(bundle, paths):
    """Writes the file; returns notes on what the form has no place for."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in bundle.tensors.items()}
    safetensors.torch.save_file(whole, paths["networks"], metadata={"format": "pt"})
    return bundle.silence("a plain state dict")
