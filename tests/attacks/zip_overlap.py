"""A directory in which many entries share the same bytes."""

import foreign_files as ff
import torch

MESSAGE = r"lies inside another one"


def build(folder, marker):
    file = ff.rezip(ff.write_torch(folder / "b.pt", {"a": torch.ones(200), "b": torch.ones(200)}), folder / "a.pt")
    data = bytearray(file.read_bytes())
    first = data.find(b"PK\x01\x02")
    spots = [i for i in range(first, len(data)) if data[i : i + 4] == b"PK\x01\x02"]
    inside = int.from_bytes(data[spots[0] + 42 : spots[0] + 46], "little") + 1
    data[spots[1] + 42 : spots[1] + 46] = inside.to_bytes(4, "little")
    file.write_bytes(data)
    return file
