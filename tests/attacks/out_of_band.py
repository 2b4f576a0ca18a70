"""Data that should come from outside the file."""

MESSAGE = r"out-of-band"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x05\x97.")
    return folder / "a.pkl"
