"""Text of a declared length of four gigabytes."""

MESSAGE = r"truncated: the pickle declares 4294967295 bytes"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02X\xff\xff\xff\xffabc.")
    return folder / "a.pkl"
