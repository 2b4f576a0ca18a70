"""Weights taken over by name from another network, also from one of a lower resolution (growing by a block)."""

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a transfer did: names taken, names of the network that stay fresh, names of the file that found no place."""

    taken: tuple
    fresh: tuple
    left: tuple

    def sentence(self):
        """Returns one line for people."""
        return f"took {len(self.taken)} tensors by name, {len(self.fresh)} stay fresh, {len(self.left)} found no place"


@torch.no_grad()
def transfer(network, tensors):
    """Returns a Transfer after copying every tensor of the same name and shape into `network`."""
    own = network.state_dict()
    taken = [name for name in own if name in tensors and tensors[name].shape == own[name].shape]
    for name in taken:
        own[name].copy_(tensors[name])
    return Transfer(taken=tuple(taken), fresh=tuple(name for name in own if name not in taken),
                    left=tuple(name for name in tensors if name not in taken))


@torch.no_grad()
def silence_new_blocks(generator, fresh):
    """Sets the fresh toRGB layers of a skip generator to zero: the grown network starts as the old one, enlarged."""
    for name, parameter in generator.named_parameters():
        if name in fresh and name.endswith(("torgb.weight", "torgb.bias")):
            parameter.zero_()
