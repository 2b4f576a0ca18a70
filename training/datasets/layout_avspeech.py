"""Reads AVSpeech: a table without a header (video, start, end, x, y) beside clips or whole videos named by them."""

import re

from training.datasets.items import Item
from training.datasets.layout_reading import Layout, read_paths
from training.datasets.layout_text import read_table
from training.datasets.layout_tree import FEATURES, needs_av, suffix_of

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FORM = "<11 characters>_<start>_<end>.wav (or .mp4, .jpg) with avspeech_*.csv"
_TOLERANCE_S = 0.05  # names carry rounded seconds


def _tables(tree):
    return [path for path in tree.of_kind(None) if suffix_of(path) == "csv" and _is_table(tree, path)]


def _is_table(tree, path):
    try:
        with tree.open(path) as file:
            head = file.read(400).decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    except ValueError:
        return False
    cells = re.split(r"[,;\t]", head[0]) if head else []
    return len(cells) == 5 and re.fullmatch(r"[\w-]{11}", cells[0].strip()) is not None and all(
        _NUMBER.fullmatch(cell.strip()) for cell in cells[1:])


def recognise(tree, kind):
    """Evidence of AVSpeech: its table, and files that are named by videos."""
    sample = tree.sample(kind)
    number = sum(_split_name(path) is not None for path in sample)
    if not number or 2 * number < len(sample):
        return None
    tables = _tables(tree)
    return f'"{tables[0]}" lists segments of videos, {number} of {len(sample)} files are named so' if tables else None


def read(tree, kind, findings):
    """Items of clips, or of the segments of whole videos. Who speaks is not known: each video counts as a person."""
    tables = _tables(tree)
    findings.tables.update(dict.fromkeys(tables, "segments of AVSpeech"))
    videos = {name[0] for path in tree.of_kind(kind) if (name := _split_name(path))}
    segments = {}
    for path in tables:
        for video, row in _rows(tree, path):
            if video in videos:
                segments.setdefault(video, []).append(row)
    many = []

    def parse(path):
        found = _place(path, kind, segments)
        if isinstance(found, str):
            return found
        video, rows, is_clip = found
        items = [_item(tree, kind, path, video, row, is_clip) for row in rows]
        many.extend(items[1:])
        return items[0]

    for item in read_paths(tree, kind, findings, parse):
        yield item
        yield from many
        many.clear()
    if segments:
        findings.notes.append(f'"{tree.root}": AVSpeech does not say who speaks; each video counts as a person.')


def _split_name(path):  # -> (video, [numbers in the name]) or None
    stem = path.rpartition("/")[2].rpartition(".")[0]
    video, rest = stem[:11], stem[11:]
    if not re.fullmatch(r"[\w-]{11}", video) or rest and rest[0] not in "_-.":
        return None
    return video, [float(number) for number in _NUMBER.findall(rest)]


def _rows(tree, path):  # -> (video, (start, end, x, y))
    with tree.open(path) as file:
        for line, cells in read_table(file, path, has_header=False).rows:
            try:
                start, end, x, y = map(float, cells[1:5])
            except ValueError as error:
                raise ValueError(f'line {line} of "{path}" in "{tree.root}" is not "video,start,end,x,y".') from error
            yield cells[0], (start, end, x, y)


def _place(path, kind, segments):  # -> (video, rows, whether the file is cut to the segment), or a reason
    if suffix_of(path) in FEATURES:
        return "features, not sound"
    name = _split_name(path)
    if name is None:
        return f"not named {_FORM}"
    video, numbers = name
    rows = segments.get(video)
    if not rows:
        return f'the video "{video}" is in no row of the tables'
    if not numbers:
        return (video, rows, False) if kind == "voice" or len(rows) == 1 else "a picture of a video with many segments"
    near = [row for row in rows if abs(row[0] - numbers[0]) <= _TOLERANCE_S]
    if len(near) != 1 and len(numbers) == 1 and numbers[0].is_integer() and numbers[0] < len(rows):
        near = [rows[int(numbers[0])]]  # clips that are merely numbered, in the order of the table
    if len(near) != 1:
        return f'no single row of the tables is the segment of "{video}" that its name says'
    return video, near, True


def _item(tree, kind, path, video, row, is_clip):
    start, end, x, y = row
    extra = {"video": video, **needs_av(path)}
    if kind == "face" or needs_av(path):
        extra["face_centre"] = (x, y)
    is_part = kind == "voice" and not is_clip
    return Item(kind, path, tree.root, video, start_s=start if is_part else None, end_s=end if is_part else None,
                extra=extra)


AVSPEECH = Layout("avspeech", {"voice": _FORM, "face": _FORM}, recognise, read)
