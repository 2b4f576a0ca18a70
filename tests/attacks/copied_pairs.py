"""One long list of pairs, turned into a new dictionary again and again."""

import foreign_files as ff

MESSAGE = r"more than \d+ steps"


def build(folder, marker):
    pairs = [(i, None) for i in range(5000)]
    make = [ff.Call("collections", "OrderedDict", pairs) for _ in range(100)]
    return ff.write_pickle(folder / "a.pkl", make)
