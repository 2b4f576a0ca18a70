"""Writes a dataset in the layout of docs/dataset.md: contents first, then manifest, index and card; folder or zip.

The same calls give the same bytes. What was not finished is never at the destination.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import zipfile

import numpy as np

KINDS = ("person", "face", "voice")
SPLITS = ("train", "val", "test")
INDEX_NAME = "index.npy"
# One record a manifest row: where its line is in the manifest, and where its file's content is in a zip.
INDEX_DTYPE = np.dtype([("start", "<u8"), ("length", "<u4"), ("kind", "u1"), ("split", "u1"),
                        ("place", "<u8"), ("size", "<u4")])
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_HEADER_BYTES = 30  # of an entry of a zip, before its name
_MAX_BYTES = 2**31 - 1  # more needs longer headers


def refuse_existing(dest):
    """Raises ValueError if there is anything at `dest`."""
    if dest.exists() or dest.is_symlink():
        raise ValueError(f'"{dest}" exists; remove it or choose another --dest.')


@contextlib.contextmanager
def dataset_writer(dest, *, scratch=None):  # -> Writer; moved to dest on success, removed on failure
    """Collects a dataset in a hidden folder beside `dest` (or in `scratch`) and moves it into place when it is whole.

    ValueError if `dest` exists, then or at the end. `Writer.finish(card)` must have been called.
    """
    dest = pathlib.Path(dest)
    refuse_existing(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{dest.name[:40]}.", suffix=".part", dir=scratch or dest.parent))
    try:
        with full_disk_said(dest), contextlib.closing(Writer(folder, zipped=dest.suffix.lower() == ".zip")) as writer:
            yield writer
        refuse_existing(dest)
        os.rename(writer.content, dest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def full_disk_said(dest):
    """Within it, an error of a full disk becomes one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(f'the disk of "{dest}", or that of the temporary files, is full; make room, then give the same '
                      "command again.") from error


class Writer:
    """A dataset that is being written. Rows come in the order of the manifest, each with the content it names."""

    def __init__(self, folder, *, zipped):
        self.content = folder / ("content.zip" if zipped else "content")
        self._lines = (folder / "manifest").open("w+b")
        self._index = bytearray()
        self._digest, self._length, self._offset = hashlib.sha256(), 0, 0
        self._file = self._zip = None
        if zipped:
            self._file = self.content.open("w+b")
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        else:
            self.content.mkdir()
        self._folders = set()

    def add(self, name, data):  # -> place of the content: (offset in the zip, size)
        """Writes a file of the dataset. A folder gets the offsets of the zip too, so that both hold the same bytes."""
        if len(data) > _MAX_BYTES:
            raise ValueError(f'"{name}" would have {len(data)} bytes; 2 GiB are the most.')
        place = self._offset + _HEADER_BYTES + len(name.encode())
        self._offset = place + len(data)
        if self._zip is None:
            path = self.content / name
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            path.write_bytes(data)
            return place, len(data)
        entry = zipfile.ZipInfo(name, _ZIP_TIME)  # fixed, so that the same command gives the same bytes
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        self._zip.writestr(entry, data)
        assert self._file.tell() == self._offset, "the zip has other headers than were reckoned with"
        return place, len(data)

    def add_row(self, row, data=None):
        """Writes a manifest row and, for faces and voices, the content that it names."""
        place, size = (0, 0) if data is None else self.add(row["path"], data)
        line = json.dumps(row, sort_keys=True).encode() + b"\n"
        record = np.array((self._length, len(line) - 1, KINDS.index(row["kind"]), SPLITS.index(row["split"]),
                           place, size), INDEX_DTYPE)
        self._index += record.tobytes()
        self._lines.write(line)
        self._digest.update(line)
        self._length += len(line)

    def finish(self, card):
        """Writes manifest, index and card; the card gets the sha256 of the other two as `checksums`."""
        self._lines.seek(0)
        places = {"manifest.jsonl": self.add("manifest.jsonl", self._lines.read())}
        records = np.frombuffer(bytes(self._index), INDEX_DTYPE).copy()
        index = _npy_bytes(records)
        places[INDEX_NAME] = self.add(INDEX_NAME, index)
        checksums = {"manifest.jsonl": self._digest.hexdigest(), INDEX_NAME: hashlib.sha256(index).hexdigest()}
        content = json.dumps({**card, "checksums": checksums}, indent=2) + "\n"
        places["card.json"] = self.add("card.json", content.encode())
        if self._zip is not None:  # so that a reader need not go through the entries one by one
            self._zip.comment = json.dumps({"directory": self._file.tell(), "places": places}).encode()

    def close(self):
        """Ends the files; called by `dataset_writer`."""
        self._lines.close()
        if self._zip is not None:
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _npy_bytes(array):
    target = io.BytesIO()
    np.lib.format.write_array(target, array, version=(1, 0), allow_pickle=False)
    return target.getvalue()
