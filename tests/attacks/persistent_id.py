"""A persistent id in a plain pickle."""

MESSAGE = r"persistent ids"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02NQ.")
    return folder / "a.pkl"
