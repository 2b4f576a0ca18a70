"""A tensor whose storage is not in the archive."""

import foreign_files as ff
import torch

MESSAGE = r"lacks its entry"


def build(folder, marker):
    file = ff.write_torch(folder / "b.pt", {"synthesis.b4.const": torch.ones(4)})
    return ff.rezip(file, folder / "a.pt", change=lambda n, b: None if n.endswith("/data/0") else b)
