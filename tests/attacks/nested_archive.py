"""A whole zip archive where a single nested storage belongs."""

import foreign_files as ff

MESSAGE = r"nested torch\.save archive"


def build(folder, marker):
    inner = ff.write_torch(folder / "inner.pt", {"a": ff.Call("posix", "system", f"touch {marker}")})
    return ff.write_pickle(folder / "a.pkl", ff.Call("torch.storage", "_load_from_bytes", inner.read_bytes()))
