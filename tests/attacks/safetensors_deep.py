"""JSON nested a hundred thousand levels."""

import foreign_files as ff

MESSAGE = r"is not JSON"


def build(folder, marker):
    header = '{"a":' + "[" * 100000
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
