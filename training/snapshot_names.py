"""Numbers in the names of snapshots and their pictures: thousands of images, as the published programs have them."""

import re


def number(images, *, every, last):
    """Returns the number of a file that is written each `every` images and at the `last` one: "000012".

    Where two files of the run would have the same one, it has the images too: "000012.345".
    """
    before = (images - 1) // every * every
    shared = before > 0 and round(before / 1000) == round(images / 1000)
    if (every < 1000 and last > every) or shared:
        return f"{images / 1000:010.3f}"
    return f"{round(images / 1000):06d}"


def kimg_of(name):
    """Returns the kimg in the name of a snapshot, a whole number where it is one, or None where there is none."""
    match = re.match(r"network-snapshot-(\d+)(\.\d+)?", name)
    if match is None:
        return None
    return float(match[1] + match[2]) if match[2] else int(match[1])
