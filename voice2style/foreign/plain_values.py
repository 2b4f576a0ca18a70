"""Reads pickles of plain values and arrays, as people keep features in, without running anything in them."""

import io

from voice2style.foreign.inert import ArrayRef
from voice2style.foreign.safe_pickle import Machine
from voice2style.foreign.sniff import PICKLE_STARTS
from voice2style.foreign.windows import Allowance, Refusal

_MOST_ENTRIES = 1000


def read_plain_dict(content):  # bytes -> {str: numpy array, str, int, float, bool or None}
    """The dictionary that a pickle holds. ValueError, in one sentence, for anything else; nothing in it is run."""
    if not content or content[0] not in PICKLE_STARTS:
        raise Refusal(f"no pickle: it starts with {content[:8]!r}")
    allowance = Allowance(len(content))
    root = Machine(io.BytesIO(content), len(content), allowance).run()
    if not isinstance(root, dict) or not all(isinstance(key, str) for key in root) or len(root) > _MOST_ENTRIES:
        raise Refusal(f"the pickle holds a {type(root).__name__}, not a dictionary of names and values")
    return {key: _plain(key, value, allowance) for key, value in root.items()}


def _plain(key, value, allowance):
    if isinstance(value, ArrayRef):
        return value.load(allowance)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise Refusal(f'"{key}" in the pickle is neither an array nor a plain value')
