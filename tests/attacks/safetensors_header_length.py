"""A header length beyond the end of the file."""

import foreign_files as ff

MESSAGE = r"truncated: its \.safetensors header declares"


def build(folder, marker):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=5000)
