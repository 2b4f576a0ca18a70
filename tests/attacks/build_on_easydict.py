"""BUILD with __setstate__ on the dictionary class that snapshots use."""

import foreign_files as ff

MESSAGE = r"attributes are set on a plain dictionary"


def build(folder, marker):
    state = {"__setstate__": ff.Call("builtins", "getattr", 1, "x")}
    return ff.write_pickle(folder / "a.pkl", ff.Call("dnnlib.util", "EasyDict", new=True, state=state))
