"""BUILD that would put a method on a plain dictionary."""

import foreign_files as ff

MESSAGE = r"attributes are set on a plain dictionary"


def build(folder, marker):
    call = ff.Call("collections", "OrderedDict", state={"items": ff.Call("functools", "partial", 1)})
    return ff.write_pickle(folder / "a.pkl", {"G_ema": call})
