"""A memo number of four billion: a list grown to it would fill the memory."""

MESSAGE = r"memo number 4294967295"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")
    return folder / "a.pkl"
