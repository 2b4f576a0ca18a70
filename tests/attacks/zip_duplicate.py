"""Two entries of one name: programs disagree which of them counts."""

import foreign_files as ff
import torch

MESSAGE = r"two zip entries named"


def build(folder, marker):
    file = ff.write_torch(folder / "b.pt", {"a": torch.ones(2)})
    return ff.rezip(file, folder / "a.pt", extra=[("b/data.pkl", b"N."), ("b/data.pkl", b"N.")])
