"""A header length of exabytes."""

import foreign_files as ff

MESSAGE = r"header of \d+ bytes, at most"


def build(folder, marker):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=1 << 60)
