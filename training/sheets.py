"""Sizes of sheets of pictures: how many fit into a screen of a named size."""

SIZES = {  # width, height, fewest columns and rows, most of either
    "1080p": (1920, 1080, 3, 2, 16), "4k": (3840, 2160, 7, 4, 32), "8k": (7680, 4320, 7, 4, 32)}


def sheet_size(width, height, name="8k"):
    """Returns (columns, rows): what fits into the named size, within bounds; 8k is the published sheet."""
    wide, high, least_columns, least_rows, most = SIZES[name]
    return min(max(wide // width, least_columns), most), min(max(high // height, least_rows), most)
