"""A tuple in a tuple, fifty thousand times: a recursive walk or hash would crash the interpreter."""

MESSAGE = r"nested more than 400 deep"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02)" + b"\x85" * 50000 + b".")
    return folder / "a.pkl"
