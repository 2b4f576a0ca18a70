"""Reads VGGFace's list files with the pictures that are still there, and VGGFace2 with its boxes and landmarks."""

import math
import re

import numpy as np

from training.datasets.items import Item
from training.datasets.join import normalise_name
from training.datasets.layout_reading import Layout, read_paths, recognise_names
from training.datasets.layout_text import open_lines, read_table

_LIST = re.compile(r"(?:^|/)files/(?P<person>[^/]+)\.txt$")
_VGGFACE2 = re.compile(r"(?:^|/)(?:(?P<subset>train|test)/)?(?P<person>n\d{6})/(?P<picture>\d{4}_\d{2})\.\w+$")
_EXTRAS = re.compile(r"(?:^|/)loose_(?P<what>bb|landmark)_[^/]*\.csv$")
_LIST_FORM, _FORM2 = "<Name>/<id>.jpg with lists files/<Name>.txt", "nNNNNNN/NNNN_NN.jpg"


def recognise_vggface(tree, kind):
    """Evidence of VGGFace: its list files."""
    if kind != "face":
        return None
    lists = [path for path in tree.of_kind(None) if _LIST.search(path)]
    if not lists or not any(_read_list(tree, path)[0] for path in lists[:3]):
        return None
    return f'{len(lists)} lists of pictures and boxes such as "{lists[0]}"'


def read_vggface(tree, kind, findings):
    """Items of the pictures that are there, <Name>/<id>.jpg anywhere; box, pose and score where a list has the id."""
    lists = {normalise_name(tree.text(match["person"])): path
             for path in tree.of_kind(None) if (match := _LIST.search(path))}
    findings.tables.update(dict.fromkeys(lists.values(), "boxes of VGGFace"))
    current, rows, num_found = None, {}, 0
    for path in tree.of_kind(kind):
        if "/" not in path:
            findings.reject(path, "lies in no person's folder")
            continue
        name = tree.text(path.split("/")[-2])
        if name != current:
            current, rows = name, _rows_of(tree, lists.get(normalise_name(name)), findings)
        stem = path.rpartition("/")[2].rpartition(".")[0]
        box, extra = rows.get(_number(stem), (None, {}))
        num_found += box is not None
        yield Item(kind, path, tree.root, name, box=box, extra=dict(extra))
    if lists:
        findings.notes.append(f'"{tree.root}": {num_found} pictures have a row in the {len(lists)} lists of files/; '
                              "rows without a picture are addresses on the web, which are not fetched.")


def _number(text):  # "00000012" -> 12, None for what is no number of a picture
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _rows_of(tree, path, findings):
    if path is None:
        return {}
    rows, bad = _read_list(tree, path)
    if bad:
        findings.notes.append(f'"{path}" in "{tree.root}": {bad} lines are no rows of VGGFace '
                              "(id url left top right bottom pose score curation).")
    return rows


def _read_list(tree, path):  # -> {id: (box, extra)}, number of lines that are no rows
    rows, bad = {}, 0
    try:
        with tree.open(path) as file:
            lines = list(open_lines(file, path)[0])
    except ValueError:
        return {}, 1
    for line in filter(str.strip, lines):
        words = line.split()
        try:
            numbers = [float(word) for word in words[2:]]
            if _number(words[0]) is None or len(numbers) < 4 or not all(map(math.isfinite, numbers)):
                raise ValueError
        except (ValueError, IndexError):
            bad += 1
            continue
        rest = dict(zip(("pose", "score", "curation"), numbers[4:]))
        rows[_number(words[0])] = tuple(numbers[:4]), rest
    return rows, bad


def recognise_vggface2(tree, kind):
    """Evidence of VGGFace2."""
    return recognise_names(tree, kind, _VGGFACE2, _FORM2) if kind == "face" else None


def read_vggface2(tree, kind, findings):
    """Items of VGGFace2; the box and five landmarks of loose_bb_*.csv and loose_landmark_*.csv, if they are there."""
    places = {}
    for path in tree.of_kind(kind):
        if match := _VGGFACE2.search(path):
            places[f"{match['person']}/{match['picture']}"] = len(places)
    numbers = _read_extras(tree, places, findings)

    def parse(path):
        match = _VGGFACE2.search(path)
        if match is None:
            return f"not named {_FORM2}"
        place = places[f"{match['person']}/{match['picture']}"]
        x, y, width, height = (round(float(v), 3) for v in numbers["bb"][place])
        points = tuple((round(float(a), 3), round(float(b), 3)) for a, b in numbers["landmark"][place].reshape(-1, 2))
        return Item(kind, path, tree.root, match["person"],
                    box=None if math.isnan(x) else (x, y, x + width, y + height),
                    landmarks=None if math.isnan(points[0][0]) else points,
                    extra={"subset": match["subset"]} if match["subset"] else {})

    yield from read_paths(tree, kind, findings, parse)


def _read_extras(tree, places, findings):  # -> {"bb": [P, 4], "landmark": [P, 10]}, NaN where nothing is said
    """Numbers of the pictures that are there; the tables, of millions of rows, are not kept."""
    widths = {"bb": 4, "landmark": 10}
    numbers = {what: np.full((len(places), width), np.nan) for what, width in widths.items()}
    for path in tree.of_kind(None):
        if not (match := _EXTRAS.search(path)):
            continue
        what = match["what"]
        findings.tables[path] = "boxes of VGGFace2" if what == "bb" else "landmarks of VGGFace2"
        with tree.open(path) as file:
            for line, cells in read_table(file, path).rows:
                place = places.get(cells[0].removesuffix(".jpg"))
                if place is None:
                    continue
                try:
                    numbers[what][place] = [float(cell) for cell in cells[1:]]
                except ValueError as error:
                    raise ValueError(f'line {line} of "{path}" in "{tree.root}" has not the {widths[what]} numbers '
                                     "that are expected after its name.") from error
    return numbers


VGGFACE = Layout("vggface", {"face": _LIST_FORM}, recognise_vggface, read_vggface)
VGGFACE2 = Layout("vggface2", {"face": _FORM2}, recognise_vggface2, read_vggface2)
