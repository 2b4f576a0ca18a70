"""Reads tables that say who an id is: VoxCeleb's and VGGFace2's meta files, or any table of ids, names and genders."""

import dataclasses
import os
import re

from training.datasets.layout_text import read_table

ID = re.compile(r"id\d{5}|n\d{6}")  # of VoxCeleb and of VGGFace2
_IDS = ("voxceleb1_id", "voxceleb2_id", "voxceleb2id", "vggface2_id", "vggface2id", "class_id", "id")
_NAMES = ("vggface1_id", "name", "person", "identity")
_GENDERS = ("gender", "gender_x", "gender_y", "sex")
_NATIONALITIES = ("nationality", "country")
_SUBSETS = ("set",)
_GENDER_WORDS = {"m": "m", "male": "m", "man": "m", "f": "f", "female": "f", "woman": "f"}


@dataclasses.dataclass(frozen=True, slots=True)
class IdentityRow:
    """One person of a table: ids and at most one name; `index` is the number of the row, from 0."""

    ids: tuple
    name: str | None
    gender: str | None
    nationality: str | None
    subset: str | None  # of the column Set: "dev" or "test"
    index: int


@dataclasses.dataclass(frozen=True)
class IdentityTable:
    """A table of people, where it lies, and how it was read."""

    path: str
    rows: list
    how: str

    @property
    def file_name(self):
        """The last part of its path."""
        return os.path.basename(self.path)


def is_identity_table(path):
    """Whether a file has the name of a published table of identities."""
    name = path.rpartition("/")[2].lower()
    return name in ("vox1_meta.csv", "vox2_meta.csv", "full_vox2_meta.csv", "identity_meta.csv", "identity_info.csv")


def read_identity_table(file, path):  # binary file, str -> IdentityTable
    """The people of a table. ValueError if it has neither a column of ids nor one of names, or no row."""
    table = read_table(file, path)
    columns = table.header
    if not set(columns) & {*_IDS, *_NAMES}:
        raise ValueError(f'"{path}" has no column of ids or names: it was read as {table.how} and has the columns '
                         f'{", ".join(columns)}; "id", "name", "gender", "nationality" are understood, '
                         "and the columns of the published meta files.")
    rows = [_row(cells, index) for index, (_, cells) in enumerate(table.dicts())]
    if not rows:
        raise ValueError(f'"{path}" has a header and no row.')
    return IdentityTable(path, rows, table.how)


def gender_of(text):  # -> "m", "f" or None
    """The gender that a cell says, in one letter."""
    return _GENDER_WORDS.get(str(text or "").strip().lower())


def _row(cells, index):
    ids = dict.fromkeys(cells[name] for name in _IDS if cells.get(name))
    name = _first(cells, _NAMES)
    gender = gender_of(_first(cells, _GENDERS))
    return IdentityRow(tuple(ids), name, gender, _first(cells, _NATIONALITIES), _first(cells, _SUBSETS), index)


def _first(cells, names):
    return next((cells[name] for name in names if cells.get(name)), None)
