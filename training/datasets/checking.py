"""Verifies a dataset: every file against its sha256, the manifest against its card, splits by person, strays."""

import collections
import hashlib

from training.dataset import Damaged
from training.datasets.writer import INDEX_NAME, SPLITS

_OWN_FILES = ("card.json", "manifest.jsonl", INDEX_NAME, "rejected.csv", "dataset.json")


def find_damage(dataset, *, progress=None):  # Dataset -> iterator of lines, none if all is well
    """Everything that is wrong with a dataset, one plain line each. `progress` is called with numbers of rows."""
    yield from _card_damage(dataset)
    split_of, seen, counts = {}, set(), collections.Counter()
    for name, rows in (("people", dataset.people()), ("faces", dataset.faces()), ("voices", dataset.voices())):
        for row in _read_rows(rows):
            if progress is not None:
                progress(1)
            if isinstance(row, ValueError):
                yield str(row)
                continue
            counts[name] += 1
            person, split = str(row["person"]), row["split"]
            if split_of.setdefault(person, split) != split:
                yield f'person "{person}" is in the splits {split_of[person]} and {split}.'
            if name != "people":
                if row["path"] in seen:
                    yield f'"{row["path"]}" is named twice in the manifest.'
                seen.add(row["path"])
                yield from _item_damage(dataset, name, row)
    stated = dataset.card.get("counts") or {}
    for name, count in stated.items():
        if name in ("people", "faces", "voices") and counts[name] != count and not (name == "people" and not counts):
            yield f"the card says {count} {name}, the manifest has {counts[name]}."
    for name in dataset.names():
        if name not in seen and name not in _OWN_FILES:
            yield f'"{name}" is in the dataset, but in no row of the manifest.'


def _read_rows(rows):  # -> iterator of rows, or of the error that a row gives
    for place in range(len(rows)):
        try:
            yield rows[place]
        except ValueError as error:
            yield error


def _card_damage(dataset):
    checksums = dataset.card.get("checksums", {})
    for name, digest in checksums.items():
        try:
            found = hashlib.sha256(dataset.read_file(name)).hexdigest()
        except ValueError as error:
            yield str(error)
            continue
        if found != digest:
            yield f'"{name}" was changed after the dataset was written: its sha256 is not that of the card.'
    for split in SPLITS:
        stated = (dataset.card.get("statistics") or {}).get("splits", {}).get(split, {})
        rows = {"people": dataset.people, "faces": dataset.faces, "voices": dataset.voices}
        for name, method in rows.items():
            if name in stated and stated[name] != len(method(split)):
                yield f"the card says {stated[name]} {name} in {split}, the manifest has {len(method(split))}."


def _item_damage(dataset, name, row):
    """What is wrong with the content of a row: unreadable, changed, or not what the row says."""
    try:
        if name == "faces":
            height, width = dataset.read_face(row).shape[:2]
            if (row.get("width", width), row.get("height", height)) != (width, height):
                yield f'"{row["path"]}" is {width}x{height}, its row says {row["width"]}x{row["height"]}.'
        elif "features" in row:
            if len(found := dataset.read_features(row)) != row.get("frames", len(found)):
                yield f'"{row["path"]}" has {len(found)} frames, its row says {row["frames"]}.'
        else:
            samples = len(dataset.read_voice(row))
            stated = row.get("seconds")
            if stated is not None and abs(samples - stated * row.get("sample_rate_hz", 16000)) > 1:
                yield f'"{row["path"]}" has {samples} samples, its row says {stated} s.'
    except (Damaged, OSError) as error:
        yield str(error)
