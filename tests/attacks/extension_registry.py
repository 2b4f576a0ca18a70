"""A code of the extension registry, which may stand for any function."""

MESSAGE = r"extension registry"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02\x82\x01.")
    return folder / "a.pkl"
