"""Sizes of sheets of pictures: how many fit into a screen of a named size."""

import numpy as np

SIZES = {"1080p": (1920, 1080, 3, 2), "4k": (3840, 2160, 7, 4), "8k": (7680, 4320, 7, 4)}
_MOST = 32


def sheet_size(width, height, name="8k"):
    """Returns (columns, rows): what fits into the named size, within bounds; 8k is the published sheet."""
    wide, high, least_columns, least_rows = SIZES[name]
    return int(np.clip(wide // width, least_columns, _MOST)), int(np.clip(high // height, least_rows, _MOST))
