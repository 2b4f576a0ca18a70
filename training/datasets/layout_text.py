"""Reads tables and lists as people save them: any usual encoding, any usual delimiter, sniffed and said."""

import codecs
import contextlib
import csv
import dataclasses
import io
import json
import re

_WHOLE_BYTES = 64 << 20  # files up to this size are decoded at once, so that one late byte can decide the encoding
_HEAD_BYTES = 1 << 16
_DELIMITERS = "\t,;|"
_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "spaces"}
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells [(line number, [cell, ...]), ...] without the header; how they were read, in words."""

    name: str
    header: list  # of str in lower case, [] if there was none
    rows: object  # iterable of (int, list of str), to be gone through once
    how: str  # such as "utf-8, comma"

    def dicts(self):
        """Yields (line number, {column: cell}). ValueError for a row with more cells than the header has."""
        for line, cells in self.rows:
            if len(cells) > len(self.header) and any(cells[len(self.header):]):
                raise ValueError(f'line {line} of "{self.name}" has {len(cells)} cells, its header {len(self.header)}; '
                                 f"it was read as {self.how}.")
            yield line, dict(zip(self.header, cells))


def open_lines(file, name):  # binary file -> (iterator of lines without their ends, encoding)
    """The lines of a text file. ValueError if it is no text."""
    data = file.read(_WHOLE_BYTES + 1)
    if len(data) <= _WHOLE_BYTES:
        encoding = _encoding(data, name)
        return iter(_decode(data, encoding, name).split("\n")), encoding.removesuffix("-sig")
    encoding = _encoding(data[:_HEAD_BYTES].rpartition(b"\n")[0], name)
    stream = io.TextIOWrapper(io.BufferedReader(_Joined(data, file)), encoding=encoding, newline=None)
    return _stripped(stream, encoding, name), encoding.removesuffix("-sig")


def read_table(file, name, *, has_header=True):  # binary file -> Table
    """The table in a text file, its delimiter sniffed from the first lines. ValueError if there is nothing in it."""
    lines, encoding = open_lines(file, name)
    head = []
    for line in lines:
        if line.strip():
            head.append(line)
        if len(head) == 20:
            break
    if not head:
        raise ValueError(f'"{name}" is empty; a table with a row of column names is needed.')
    delimiter = _delimiter(head)
    rows = _cells(_chain(head, lines), delimiter, name)
    header = [_column(cell) for cell in next(rows)[1]] if has_header else []
    if len(set(filter(None, header))) < len(list(filter(None, header))):
        raise ValueError(f'"{name}" names a column twice: {", ".join(header)}.')
    return Table(name, header, rows, f"{encoding}, {_NAMES[delimiter]}")


def read_json_rows(file, name):  # binary file -> iterator of (line number, dict)
    """The objects of a JSONL file. ValueError for a line that is no JSON object."""
    lines, _ = open_lines(file, name)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f'line {number} of "{name}" is not JSON ({error}).') from error
            if not isinstance(row, dict):
                raise ValueError(f'line {number} of "{name}" is no JSON object {{...}}.')
            yield number, row


def read_json(file, name):  # binary file -> value
    """The value in a JSON file. ValueError if it is none."""
    lines, _ = open_lines(file, name)
    try:
        return json.loads("\n".join(lines))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f'"{name}" is not JSON ({error}).') from error


class _Joined(io.RawIOBase):
    """What was read already, and then the rest of the file."""

    def __init__(self, data, file):
        self._data, self._file = memoryview(data), file

    def readable(self):
        return True

    def readinto(self, target):
        part = self._data[:len(target)] if self._data else self._file.read(len(target))
        self._data = self._data[len(part):]
        target[:len(part)] = part
        return len(part)


def _stripped(stream, encoding, name):
    try:
        for line in stream:
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f'"{name}" begins as {encoding} and goes on otherwise ({error.reason}); '
                         "save it as UTF-8.") from error


def _encoding(data, name):
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    head = data[:_HEAD_BYTES]
    if b"\0" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if min(even, odd) > 0.05 * max(even, odd) or 4 * max(even, odd) < len(head):
            raise ValueError(f'"{name}" is not text (it holds zero bytes); give a table as UTF-8 text.')
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252" if _decodes(data, "cp1252") else "latin-1"
    return "utf-8"


def _decodes(data, encoding):
    with contextlib.suppress(UnicodeDecodeError):
        data.decode(encoding)
        return True
    return False


def _decode(data, encoding, name):
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f'"{name}" begins as {encoding} and goes on otherwise ({error.reason}); '
                         "save it as UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(head):
    """The delimiter that cuts the first lines most evenly, the one with more cells if two do; " " if none does."""
    best, chosen = (0, 0), " "
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error):
            counts = [len(cells) for cells in csv.reader(head, delimiter=delimiter, skipinitialspace=True)]
            if counts and counts[0] > 1:
                score = (sum(count == counts[0] for count in counts) / len(counts), counts[0])
                best, chosen = max((best, chosen), (score, delimiter), key=lambda pair: pair[0])
    return chosen


def _cells(lines, delimiter, name):
    if delimiter == " ":  # columns of padded text; names of columns may hold single spaces
        wide = None
        for number, line in enumerate(lines, 1):
            if line.strip():
                wide = bool(re.search(r"\S\s{2,}\S", line)) if wide is None else wide
                yield number, re.split(r"\s{2,}" if wide else r"\s+", line.strip())
        return
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ValueError(f'line {reader.line_num} of "{name}" is no row of a table ({error}); '
                         f"it was read with the delimiter {_NAMES[delimiter]}.") from error


def _chain(head, lines):
    yield from head
    yield from lines


def _column(cell):
    return re.sub(r"[\s_-]+", "_", cell.strip().lower())
