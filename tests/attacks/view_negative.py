"""A negative stride."""

import foreign_files as ff
import torch

MESSAGE = r"not counts"


def build(folder, marker):
    inner = ff.nested_stream(torch.ones(4))
    storage = ff.Call("torch.storage", "_load_from_bytes", inner)
    tensor = ff.Call("torch._utils", "_rebuild_tensor_v2", storage, 3, (2,), (-1,), False, {})
    return ff.write_pickle(folder / "a.pkl", {"G_ema": {"synthesis.b4.const": tensor}})
