"""Loading a large generator."""

import tempfile

from benchmarks.measuring import interleaved, row


def suite_load(rounds):
    """Loading a 1024² generator from our file, beside torch.load of the same tensors."""
    import torch

    from dnnlib.settings import to_dict
    from torch_utils.checkpoint import save_checkpoint
    from voice2style.card import Card, Part
    from voice2style.generators.stylegan2 import Generator, GeneratorSettings, channel_table
    from voice2style.networks import load_networks

    with tempfile.TemporaryDirectory() as folder:
        generator = Generator(GeneratorSettings(img_resolution=1024, channels=channel_table(1024)))
        ours, plain = f"{folder}/net.safetensors", f"{folder}/net.pt"
        state = generator.state_dict()
        save_checkpoint(ours, {f"G_ema.{name}": tensor for name, tensor in state.items()},
                        Card(generator=Part("stylegan2", to_dict(generator.settings))).to_dict())
        torch.save(state, plain)
        seconds = interleaved({"load_networks": lambda: load_networks(ours),
                               "torch.load": lambda: torch.load(plain, weights_only=True)}, rounds)
    result = row("generator of 1024² from a file", seconds, "load_networks", "torch.load", "at most 1.5 × torch.load")
    return [{**result, "met": result["ratio"] >= 1 / 1.5}]
