"""A good network, and a call of os.system beside it: the file is refused as a whole."""

import foreign_files as ff

MESSAGE = r"names os\.system"


def build(folder, marker):
    good = ff.small_generator().state_dict()
    return ff.write_torch(folder / "a.pt", {"G_ema": good, "extra": ff.Call("os", "system", f"touch {marker}")})
