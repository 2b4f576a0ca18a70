"""Reads a dataset: a folder or stored zip with a card, a manifest, faces and voices (docs/dataset.md)."""

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
_NEEDED = {"person": ("person", "split"), "face": ("path", "person", "split"), "voice": ("path", "person", "split")}


class Dataset:
    """People, faces and voices of a dataset, as manifest rows (dicts), and the content that they name.

    Opening reads the card and the manifest only. Can be copied to worker processes: each opens the zip for itself.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._zip, self._owner = None, None
        if not self.path.exists():
            raise ValueError(f'no dataset at "{path}"; dataset_tool.py makes one.')
        self._is_zip = self.path.is_file()
        self.card = self._read_card()
        self._rows = {"person": [], "face": [], "voice": []}
        for number, line in enumerate(self._read("manifest.jsonl").splitlines(), 1):
            self._add(line, number)

    def __repr__(self):
        counts = ", ".join(f"{len(rows)} {kind} rows" for kind, rows in self._rows.items())
        return f"Dataset({str(self.path)!r}: {counts})"

    def __getstate__(self):
        return {**self.__dict__, "_zip": None, "_owner": None}

    def people(self, split=None):  # -> list of rows {person, split, heard, traits}
        """Rows of the people of a split ("train", "val", "test"), or of all."""
        return self._of("person", split)

    def faces(self, split=None):  # -> list of rows {path, person, split, sha256, width, height, landmarks}
        """Rows of the faces of a split, or of all."""
        return self._of("face", split)

    def voices(self, split=None):  # -> list of rows {path, person, split, sha256, seconds, sample_rate_hz}
        """Rows of the clips of a split, or of all."""
        return self._of("voice", split)

    def read_face(self, row):  # -> uint8 [H, W, 3]
        """The picture of a row of `faces()`."""
        from PIL import Image, UnidentifiedImageError

        content = self.read_bytes(row)
        try:
            with Image.open(io.BytesIO(content)) as picture:
                return np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{self._name(row['path'])} is not a picture that can be read, or it is damaged."
            ) from error

    def read_voice(self, row):  # -> float32 [S] in [-1, 1], at the row's sample_rate_hz
        """The wave of a row of `voices()`, mono."""
        import soundfile

        content = self.read_bytes(row)
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self._name(row['path'])} is not sound that can be read, or it is damaged.") from error
        if rate_hz != row.get("sample_rate_hz", rate_hz):
            raise ValueError(
                f"{self._name(row['path'])} has {rate_hz} Hz, its manifest row says {row['sample_rate_hz']}."
            )
        return np.ascontiguousarray(samples.mean(1) if samples.shape[1] > 1 else samples[:, 0])

    def read_bytes(self, row):  # -> bytes
        """The file of a row as it is. ValueError if its sha256 is not the row's."""
        content = self._read(row["path"])
        if "sha256" in row and hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise ValueError(f"{self._name(row['path'])} is damaged: its sha256 is not that of the manifest.")
        return content

    def _of(self, kind, split):
        if split is None:
            return list(self._rows[kind])
        if split not in SPLITS:
            raise ValueError(f'no split "{split}"; there are {", ".join(SPLITS)}.')
        return [row for row in self._rows[kind] if row["split"] == split]

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

    def _add(self, line, number):
        where = f"line {number} of {self._name('manifest.jsonl')}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{where} is not JSON: {error}.") from error
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in self._rows:
            raise ValueError(f'{where} has the kind "{kind}"; {", ".join(self._rows)} are known.')
        if missing := [key for key in _NEEDED[kind] if key not in row]:
            raise ValueError(f"{where} lacks {', '.join(missing)}.")
        if row["split"] not in SPLITS:
            raise ValueError(f'{where} has the split "{row["split"]}"; {", ".join(SPLITS)} are known.')
        if "path" in row and not _stays_inside(row["path"]):
            raise ValueError(f'{where} names "{row["path"]}", which is not a plain path inside the dataset.')
        self._rows[kind].append(row)

    def _read(self, name):  # -> bytes
        try:
            return self._open_zip().read(name) if self._is_zip else (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            what = "is no dataset" if name in ("card.json", "manifest.jsonl") else "is not whole"
            raise ValueError(f'"{self.path}" {what}: it has no {name}.') from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{self._name(name)} is damaged ({error}).") from error

    def _open_zip(self):
        if self._owner != os.getpid():  # a forked worker must not share the parent's position in the file
            try:
                self._zip, self._owner = zipfile.ZipFile(self.path), os.getpid()
            except zipfile.BadZipFile as error:
                raise ValueError(f'"{self.path}" is neither a folder nor a zip that can be read ({error}).') from error
        return self._zip


def _stays_inside(path):
    parts = pathlib.PurePosixPath(path).parts if isinstance(path, str) else ()
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\\" not in path and ":" not in parts[0]
