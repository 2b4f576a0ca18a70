"""Reads landmarks of many pictures from one file: JSON, CSV or a list with blanks, by the name of the picture."""

import copy
import csv
import dataclasses
import io
import json
import pathlib

COUNTS = (5, 6, 68, 468, 478)


class LandmarkFile:
    """Landmarks by picture; `find(path)` looks for the path, with or without its suffix and its first folders."""

    def __init__(self, path):
        self.path = path
        text = _read_text(pathlib.Path(path))
        self._points = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_lines(path, text)
        if not self._points:
            raise ValueError(f'"{path}" has no landmarks; a JSON object {{name: [[x, y], ...]}} or lines '
                             "name,x1,y1,x2,y2,... are read.")
        self._depth = max(name.count("/") for name in self._points)
        self._used = {}
        self.num_found = 0

    def __len__(self):
        return len(self._points)

    def find(self, path):  # -> ((x, y), ...) or None
        """The landmarks of a picture. ValueError if a name of the file fits two pictures."""
        parts = path.split("/")[-1 - self._depth :]
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            for key in (name, name.rsplit(".", 1)[0]):
                if key in self._points:
                    if self._used.setdefault(key, path) != path:
                        raise ValueError(f'"{key}" in "{self.path}" fits both "{self._used[key]}" and "{path}"; name '
                                         "pictures with their folders there.")
                    self.num_found += 1
                    return self._points[key]
        return None


def with_landmarks(plan, path):  # Plan, path of a file -> Plan, LandmarkFile
    """The plan with the landmarks of a file for its faces; those that an item brings itself give way to the file's."""
    marks = LandmarkFile(path)

    def items():
        for item in plan.items:
            found = marks.find(item.path) if item.kind == "face" else None
            yield item if found is None else dataclasses.replace(item, landmarks=found)

    changed = copy.copy(plan)
    object.__setattr__(changed, "items", items())
    return changed, marks


def _read_text(path):
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f'no landmark file at "{path}".') from None
    for encoding in ("utf-8-sig", "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError(f'"{path}" is not text.')


def _from_json(path, text):
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'"{path}" is not JSON: {error}.') from error
    if isinstance(table, list):
        pairs = [(row.get("path") or row.get("name"), row) if isinstance(row, dict) else (None, None) for row in table]
    else:
        pairs = table.items()
    return dict(_checked(path, name, row.get("landmarks") if isinstance(row, dict) else row) for name, row in pairs)


def _from_lines(path, text):
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), None)
    lines = (line.split() for line in text.splitlines()) if delimiter is None else csv.reader(
        io.StringIO(text), delimiter=delimiter)
    points = {}
    for number, cells in enumerate(lines, 1):
        cells = [cell.strip() for cell in cells if cell.strip()]
        if not cells:
            continue
        try:
            values = [float(cell) for cell in cells[1:]]
        except ValueError:
            if number <= 2:  # a header; CelebA's lists have the count before it
                continue
            raise ValueError(f'line {number} of "{path}" is not name{delimiter or " "}x1{delimiter or " "}y1...: '
                             f'"{" ".join(cells)[:60]}".') from None
        if not values:
            continue
        if len(values) % 2:
            raise ValueError(f'line {number} of "{path}" has {len(values)} numbers; pairs of x and y are needed.')
        name, marks = _checked(path, cells[0], list(zip(values[::2], values[1::2])))
        points[name] = marks
    return points


def _checked(path, name, marks):
    try:
        points = tuple((float(x), float(y)) for x, y in marks)
    except (TypeError, ValueError):
        points = ()
    if not isinstance(name, str) or len(points) not in COUNTS:
        raise ValueError(f'"{path}" has no landmarks for "{name}" that can be read: {", ".join(map(str, COUNTS))} '
                         "points (x, y) are known.")
    return name.replace("\\", "/").removeprefix("./"), points
