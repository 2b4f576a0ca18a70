"""A numpy array of a shape that its bytes cannot fill."""

import foreign_files as ff

MESSAGE = r"is declared over 8 bytes"


def build(folder, marker):
    dtype = ff.Call("numpy", "dtype", "f4", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    array = ff.Call(
        "numpy.core.multiarray",
        "_reconstruct",
        ff.Global("numpy", "ndarray"),
        (0,),
        b"b",
        state=(1, (1 << 30,), dtype, False, b"12345678"),
    )
    bad = ff.tf_network("Gs", 4, {}, {"x": array})
    return ff.write_pickle(folder / "a.pkl", (bad, bad, bad))
