"""Reads a corpus that is a list of rows, CSV or JSONL: path, person, and whatever else is known of each file."""

import json
import math
import os
import posixpath
import re

from training.datasets.items import KINDS, Item
from training.datasets.layout_reading import Layout
from training.datasets.layout_text import read_json_rows, read_table
from training.datasets.layout_tree import FEATURES, Tree, kind_of, needs_av, suffix_of

LIST_SUFFIXES = ("csv", "tsv", "jsonl")
_LIST_NAMES = re.compile(r"(?:manifest|rows|metadata)\.(?:csv|tsv|jsonl)")
_COLUMNS = {
    "path": ("path", "file", "filename", "file_name"),
    "person": ("person", "name", "identity", "speaker", "speaker_id", "person_id"),
    "kind": ("kind", "modality"), "split": ("split", "subset"), "gender": ("gender", "sex"),
    "nationality": ("nationality", "country"), "landmarks": ("landmarks",), "box": ("box", "bbox"),
    "start_s": ("start_s", "start"), "end_s": ("end_s", "end"),
}
_KNOWN = {name for names in _COLUMNS.values() for name in names}
_FORM = "a list with the columns path and person (.csv, .tsv, .jsonl; in a folder: manifest.csv or the like)"


class RowList(Tree):
    """A list that was given by its path: the folder that holds it is the root, and only what it names is looked at."""

    def __init__(self, path):
        folder, self.list_name = os.path.split(os.fspath(path))
        super().__init__(folder or ".")
        self._files = []


def find_list(tree):  # -> path of the list or None
    """The list of a tree: the one that was given, or the one at its top."""
    if isinstance(tree, RowList):
        return tree.list_name
    return next((path for path in tree.files if _LIST_NAMES.fullmatch(path.lower())), None)


def recognise(tree, kind):
    """Evidence of a list of rows."""
    path = find_list(tree)
    if path is None:
        return None
    try:
        first = next(iter(_rows(tree, path)), (0, {}))[1]
    except ValueError:  # a table of something else
        return None
    return f'"{path}" lists files and people' if _value(first, "path") and _value(first, "person") else None


def read(tree, kind, findings):
    """Items of the rows of a kind, in the order of the list; files of that kind that no row names are set aside."""
    path = find_list(tree)
    if path is None:
        raise ValueError(f'"{tree.root}" has no list of rows at its top; {_FORM} is looked for.')
    findings.tables[path] = "the list of rows"
    place = _Places(tree)
    named, unknown = set(), {}
    for number, row in _rows(tree, path):
        unknown.update(dict.fromkeys(name for name in row if name.lower() not in _KNOWN))
        found, named_path, row_kind = _read_row(tree, row, place)
        named.add(named_path)
        is_mine = row_kind == kind or (row_kind not in findings.kinds and findings.is_first(kind))
        if not is_mine:
            continue
        if isinstance(found, str):
            findings.reject(named_path or path, f"{found} (line {number} of {path})", str(_value(row, "person") or ""))
        elif row_kind != kind:
            findings.reject(named_path, f"a {row_kind}, which is not read from this root (line {number} of {path})",
                            found.person)
        else:
            yield found
    for other in tree.of_kind(kind):
        if other not in named:
            findings.reject(other, f"in no row of {path}")
    if unknown and findings.is_first(kind):
        findings.notes.append(f'"{path}" in "{tree.root}": columns that are kept as they are: {", ".join(unknown)}.')


def _rows(tree, path):  # -> (line number, {column: value})
    with tree.open(path) as file:
        if suffix_of(path) == "jsonl":
            rows = read_json_rows(file, path)
        else:
            table = read_table(file, path)
            lacking = [what for what in ("path", "person") if not set(_COLUMNS[what]) & set(table.header)]
            if lacking:
                raise ValueError(f'"{path}" in "{tree.root}" has no column {" and no column ".join(lacking)}: it was '
                                 f"read as {table.how} and has {', '.join(table.header)}.")
            rows = table.dicts()
        yield from rows


