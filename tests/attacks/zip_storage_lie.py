"""A storage in an archive that declares more numbers than its entry has bytes."""

import foreign_files as ff
import torch

MESSAGE = r"declares 127 elements of 4 bytes, its entry has 16 bytes"


def build(folder, marker):
    file = ff.write_torch(folder / "b.pt", {"synthesis.b4.const": torch.ones(4)})
    return ff.rezip(
        file, folder / "a.pt", change=lambda n, b: b.replace(b"K\x04t", b"K\x7ft") if n.endswith(".pkl") else b
    )
