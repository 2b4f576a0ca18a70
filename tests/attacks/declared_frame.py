"""A frame far longer than the file."""

MESSAGE = r"truncated: a frame of"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b"N.")
    return folder / "a.pkl"
