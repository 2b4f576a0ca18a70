"""An integer of two billion digits."""

MESSAGE = r"an integer of 2147483647 bytes"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02\x8b\xff\xff\xff\x7fabc.")
    return folder / "a.pkl"
