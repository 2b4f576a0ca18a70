"""Bytes of a declared length of two to the sixtieth."""

MESSAGE = r"truncated: the pickle declares 1152921504606846976 bytes"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"abc.")
    return folder / "a.pkl"
