"""Writes our own .safetensors: G_ema, G, D and the voice encoder, with the card in the metadata."""

from torch_utils.checkpoint import save_checkpoint


def files(bundle, dest):
    """Returns {what: path} of the files that `write` makes."""
    return {"networks": dest}


def write(bundle, paths):
    """Writes the file; returns notes. Everything finds its place here, so there are none."""
    encoder = {f"encoder.{name}": tensor for name, tensor in bundle.encoder.items()}
    save_checkpoint(paths["networks"], {**bundle.tensors, **encoder}, bundle.card.to_dict())
    return []
