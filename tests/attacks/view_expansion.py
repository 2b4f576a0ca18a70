"""A stride of zero: four numbers become a tensor of a terabyte."""

import foreign_files as ff
import torch

MESSAGE = r"declares more data than it has"


def build(folder, marker):
    state = ff.small_generator().state_dict()
    storage = ff.Call("torch.storage", "_load_from_bytes", ff.nested_stream(torch.ones(4)))
    state["mapping.w_avg"] = ff.Call("torch._utils", "_rebuild_tensor_v2", storage, 0, (1 << 38,), (0,), False, {})
    return ff.write_pickle(folder / "a.pkl", state)
