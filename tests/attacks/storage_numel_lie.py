"""A nested storage that declares more numbers than its bytes hold."""

import foreign_files as ff
import torch

MESSAGE = r"declares 127 elements"


def build(folder, marker):
    inner = ff.nested_stream(torch.ones(4)).replace(b"K\x04N", b"K\x7fN")
    storage = ff.Call("torch.storage", "_load_from_bytes", inner)
    tensor = ff.Call("torch._utils", "_rebuild_tensor_v2", storage, 0, (127,), (1,), False, {})
    return ff.write_pickle(folder / "a.pkl", {"G_ema": {"synthesis.b4.const": tensor}})
