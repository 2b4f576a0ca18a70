"""Decides which entries of a zip from strangers may be used, by its directory alone: nothing is unpacked."""

import re
import stat
import zipfile

MAX_DEPTH = 32  # folders within folders
_LEFTOVERS = {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BOMB_BYTES, _BOMB_RATIO = 64 << 20, 100  # pictures and speech never shrink to a hundredth
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


def refuse_name(name):  # -> str or None
    """Why a file or folder of this name (one part of a path) is not read, whatever it holds; None if it may be."""
    if name.startswith(".") or name.lower() in _LEFTOVERS:
        return "a hidden file, or one that an operating system left"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    return "its name holds a control character; rename it" if _CONTROL.search(name) else None


def list_archive(path, reject):  # -> list of the paths of files, unsorted
    """The usable files of the zip at `path`; each of the others goes to reject(path, reason).

    ValueError if the directory of the zip cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise ValueError(f'"{path}" is not a zip that can be read ({error}).') from error
    overlapping = _overlapping(entries)
    files, empty, verdicts = {}, set(), {"": None}
    for entry in entries:
        name = entry.filename
        if reason := _refuse_path(name):
            reject(name, reason)
        elif _allow_folders(name, verdicts, reject):
            if entry.is_dir():
                empty.add(name)
            elif reason := _refuse_entry(entry, name in files, overlapping):
                reject(name, reason)
                empty.discard(_folder_of(name))
                files.setdefault(_folder_of(name), None)
            else:
                files[name] = name
    filled = {folder for name in [*files, *empty] for folder in _folders_above(name)} | files.keys()
    for folder in sorted(empty - filled):
        reject(folder, "an empty folder")
    return [name for name in files.values() if name is not None]


def _folder_of(name):  # "a/b" and "a/b/" -> "a/"
    return name.rstrip("/").rpartition("/")[0] + "/"


def _folders_above(name):  # "a/b/c" and "a/b/c/" -> "a/", "a/b/"
    parts = name.rstrip("/").split("/")[:-1]
    return ["/".join(parts[: count + 1]) + "/" for count in range(len(parts))]


def _allow_folders(name, verdicts, reject):
    """Whether all folders above (and a folder itself) have names that may be read; each refusal is reported once."""
    for folder in [*_folders_above(name), name] if name.endswith("/") else _folders_above(name):
        if folder not in verdicts:
            verdicts[folder] = refuse_name(folder[:-1].rpartition("/")[2])
            if verdicts[folder]:
                reject(folder, verdicts[folder])
        if verdicts[folder]:
            return False
    return True


def _refuse_path(name):
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name or {"", ".", ".."} & set(parts):
        return "a name that leads out of the zip, or is no plain path"
    return f"nested deeper than {MAX_DEPTH} folders" if len(parts) > MAX_DEPTH + 1 else None


def _refuse_entry(entry, is_known, overlapping):
    if reason := refuse_name(entry.filename.rpartition("/")[2]):
        return reason
    if is_known:
        return "a second file of this name in the zip"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link in a zip"
    if entry.flag_bits & 1:
        return "encrypted"
    if entry.compress_type not in _METHODS:
        return f"compressed by method {entry.compress_type}, which is not known here"
    if entry.header_offset in overlapping:
        return "shares its bytes with another file of the zip, as zip bombs do"
    if entry.file_size > _BOMB_BYTES and entry.file_size > _BOMB_RATIO * entry.compress_size:
        return f"a zip bomb: {entry.compress_size} bytes that unpack to {entry.file_size}"
    return None


def _overlapping(entries):  # -> offsets of entries whose bytes run into those of the next
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    return {
        offset
        for first, second in zip(ordered, ordered[1:])
        if first.header_offset + 30 + first.compress_size > second.header_offset  # 30 bytes: a local header's least
        for offset in (first.header_offset, second.header_offset)
    }
