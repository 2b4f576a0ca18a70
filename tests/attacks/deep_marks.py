"""Ten thousand open brackets."""

MESSAGE = r"nested more than 400 deep"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02" + b"(" * 10000 + b".")
    return folder / "a.pkl"
