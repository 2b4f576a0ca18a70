"""An entry whose name points outside the archive."""

import foreign_files as ff
import torch

MESSAGE = r"points outside the archive"


def build(folder, marker):
    file = ff.write_torch(folder / "b.pt", {"a": torch.ones(2)})
    return ff.rezip(file, folder / "a.pt", extra=[("../../marker", b"x")])
