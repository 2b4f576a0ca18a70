"""Lists the files of a corpus, a folder or a zip, in a stable order, and sets aside what does not belong in it.

The order is that of the paths' parts, so a folder and a zip of it give the same list.
"""

import os
import zipfile

from training.datasets.items import Rejection
from training.datasets.layout_archive import MAX_DEPTH, list_archive, refuse_name

SOUNDS = {"wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "caf"}
AV_SOUNDS = {"m4a", "aac", "mp4", "m4v", "mov", "mkv", "webm", "avi", "wma", "3gp", "mpg", "mpeg"}  # for PyAV only
PICTURES = {"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "webp", "gif", "tif", "tiff", "ppm"}
FEATURES = {"npy", "npz", "pickle", "pkl"}  # what some corpora hold instead of sound
_KINDS = dict.fromkeys(PICTURES, "face") | dict.fromkeys(SOUNDS | AV_SOUNDS | FEATURES, "voice")
_SAMPLE = 2000


def suffix_of(path):
    """The suffix of a path in lower case without its dot; "" if there is none."""
    stem, dot, suffix = path.rpartition(".")
    return suffix.lower() if dot and stem and not stem.endswith("/") and "/" not in suffix else ""


def kind_of(path):
    """ "face" or "voice" by the suffix of a path, or None for what is neither."""
    return _KINDS.get(suffix_of(path))


def needs_av(path):
    """{"needs_av": True} for sound that only PyAV decodes, {} for other files: a part of an item's `extra`."""
    return {"needs_av": True} if suffix_of(path) in AV_SOUNDS else {}


class Tree:
    """The files of a corpus: `root` as given, `files` below it, `problems` (Rejections) met on the way.

    ValueError if `path` is neither a folder nor a zip that can be read.
    """

    def __init__(self, path):
        self.root = os.fspath(path)
        self.problems = []
        self._files, self._by_kind = None, None
        if not os.path.exists(self.root):
            raise ValueError(f'there is no "{self.root}"; give a folder, a zip or a list of rows (.csv, .tsv, .jsonl).')
        self.is_zip = os.path.isfile(self.root)
        if self.is_zip and not zipfile.is_zipfile(self.root):
            raise ValueError(f'"{self.root}" is neither a folder nor a zip that can be read.')

    @property
    def files(self):  # -> list of paths
        """Every file that may be used. What may not (links outwards, bombs, ...) is in `problems` after this."""
        if self._files is None:
            found = list_archive(self.root, self.reject) if self.is_zip else list(self._walk())
            self._files = sorted(found, key=lambda path: path.split("/")) if self.is_zip else found
        return self._files

    def of_kind(self, kind):  # -> list of paths
        """The files of a kind ("face", "voice", or None for all others), in the order of `files`."""
        if self._by_kind is None:
            self._by_kind = {"face": [], "voice": [], None: []}
            for path in self.files:
                self._by_kind[kind_of(path)].append(path)
        return self._by_kind[kind]

    def sample(self, kind):  # -> list of paths
        """At most 2000 files of a kind, evenly from the whole list."""
        chosen = self.of_kind(kind)
        return chosen[:: -(-len(chosen) // _SAMPLE) or 1]

    def reject(self, path, reason, person=""):
        """Sets a path aside."""
        self.problems.append(Rejection(path.encode("utf-8", "backslashreplace").decode(), person, reason, self.root))

    def open(self, path):
        """A binary file of a path, to be closed by the caller. ValueError names what cannot be opened."""
        try:
            if not self.is_zip:
                return open(os.path.join(self.root, path), "rb")
            with zipfile.ZipFile(self.root) as archive:
                return archive.open(path)
        except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ValueError(f'"{path}" in "{self.root}" cannot be opened ({_cause(error)}).') from error

    def text(self, part):  # str -> str
        """A part of a path as people read it: zips without the UTF-8 mark often hold UTF-8 all the same."""
        if self.is_zip and not part.isascii():
            try:
                return part.encode("cp437").decode("utf-8")
            except UnicodeError:
                pass
        return part

    def _walk(self):
        real = os.path.realpath(self.root)
        waiting = [""]
        while waiting:  # a stack, as folders may be nested deeper than Python's own
            path = waiting.pop()
            if path and not path.endswith("/"):
                yield path
            elif path.count("/") > MAX_DEPTH:
                self.reject(path, f"nested deeper than {MAX_DEPTH} folders")
            else:
                waiting.extend(reversed(self._scan(path, real)))

    def _scan(self, folder, real):  # -> sorted paths below the root; those of folders end in "/"
        try:
            with os.scandir(os.path.join(self.root, folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise ValueError(f'"{self.root}" cannot be read ({_cause(error)}).') from error
            self.reject(folder, f"the folder cannot be read ({_cause(error)})")
            return []
        if not entries and folder:
            self.reject(folder, "an empty folder")
        paths = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            path = f"{folder}{entry.name}/" if is_folder else folder + entry.name
            reason = refuse_name(entry.name) or (None if is_folder else _refuse_file(entry, real))
            if reason:
                self.reject(path, reason)
            else:
                paths.append(path)
        return paths


def _cause(error):
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _refuse_file(entry, real):  # os.DirEntry of what is no folder
    try:
        if not entry.is_symlink():
            return None if entry.is_file() else "a pipe or a device, no file"
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            return "a link to nothing"
        if not target.startswith(real.rstrip(os.sep) + os.sep):
            return "a link out of the corpus"
        return None if os.path.isfile(target) else "a link to a folder of the corpus, which is read where it is"
    except OSError as error:
        return f"cannot be read ({_cause(error)})"
