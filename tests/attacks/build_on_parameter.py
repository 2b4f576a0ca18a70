"""BUILD on a tensor, whose __setstate__ could redirect its storage."""

import foreign_files as ff
import torch

MESSAGE = r"sets the state of a TensorRef"


def build(folder, marker):
    data = ff.pickled(torch.ones(2), 4)[:-1] + b"}b."
    (folder / "a.pkl").write_bytes(data)
    return folder / "a.pkl"
