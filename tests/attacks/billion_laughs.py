"""Dictionaries that name one another twice, thirty levels up: two to the thirtieth names."""

import foreign_files as ff
import torch

MESSAGE = r"billion laughs"


def build(folder, marker):
    value = torch.ones(1)
    for _ in range(30):
        value = {"a": value, "b": value}
    return ff.write_pickle(folder / "a.pkl", value)
