"""Bytes that belong to no tensor: a place to hide a second file."""

import foreign_files as ff

MESSAGE = r"belong to no tensor"


def build(folder, marker):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
