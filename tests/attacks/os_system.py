"""A call of os.system hidden under a key that no reader needs."""

import foreign_files as ff

MESSAGE = r"asks to run code: it names posix\.system"


def build(folder, marker):
    return ff.write_pickle(folder / "a.pkl", {"progress": ff.Call("posix", "system", f"touch {marker}")})
