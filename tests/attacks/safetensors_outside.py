"""Offsets beyond the end of the file."""

import foreign_files as ff

MESSAGE = r"truncated: tensor a is declared up to byte 800"


def build(folder, marker):
    header = {"a": {"dtype": "F32", "shape": [200], "data_offsets": [0, 800]}}
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
