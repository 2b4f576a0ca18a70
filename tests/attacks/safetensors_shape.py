"""A shape that its bytes cannot fill."""

import foreign_files as ff

MESSAGE = r"is declared over 8 bytes"


def build(folder, marker):
    header = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
