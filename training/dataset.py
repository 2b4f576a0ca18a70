"""Reads a dataset: a folder or stored zip with a card, a manifest, faces and voices (docs/dataset.md).

Zips and folders of pictures as other StyleGAN code has them are read too, as faces without voices.
"""

import collections.abc
import contextlib
import hashlib
import io
import json
import os
import pathlib
import zipfile
import zlib

import numpy as np

FORMAT = "voice2style-dataset/1"
SPLITS = ("train", "val", "test")
_KINDS = ("person", "face", "voice")
_NEEDED = {"person": ("person", "split"), "face": ("path", "person", "split"), "voice": ("path", "person", "split")}


class Damaged(ValueError):
    """An item whose file is missing, changed, or not what its row says. Any other error is no file's fault."""


@contextlib.contextmanager
def _damage(told, *errors):
    try:
        yield
    except errors as error:
        raise Damaged(told) from error


class Dataset:
    """People, faces and voices of a dataset, as manifest rows (dicts), and the content that they name.

    Opening reads the card, the manifest and its index, but not the rows: those are read when they are asked for, unless
    the manifest was edited after it was written. Can be copied to worker processes: each opens the zip for itself.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._file, self._zip, self._owner = None, None, None
        if not self.path.exists():
            raise ValueError(f'no dataset at "{path}"; dataset_tool.py makes one.')
        self._is_zip = self.path.is_file()
        self._places = self._find_places() if self._is_zip else {}
        self._manifest, self._index, self._rows = b"", None, {kind: [] for kind in _KINDS}
        if self._has("card.json"):
            self.card = self._read_card()
            self._read_manifest()
        else:
            self._read_pictures()

    def __repr__(self):
        counts = ", ".join(f"{len(self._of(kind, None))} {kind} rows" for kind in _KINDS)
        return f"Dataset({str(self.path)!r}: {counts})"

    def __getstate__(self):
        return {"path": self.path}

    def __setstate__(self, state):
        self.__init__(state["path"])

    def people(self, split=None):  # -> rows {person, split, ...}
        """Rows of the people of a split ("train", "val", "test"), or of all."""
        return self._of("person", split)

    def faces(self, split=None):  # -> rows {path, person, split, sha256, width, height, landmarks, ...}
        """Rows of the faces of a split, or of all."""
        return self._of("face", split)

    def voices(self, split=None):  # -> rows {path, person, split, sha256, seconds, sample_rate_hz, ...}
        """Rows of the clips of a split, or of all."""
        return self._of("voice", split)

    def read_face(self, row):  # -> uint8 [H, W, 3]
        """The picture of a row of `faces()`; Damaged if it cannot be read."""
        from PIL import Image, UnidentifiedImageError

        from torch_utils.images import UnknownRange, eight_bits

        told = f"{self._name(row['path'])} is not a picture that can be read, or it is damaged."
        content = self.read_bytes(row)
        with _damage(told, UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
            picture = Image.open(io.BytesIO(content))
            picture.load()
        with _damage(told, UnknownRange):
            picture = eight_bits(picture)
        return np.asarray(picture.convert("RGB"))

    def read_voice(self, row):  # -> float32 [S] in [-1, 1], at the row's sample_rate_hz
        """The wave of a row of `voices()`, mono; Damaged if it cannot be read."""
        import soundfile

        if "features" in row:
            raise ValueError(f"{self._name(row['path'])} holds features ({row['features']}), not a wave; this needs "
                             "recordings. Build the dataset from the corpus's audio.")
        content = self.read_bytes(row)
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Damaged(f"{self._name(row['path'])} is not sound that can be read, or it is damaged.") from error
        if rate_hz != row.get("sample_rate_hz", rate_hz):
            raise Damaged(f"{self._name(row['path'])} has {rate_hz} Hz, its manifest row says {row['sample_rate_hz']}.")
        return np.ascontiguousarray(samples.mean(1) if samples.shape[1] > 1 else samples[:, 0])

    def read_features(self, row):  # -> float32 [T, C]
        """The features of a row of `voices()` that has `features`: the corpus came as such, without waves."""
        if "features" not in row:
            raise ValueError(f"{self._name(row['path'])} holds a wave; read_voice() reads it.")
        content = self.read_bytes(row)
        try:
            return np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise Damaged(f"{self._name(row['path'])} is not an array that can be read.") from error

    def read_bytes(self, row):  # -> bytes
        """The file of a row as it is. Damaged if its sha256 is not the row's, or there is no such file."""
        if self._places and self._index is not None and isinstance(row, _Row):
            record = self._index[row.number]
            content = self._read_at(int(record["place"]), int(record["size"]))
        else:
            content = self._read(row["path"])
        if "sha256" in row and hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise Damaged(f"{self._name(row['path'])} is damaged: its sha256 is not that of the manifest.")
        return content

    def read_file(self, name):  # -> bytes
        """A file of the dataset that is no item, such as rejected.csv."""
        return self._read(name)

    def names(self):  # -> sorted list of all files, also those that no row names
        """Every file in the dataset."""
        if self._is_zip:
            return sorted(info.filename for info in self._open_zip().infolist() if not info.is_dir())
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    @property
    def is_indexed(self):
        """Whether the manifest is as it was written, so that its index holds."""
        return self._index is not None

    def _of(self, kind, split):
        if split is not None and split not in SPLITS:
            raise ValueError(f'no split "{split}"; there are {", ".join(SPLITS)}.')
        if self._index is not None:
            chosen = self._index["kind"] == _KINDS.index(kind)
            if split is not None:
                chosen &= self._index["split"] == SPLITS.index(split)
            return Rows(self, np.flatnonzero(chosen))
        return [row for row in self._rows[kind] if split is None or row["split"] == split]

    def _name(self, name):
        return f'"{name}" in "{self.path}"'

    def _read_card(self):
        content = self._read("card.json")
        try:
            card = json.loads(content)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._name('card.json')} is not JSON: {error}.") from error
        found = card.get("format") if isinstance(card, dict) else None
        if found != FORMAT:
            raise ValueError(f'{self._name("card.json")} has the format "{found}"; this version reads "{FORMAT}".')
        return card

    def _read_pictures(self):
        """A dataset of pictures only: the card and the rows are made here."""
        from training.datasets.image_zip import describe_pictures

        names = self.names()
        self.card, rows = describe_pictures(self.path, names, self._read)
        self._rows["face"] = rows

    def _read_manifest(self):
        self._manifest = self._read("manifest.jsonl")
        self._index = self._read_index()
        if self._index is None:
            for number, line in enumerate(self._manifest.splitlines(), 1):
                row = self._row(line, f"line {number} of {self._name('manifest.jsonl')}")
                self._rows[row["kind"]].append(row)
            self._manifest = b""

    def _read_index(self):  # -> records, or None if there are none that belong to this manifest
        from training.datasets.writer import INDEX_DTYPE, INDEX_NAME

        checksums = self.card.get("checksums")
        if not isinstance(checksums, dict) or not self._has(INDEX_NAME):
            return None
        content = self._read(INDEX_NAME)
        for name, data in (("manifest.jsonl", self._manifest), (INDEX_NAME, content)):
            if checksums.get(name) != hashlib.sha256(data).hexdigest():
                return None  # edited: every row is read and looked at
        try:
            index = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return None
        ends = index["start"] + index["length"] if index.dtype == INDEX_DTYPE and index.ndim == 1 else np.zeros(0)
        if len(ends) != self._manifest.count(b"\n") or (len(ends) and ends.max() > len(self._manifest)):
            return None
        return index if len(ends) == 0 or (index["kind"].max() < 3 and index["split"].max() < 3) else None

    def _indexed_row(self, number):
        record = self._index[number]
        start = int(record["start"])
        line = self._manifest[start : start + int(record["length"])]
        row = _Row(self._row(line, f"line {number + 1} of {self._name('manifest.jsonl')}"))
        row.number = number
        if (row["kind"], row["split"]) != (_KINDS[record["kind"]], SPLITS[record["split"]]):
            raise ValueError(f"line {number + 1} of {self._name('manifest.jsonl')} is not what the index says.")
        return row

    def _row(self, line, where):
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{where} is not JSON: {error}.") from error
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in _NEEDED:
            raise ValueError(f'{where} has the kind "{kind}"; {", ".join(_NEEDED)} are known.')
        if missing := [key for key in _NEEDED[kind] if key not in row]:
            raise ValueError(f"{where} lacks {', '.join(missing)}.")
        if row["split"] not in SPLITS:
            raise ValueError(f'{where} has the split "{row["split"]}"; {", ".join(SPLITS)} are known.')
        if "path" in row and not stays_inside(row["path"]):
            raise ValueError(f'{where} names "{row["path"]}", which is not a plain path inside the dataset.')
        return row

    def _has(self, name):
        if not self._is_zip:
            return (self.path / name).is_file()
        return name in self._places or name in self._open_zip().NameToInfo

    def _read(self, name):  # -> bytes
        try:
            if name in self._places:
                return self._read_at(*self._places[name])
            return self._open_zip().read(name) if self._is_zip else (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            what = "is no dataset" if name in ("card.json", "manifest.jsonl") else "is not whole"
            raise Damaged(f'"{self.path}" {what}: it has no {name}.') from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Damaged(f"{self._name(name)} is damaged ({error}).") from error

    def _read_at(self, place, size):  # -> bytes of the zip
        file = self._own_file()
        if hasattr(os, "pread"):  # needs no position, so threads do not disturb each other
            return os.pread(file.fileno(), size, place)
        file.seek(place)
        return file.read(size)

    def _own_file(self):
        if self._owner != os.getpid():  # a forked worker must not share the parent's position in the file
            self._file, self._zip, self._owner = self.path.open("rb"), None, os.getpid()
        return self._file

    def _open_zip(self):
        file = self._own_file()
        if self._zip is None:
            try:
                self._zip = zipfile.ZipFile(file)
            except zipfile.BadZipFile as error:
                raise ValueError(f'"{self.path}" is neither a folder nor a zip that can be read ({error}).') from error
        return self._zip

    def _find_places(self):  # -> {name: (offset, size)} of card, manifest and index in a zip that we wrote
        from training.datasets.zip_tail import read_places

        return read_places(self._own_file())


class _Row(dict):
    """A manifest row that knows its number, and so where its content is."""

    __slots__ = ("number",)


class Rows(collections.abc.Sequence):
    """Rows of one kind in the order of the manifest, read when they are asked for."""

    def __init__(self, dataset, numbers):
        self._dataset, self._numbers = dataset, numbers

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return Rows(self._dataset, self._numbers[place])
        return self._dataset._indexed_row(int(self._numbers[place]))

    def __eq__(self, other):
        return isinstance(other, (Rows, list, tuple)) and list(self) == list(other)

    def __add__(self, other):
        return list(self) + list(other)

    def __repr__(self):
        return f"<{len(self)} rows of {self._dataset.path}>"


def stays_inside(path):
    """Whether `path` is a plain relative path with `/` that cannot leave its folder."""
    parts = pathlib.PurePosixPath(path).parts if isinstance(path, str) else ()
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\\" not in path and ":" not in parts[0]
