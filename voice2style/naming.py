"""Which recordings a command line means, and a name for each one's results that no other one gets."""

import os
import pathlib

AUDIO_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au",
                  ".m4a", ".aac", ".mp4", ".webm", ".wma", ".mka", ".mkv")


def find_recordings(given):
    """Returns (paths, faults) for files and folders; folders are searched through all their levels.

    Paths keep the order given, a folder's files are sorted, and a file that is met twice counts once.
    `faults` holds a sentence for each thing given that is missing, unreadable, or a folder without audio.
    """
    paths, faults, seen = [], [], set()
    for item in given:
        try:
            found = _recordings_of(item)
        except OSError as error:
            faults.append(f'cannot read "{error.filename or item}": {error.strerror or error}.')
            continue
        except ValueError as error:
            faults.append(str(error))
            continue
        for path in found:
            key = os.path.realpath(path)
            if key not in seen:
                seen.add(key)
                paths.append(path)
    return paths, faults


def _recordings_of(item):
    path = pathlib.Path(item)
    if not str(item) or not path.exists():
        raise ValueError(f'no such file or folder: "{item}".')
    return _in_folder(path) if path.is_dir() else [path]


def _in_folder(folder):
    def refuse(error):
        raise error

    found = [pathlib.Path(root, name) for root, _, names in os.walk(folder, onerror=refuse) for name in names
             if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith(".")]
    if not found:
        raise ValueError(f'no audio files in the folder "{folder}" (looked for {" ".join(AUDIO_SUFFIXES)}).')
    return sorted(found)


def unique_names(paths, *, reserved=()):
    """Returns one name per path, by which its results are called: the stem, or as much more as it takes.

    Paths whose stems agree (also when only upper and lower case differ) get their suffix added (a_wav,
    a_flac), then their folder (anna_a, bert_a), then both, then more folders. A name depends on the paths
    alone, so the same files give the same names whatever their order. `reserved` names are given to none.
    """
    paths = [pathlib.Path(os.path.abspath(path)) for path in paths]
    taken = {name.casefold() for name in reserved}
    levels = [0] * len(paths)
    while True:
        names = [_name(path, level) for path, level in zip(paths, levels)]
        counts = {}
        for name in names:
            counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
        clashing = [i for i, name in enumerate(names) if counts[name.casefold()] > 1 or name.casefold() in taken]
        if not clashing:
            return names
        for i in clashing:
            levels[i] += 1


def _name(path, level):
    """Returns stem, stem_suffix, folder_stem, folder_stem_suffix, ... ; then the same with a count added."""
    parents = path.parts[1:-1]
    num_parents = min(level // 2, len(parents))
    parts = [*parents[len(parents) - num_parents:], path.stem]
    if level % 2 and path.suffix:
        parts.append(path.suffix[1:])
    if level // 2 > len(parents):  # two files that differ only in what a name cannot show
        import hashlib

        parts.append(hashlib.sha256(os.fsencode(path)).hexdigest()[:8 + level])
    return "_".join(parts)
