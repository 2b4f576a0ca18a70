"""Two tensors over the same bytes."""

import foreign_files as ff

MESSAGE = r"overlaps another one"


def build(folder, marker):
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]},
    }
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
