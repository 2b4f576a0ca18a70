"""A deeply nested tuple as a dictionary key: hashing it would overflow the stack."""

MESSAGE = r"dictionary key of kind tuple"


def build(folder, marker):
    (folder / "a.pkl").write_bytes(b"\x80\x02})" + b"\x85" * 50000 + b"Ns.")
    return folder / "a.pkl"
