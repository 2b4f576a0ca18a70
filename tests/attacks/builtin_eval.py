"""Python code as text for builtins.eval, in protocol 2 (old module name)."""

import foreign_files as ff

MESSAGE = r"names builtins\.eval"


def build(folder, marker):
    return ff.write_pickle(folder / "a.pkl", ff.Call("builtins", "eval", f"open({str(marker)!r}, 'w')"), protocol=2)
