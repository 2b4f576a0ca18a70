"""getattr on an imported module: no forbidden function is named directly."""

import foreign_files as ff

MESSAGE = r"names builtins\.__import__"


def build(folder, marker):
    class Chain(ff.Call):
        pass

    ff.Writer.dispatch[Chain] = ff.Writer.save_call
    chain = Chain("builtins", "getattr", ff.Call("builtins", "__import__", "os"), "system")
    call = ff.Call("builtins", "x", f"touch {marker}")
    call.maker = chain
    return ff.write_pickle(folder / "a.pkl", call)
