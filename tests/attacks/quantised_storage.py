"""A storage class that is not a plain number."""

import foreign_files as ff
import torch

MESSAGE = r"storage of kind torch\.QInt8Storage"


def build(folder, marker):
    inner = ff.nested_stream(torch.ones(4)).replace(b"FloatStorage", b"QInt8Storage")
    return ff.write_pickle(folder / "a.pkl", ff.Call("torch.storage", "_load_from_bytes", inner))
