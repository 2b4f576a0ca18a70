"""A sparse tensor, whose indices torch would have to trust."""

import foreign_files as ff

MESSAGE = r"sparse, quantised, nested or meta"


def build(folder, marker):
    return ff.write_pickle(folder / "a.pkl", ff.Call("torch._utils", "_rebuild_sparse_tensor", 0, (1, 2, (1 << 40,))))
