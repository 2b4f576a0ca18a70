"""The same lie told in both places: the element count before the data agrees."""

import foreign_files as ff
import torch

MESSAGE = r"declares 127 elements of 4 bytes and 16 bytes are left"


def build(folder, marker):
    inner = (
        ff.nested_stream(torch.ones(4))
        .replace(b"K\x04N", b"K\x7fN")
        .replace((4).to_bytes(8, "little"), (127).to_bytes(8, "little"))
    )
    storage = ff.Call("torch.storage", "_load_from_bytes", inner)
    tensor = ff.Call("torch._utils", "_rebuild_tensor_v2", storage, 0, (127,), (1,), False, {})
    return ff.write_pickle(folder / "a.pkl", {"G_ema": {"synthesis.b4.const": tensor}})
