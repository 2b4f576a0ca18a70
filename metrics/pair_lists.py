"""Reads the lists of pairs and trials that the field compares on (Learnable PINs, VoxCeleb), in both path styles.

    matching_{v2f,f2v}_{U,G,N,GN}.csv    probe match impostor [impostor ...], separated by spaces; the first is right
    veriflist_test_*.txt    CSV with the header id,voice-speaker-id,face-speaker-id,label,voice-path,face-path

Every path becomes a key (person, video, number), the same for the old and the new style of naming a file.
"""

import csv
import dataclasses
import pathlib
import re

VERIFICATION_HEADER = ("id", "voice-speaker-id", "face-speaker-id", "label", "voice-path", "face-path")
_VOICE, _FACE = {".wav", ".m4a", ".flac", ".mp3", ".ogg", ".opus", ".aac"}, {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_CROP = re.compile(r"\d+\.\d+")  # "1.6", the folder of the crop factor in the new style of faces


@dataclasses.dataclass(frozen=True)
class MatchingList:
    """Trials of a matching list: keys of the probes [T] and of the candidates [T][N], the right one first."""

    path: str
    direction: str  # "v2f": a voice and faces to choose from, or "f2v"
    probes: list
    candidates: list


@dataclasses.dataclass(frozen=True)
class VerificationList:
    """Pairs of a verification list: keys of voices and faces, their speakers as the list names them, and labels."""

    path: str
    voices: list
    faces: list
    people: list  # of (voice speaker, face speaker)
    labels: list  # True: one person


def voice_key(path):  # -> (person, video, number)
    """Returns the key of a clip: `id10002/<video>/00001.wav` or, old style, `<Name>/<video>_0000001.wav`."""
    parts, stem = _parts(path, _VOICE, "voice")
    if len(parts) == 3:
        return parts[0], parts[1], stem.lstrip("0") or "0"
    if match := re.fullmatch(r"(.+)_(\d+)", stem):
        return parts[0], match[1], match[2].lstrip("0") or "0"
    return parts[0], "", stem


def face_key(path):  # -> (person, video, number)
    """Returns the key of a picture: `<Name>/1.6/<video>/<frame>.jpg` or, old style, `<Name>/<video>/<frame>.jpg`."""
    parts, stem = _parts(path, _FACE, "face")
    if len(parts) > 2 and _CROP.fullmatch(parts[1]):
        parts = [parts[0], *parts[2:]]
    return parts[0], "/".join(parts[1:-1]), stem.lstrip("0") or "0"


def is_voice(path):
    """Returns True for the path of a clip, False for that of a picture; ValueError for neither."""
    suffix = pathlib.PurePosixPath(path).suffix.lower()
    if suffix not in _VOICE | _FACE:
        raise ValueError(f'"{path}" ends neither like a clip ({", ".join(sorted(_VOICE))}) nor like a picture '
                         f'({", ".join(sorted(_FACE))}).')
    return suffix in _VOICE


def read_matching(path):
    """Returns the MatchingList of a file; ValueError names the line that does not fit."""
    probes, candidates, direction = [], [], None
    for number, line in _lines(path):
        fields = line.split()
        if number == 1 and not any(pathlib.PurePosixPath(field).suffix for field in fields):
            continue  # a header
        where = f'line {number} of "{path}"'
        if len(fields) < 3:
            raise ValueError(f"{where} has {len(fields)} fields; a matching list has probe, match and one impostor or "
                             "more, separated by spaces.")
        if candidates and len(fields) != len(candidates[0]) + 1:
            raise ValueError(f"{where} has {len(fields) - 1} candidates, the lines before {len(candidates[0])}.")
        try:
            kinds = [is_voice(field) for field in fields]
            found = "v2f" if kinds[0] else "f2v"
            if len(set(kinds[1:])) != 1 or kinds[0] == kinds[1] or found != (direction or found):
                raise ValueError("a probe and its candidates are a voice and faces, or a face and voices, "
                                 "the same in every line.")
            keys = [(voice_key if voice else face_key)(field) for voice, field in zip(kinds, fields)]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        direction = found
        probes.append(keys[0])
        candidates.append(tuple(keys[1:]))
    if not probes:
        raise ValueError(f'"{path}" has no trials.')
    return MatchingList(str(path), direction, probes, candidates)


def read_verification(path):
    """Returns the VerificationList of a file; ValueError names the line that does not fit."""
    found = VerificationList(str(path), [], [], [], [])
    columns = None
    for number, line in _lines(path):
        (fields,) = csv.reader([line], skipinitialspace=True)
        where = f'line {number} of "{path}"'
        if columns is None:
            columns = {name.strip(): place for place, name in enumerate(fields)}
            if missing := [name for name in VERIFICATION_HEADER[1:] if name not in columns]:
                raise ValueError(f'"{path}" has no column {", ".join(missing)}; a verification list begins with '
                                 f"{','.join(VERIFICATION_HEADER)}.")
            continue
        if len(fields) != len(columns):
            raise ValueError(f"{where} has {len(fields)} fields, the header {len(columns)}.")
        row = {name: fields[place].strip() for name, place in columns.items()}
        if row["label"] not in ("0", "1"):
            raise ValueError(f'{where} has the label "{row["label"]}"; 1 (one person) and 0 (two) are known.')
        try:
            found.voices.append(voice_key(row["voice-path"]))
            found.faces.append(face_key(row["face-path"]))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        found.people.append((row["voice-speaker-id"], row["face-speaker-id"]))
        found.labels.append(row["label"] == "1")
    if not found.labels:
        raise ValueError(f'"{path}" has no pairs.')
    return found


def read_list(path):
    """Returns a MatchingList or a VerificationList, whichever the first line says."""
    _, first = next(_lines(path), (0, ""))
    return read_verification(path) if "," in first and "label" in first else read_matching(path)


def _parts(path, suffixes, kind):
    name = pathlib.PurePosixPath(path.replace("\\", "/"))
    parts = [part for part in name.parts if part not in ("/", ".", "..")]
    if name.suffix.lower() not in suffixes or len(parts) < 2:
        raise ValueError(f'"{path}" is not the path of a {kind}: a folder of the person and a file that ends in '
                         f'{", ".join(sorted(suffixes))} are needed.')
    return parts, name.stem


def _lines(path):
    """Yields (number, line) of the lines that are not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
    except FileNotFoundError as error:
        raise ValueError(f'no such list: "{path}".') from error
    except IsADirectoryError as error:
        raise ValueError(f'"{path}" is a folder; give the file of a list.') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'"{path}" is not text; lists are text files (a pickle is not read here).') from error
