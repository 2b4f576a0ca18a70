"""A dotted name that walks from an allowed module to a forbidden one."""

import foreign_files as ff

MESSAGE = r"no StyleGAN2 network is in it.*calls that were not made: collections\.OrderedDict\.__init__"


def build(folder, marker):
    return ff.write_pickle(
        folder / "a.pkl", ff.Call("collections", "OrderedDict.__init__.__globals__", f"touch {marker}")
    )
