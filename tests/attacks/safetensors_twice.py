"""One name twice."""

import foreign_files as ff

MESSAGE = r"names the same thing twice"


def build(folder, marker):
    header = (
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        ' "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}'
    )
    return ff.write_safetensors(folder / "a.safetensors", header, b"\0" * 16, declared=None)
