"""Hands out the files of a corpus, from folders and zips, and refuses what a corpus has no business to hold.

Refused, each with its reason: paths and links that lead out of the tree, entries that unpack to far more than they
are, files beyond a limit, devices and pipes.
"""

import contextlib
import errno
import os
import pathlib
import stat
import tempfile
import zipfile
import zlib

from training.datasets.items import Unusable

MAX_PICTURE_BYTES = 256 << 20
MAX_SOUND_BYTES = 4 << 30
_SMALL = 64 << 20  # what unpacks to no more than this is no bomb
_MOST_RATIO = 200
_BLOCK = 1 << 20
_OUR_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class Sources:
    """Files below roots (folders or zips). Zips stay open; use one object in each process."""

    def __init__(self):
        self._zips, self._real = {}, {}

    def read(self, root, path, *, most=MAX_PICTURE_BYTES):  # -> bytes
        """The content of a file. Unusable with the reason, without the path, if it cannot or must not be read."""
        with self._errors():
            if self._is_zip(root):
                with self._entry(root, path, most) as file:
                    return b"".join(iter(lambda: file.read(_BLOCK), b""))
            name = self._real_file(root, path)
            if os.path.getsize(name) > most:
                raise Unusable(f"too large: {os.path.getsize(name) >> 20} MiB, {most >> 20} MiB at most")
            return pathlib.Path(name).read_bytes()

    @contextlib.contextmanager
    def local_file(self, root, path, *, most=MAX_SOUND_BYTES):  # -> path of a plain file
        """A path that libraries can open: the file itself, or a copy of a zip's entry that lasts for the `with`."""
        if not self._is_zip(root):
            with self._errors():
                name = self._real_file(root, path)
            yield name
            return
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "sound" + pathlib.PurePosixPath(path).suffix)
            with self._errors(), self._entry(root, path, most) as file, open(name, "wb") as copy:
                while block := file.read(_BLOCK):
                    copy.write(block)
            yield name

    def _is_zip(self, root):
        if root not in self._real:
            self._real[root] = None if os.path.isfile(root) else os.path.realpath(root)
        return self._real[root] is None

    def _real_file(self, root, path):
        if os.path.isabs(path) or ".." in pathlib.PurePosixPath(path).parts:
            raise Unusable("leads out of the corpus")
        real, base = os.path.realpath(os.path.join(root, path)), self._real[root]
        if os.path.commonpath([real, base]) != base:
            raise Unusable("a link that leads out of the corpus")
        if not stat.S_ISREG(os.stat(real).st_mode):
            raise Unusable("not a file")
        return real

    def _entry(self, root, path, most):
        if ".." in pathlib.PurePosixPath(path).parts or path.startswith("/"):
            raise Unusable("leads out of the archive")
        if root not in self._zips:
            self._zips[root] = zipfile.ZipFile(root)
        info = self._zips[root].getinfo(path)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Unusable("a link inside an archive")
        if info.file_size > max(_SMALL, _MOST_RATIO * info.compress_size):
            raise Unusable(f"a zip bomb: {info.compress_size} bytes that unpack to {info.file_size}")
        if info.file_size > most:
            raise Unusable(f"too large: {info.file_size >> 20} MiB, {most >> 20} MiB at most")
        return self._zips[root].open(info)  # never yields more than file_size

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except FileNotFoundError:
            raise Unusable("no such file") from None
        except PermissionError:
            raise Unusable("permission denied") from None
        except KeyError:
            raise Unusable("not in the archive") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise Unusable(f"damaged in its archive: {error}") from None
        except OSError as error:
            if error.errno in _OUR_TROUBLE:  # of this machine, not of the file
                raise
            raise Unusable(f"cannot be read: {error.strerror or error}") from None
