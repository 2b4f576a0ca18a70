"""A payload inside the bytes for torch.storage._load_from_bytes, which by itself loads without limits."""

import foreign_files as ff

MESSAGE = r"names posix\.system"


def build(folder, marker):
    inner = ff.pickled(0x1950A86A20F9469CFC6C, 2) + ff.pickled(1001, 2) + ff.pickled({"little_endian": True}, 2)
    inner += ff.pickled(ff.Call("posix", "system", f"touch {marker}"), 2)
    storage = ff.Call("torch.storage", "_load_from_bytes", inner)
    tensor = ff.Call("torch._utils", "_rebuild_tensor_v2", storage, 0, (1,), (1,), False, {})
    return ff.write_pickle(folder / "a.pkl", {"G_ema": tensor})
