"""A TorchScript program, which is code."""

import foreign_files as ff
import torch

MESSAGE = r"TorchScript"


def build(folder, marker):
    file = ff.write_torch(folder / "b.pt", {"a": torch.ones(2)})
    return ff.rezip(file, folder / "a.pt", extra=[("b/constants.pkl", b"N."), ("b/code/x.py", b"pass")])