def _value(row, what):
    return next((row[name] for name in _COLUMNS[what] if row.get(name) not in (None, "")), None)


def _read_row(tree, row, place):  # -> (Item or reason, path or "", kind or None)
    path, person = _value(row, "path"), _value(row, "person")
    if path is None or person is None:
        return f"a row without {'a path' if path is None else 'a person'}", str(path or ""), None
    path, person = str(path), str(person)
    kind = str(_value(row, "kind") or kind_of(path) or "").lower()
    if kind not in KINDS:
        return f'neither the kind "{kind}" nor the suffix of the path says face or voice', path, None
    place_found, reason = place(path)
    if reason:
        return reason, path, kind
    extra = {name: value for name, value in row.items() if name.lower() not in _KNOWN and value not in (None, "")}
    extra |= {what: value for what in ("gender", "nationality") if (value := _value(row, what)) is not None}
    extra |= needs_av(path)
    if suffix_of(path) in FEATURES and extra.get("features") != "logmel64":
        return 'features, not sound; say "features": "logmel64" in the row if it is a .npy [T, 64]', path, kind
    try:
        item = Item(kind, place_found, tree.root, person, str(_value(row, "split") or ""),
                    landmarks=_points(_value(row, "landmarks")), box=_box(_value(row, "box")),
                    start_s=_seconds(_value(row, "start_s")), end_s=_seconds(_value(row, "end_s")), extra=extra)
    except (ValueError, TypeError, json.JSONDecodeError) as error:
        return f"landmarks, box, start_s or end_s cannot be read: {error}", place_found, kind
    return item, place_found, kind


def _numbers(value):
    """Numbers from a list (of lists), or from text: JSON, or numbers with spaces between."""
    if isinstance(value, str):
        value = json.loads(value) if value.strip().startswith("[") else re.split(r"[\s,;]+", value.strip())
    flat = [float(n) for part in value for n in (part if isinstance(part, (list, tuple)) else [part])]
    if not all(map(math.isfinite, flat)):
        raise ValueError("not all are finite numbers")
    return flat


def _points(value):
    if value is None:
        return None
    flat = _numbers(value)
    if len(flat) < 2 or len(flat) % 2:
        raise ValueError(f"{len(flat)} numbers are no points (x, y)")
    return tuple(zip(flat[::2], flat[1::2]))


def _box(value):
    if value is None:
        return None
    left, top, right, bottom = flat = _numbers(value)
    if not (left < right and top < bottom):
        raise ValueError(f"the box {flat} is empty; left, top, right, bottom is the order")
    return tuple(flat)


def _seconds(value):
    if value is None:
        return None
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{value} s is no time")
    return float(value)


class _Places:
    """Where the paths of rows lead: below the root, or nowhere."""

    def __init__(self, tree):
        self._root = tree.root
        self._inside = set(tree.files) if tree.is_zip else None
        self._real = os.path.realpath(tree.root)
        self._folders = {}

    def __call__(self, path):  # -> (path below the root or None, reason or None)
        text = path.replace("\\", "/") if "/" not in path else path  # lists that were written on Windows
        if text.startswith("/"):
            text = os.path.relpath(text, os.path.abspath(self._root))
        text = posixpath.normpath(text)
        if text.startswith(("../", "/")) or text == ".." or re.match(r"[A-Za-z]:", text) or "\0" in text:
            return None, "leads out of the corpus"
        if self._inside is not None:
            return (text, None) if text in self._inside else (None, "no such file")
        whole = os.path.join(self._root, text)
        folder = os.path.dirname(whole)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(whole) if os.path.islink(whole) else os.path.join(self._folders[folder], "")
        if not (real + os.sep).startswith(self._real.rstrip(os.sep) + os.sep):
            return None, "a link out of the corpus"
        return (text, None) if os.path.isfile(whole) else (None, "no such file")


ROWS = Layout("rows", {"voice": _FORM, "face": _FORM}, recognise, read)
