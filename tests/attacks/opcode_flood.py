"""Two million instructions that do nothing."""

MESSAGE = r"more than \d+ steps"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02" + b"N0" * 1000000 + b"N.")
    return folder / "a.pkl"
