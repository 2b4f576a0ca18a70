"""Weights of stride zero: one stored number declares a layer of terabytes, for which a network would be built."""

import foreign_files as ff
import torch

MESSAGE = r"G_ema would be a network of more than \d{14} bytes"


def build(folder, marker):
    state = ff.small_generator().state_dict()
    state["synthesis.b4.const"] = torch.zeros(1).expand(1 << 20, 4, 4)
    state["synthesis.b4.conv1.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20, 3, 3)
    return ff.write_torch(folder / "a.pt", state)
