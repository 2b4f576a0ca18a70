"""Numbers in the names of snapshots and their pictures: thousands of images, as the published programs have them."""

import re


def number(images, *, every, last):
    """Returns the number of a file that is written each `every` images and at the `last` one: "000012".

    Where two files of the run would have the same one, it has decimals: "000012.345". In a run of a thousand images and
    more between files, that is the last one or the one before it, whichever is farther from the whole number.
    """
    kimg = round(images / 1000)
    others = {(images - 1) // every * every, min(images + every, last)} - {0, images}

    def rank(count):
        return abs(count - 1000 * kimg), -count

    shared = any(round(other / 1000) == kimg and rank(other) < rank(images) for other in others)
    if (every < 1000 and last > every) or shared:
        return f"{images / 1000:010.3f}"
    return f"{kimg:06d}"


def kimg_of(name):
    """Returns the kimg in the name of a snapshot, a whole number where it is one, or None where there is none."""
    match = re.match(r"network-snapshot-(\d+)(\.\d+)?", name)
    if match is None:
        return None
    return float(match[1] + match[2]) if match[2] else int(match[1])
