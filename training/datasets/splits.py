"""Divides people, never files, into train, val and test: by published rules, by a stable hash, or by a list.

    split = open_split("hash:80/10/10", identities=identities, find=find)
    split.place(person)      # -> ("train", None), or (None, why this person is in no split)
"""

import dataclasses
import hashlib
import re

from training.datasets.join import normalise_name
from training.datasets.layout_text import read_json, read_json_rows, read_table

SPLITS = ("train", "val", "test")
SPLIT_HELP = ("voice2face (alias wen), pins:FILE, sf2f, set, rows, file:FILE, or hash:TRAIN/VAL/TEST "
              "with percentages such as hash:80/10/10")
_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}
_PINS = {"1": "train", "2": "val", "4": "test"}


@dataclasses.dataclass(frozen=True)
class Split:
    """A division of people: `name` as recorded, `place(Joined)` -> (split, None) or (None, reason), `notes`;
    `named` are the people of its list, if it has one: {key: name}."""

    name: str
    place: object
    notes: list = dataclasses.field(default_factory=list)
    named: dict = dataclasses.field(default_factory=dict)


def open_split(text, *, identities, find):
    """The Split that a text such as "hash:80/10/10" names.

    `find(name)` gives (binary file, path) of a list: a path, or the name of one that lies in a corpus, or None.
    ValueError says what is known.
    """
    word, _, rest = str(text).strip().partition(":")
    word = word.lower()
    if word in ("voice2face", "wen") and not rest:
        return Split("voice2face", _by_first_letter)
    if word == "hash":
        return _by_hash(rest or "80/10/10")
    if word == "sf2f" and not rest:
        return _by_row_number(identities)
    if word == "set" and not rest:
        return Split("set", _by_column_set)
    if word == "rows" and not rest:
        return Split("rows", _by_rows)
    if word == "pins":
        return _by_list("pins", rest or "identity_splits.txt", find, identities, _PINS)
    if word == "file" and rest:
        return _by_list("file", rest, find, identities, _WORDS)
    if word == "iden_split":
        raise ValueError("iden_split.txt divides the recordings of the same people, so its test people are heard in "
                         f"training; a dataset is divided by person. Known splits: {SPLIT_HELP}.")
    raise ValueError(f'no split "{text}"; there are {SPLIT_HELP}.')


def _by_first_letter(person):
    """F to Z train, A and B val, C to E test: the 924, 112 and 189 people of voice2face (Wen et al. 2019)."""
    if person.name is None:
        return None, "the split voice2face goes by names, and no table says the name of this id (--meta)"
    letter = person.name[0]
    if not "a" <= letter <= "z":
        return None, f'the split voice2face goes by the letters A to Z, and this name begins with "{letter}"'
    return ("val" if letter <= "b" else "test" if letter <= "e" else "train"), None


def _by_hash(text):
    match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", text)
    shares = [float(share) for share in match.groups()] if match else []
    if not shares or abs(sum(shares) - 100) > 1e-6:
        raise ValueError(f'"hash:{text}": three percentages for train, val and test that sum to 100 are needed, '
                         "such as hash:80/10/10.")

    def place(person):
        place = 100 * hash_share(person.name or min(person.keys))
        return ("train" if place < shares[0] else "val" if place < shares[0] + shares[1] else "test"), None

    return Split("hash:" + "/".join(f"{share:g}" for share in shares), place)


def hash_share(text):  # str -> float in [0, 1)
    """A number that a text always has, evenly spread: who else is in the corpus does not matter."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def _by_row_number(identities):
    """SF2F: the number of the row in its meta file, from 0; ending in 8 is test, in 9 val. By name across tables."""
    notes = []
    if not identities.tables:
        raise ValueError("the split sf2f goes by the rows of vox1_meta.csv and full_vox2_meta.csv; "
                         "give them by --meta or beside the voices.")

    def place(person):
        rows = [(number, row) for number, row in person.rows if _is_voxceleb(identities.tables[number].file_name)]
        if not rows:
            return None, "in no row of vox1_meta.csv, vox2_meta.csv or full_vox2_meta.csv, by which sf2f divides"
        places = {number: {8: "test", 9: "val"}.get(row.index % 10, "train") for number, row in reversed(rows)}
        if len(set(places.values())) > 1:
            said = " and ".join(f"{split} by {identities.tables[number].file_name}"
                                for number, split in sorted(places.items()))
            notes.append(f"{person.label} is {said}; the first counts.")
        return places[min(places)], None

    return Split("sf2f", place, notes)


def _is_voxceleb(name):
    return re.search(r"vox[12]", name.lower()) is not None


def _by_column_set(person):
    """The column Set of the meta files: dev is train, test is test."""
    for _, row in person.rows:
        if row.subset and row.subset.lower() in ("dev", "train", "test", "val"):
            return {"dev": "train"}.get(row.subset.lower(), row.subset.lower()), None
    return None, "no table has a column Set that speaks of this person"


def _by_rows(person):
    """What the corpus's own rows say."""
    said = {item.split for item in person.items if item.split}
    if len(said) == 1 and (split := split_word(min(said))):
        return split, None
    if not said:
        return None, "no row of this person says a split"
    return None, f"the rows of this person say {', '.join(sorted(said))}; one of {', '.join(SPLITS)} is needed"


def split_word(text):  # -> "train", "val", "test" or None
    """The split that a word such as "valid" means."""
    return _WORDS.get(str(text).strip().lower())


def _by_list(name, wanted, find, identities, words):
    found = find(wanted)
    if found is None:
        raise ValueError(f'the split {name} needs its list, and there is no "{wanted}"; give it as {name}:FILE.')
    file, path = found
    with file:
        pairs = list(read_split_list(file, path))
    places, named = {}, {}
    for person, word in pairs:
        split = words.get(word.strip().lower())
        if split is None:
            raise ValueError(f'"{path}" puts "{person}" into "{word}"; known are {", ".join(words)}.')
        key = identities.key(person)
        named.setdefault(key, person)
        if places.setdefault(key, split) != split:
            raise ValueError(f'"{path}" puts "{person}" into both {places[key]} and {split}.')

    def place(person):
        split = places.get(identities.key(min(person.keys)))
        return split, None if split else f'not in "{path}"'

    return Split(f"{name}:{path}", place, named=named)


def read_split_list(file, path):  # binary file -> iterator of (person, word)
    """Who is where in a list: JSON, JSONL, a table with columns, or lines of a name and a word."""
    suffix = path.lower().rpartition(".")[2]
    if suffix == "json":
        yield from _from_json(read_json(file, path), path)
    elif suffix == "jsonl":
        for line, row in read_json_rows(file, path):
            if not {"person", "split"} <= row.keys():
                raise ValueError(f'line {line} of "{path}" lacks "person" or "split".')
            if row.get("kind", "person") == "person":
                yield str(row["person"]), str(row["split"])
    else:
        yield from _from_lines(read_table(file, path, has_header=False), path)


def _from_lines(table, path):
    header = None
    for line, cells in table.rows:
        if header is None:
            words = [cell.lower() for cell in cells]
            titles = [title for title in ("person", "name", "id", "identity") if title in words]
            header = (words.index(titles[0]), words.index("split")) if titles and "split" in words else (0, 1)
            if header != (0, 1) or "split" in words:
                continue
        if len(cells) <= max(header):
            raise ValueError(f'line {line} of "{path}" is "{" ".join(cells)}"; a name and a split are needed '
                             f"(read as {table.how}).")
        yield cells[header[0]], cells[header[1]]


def _from_json(value, path):
    """{"person": "train"}, {"train": [people]}, or those under names of corpora as in HQ-VoxCeleb's split.json."""
    if not isinstance(value, dict):
        raise ValueError(f'"{path}" is no JSON object of people and splits.')
    for key, inner in value.items():
        if isinstance(inner, str):
            yield key, inner
        elif isinstance(inner, list):
            if not all(isinstance(person, str) for person in inner):
                raise ValueError(f'"{path}": the list "{key}" holds something else than names.')
            yield from ((person, key) for person in inner)
        elif isinstance(inner, dict):
            yield from _from_json(inner, path)
        else:
            raise ValueError(f'"{path}": "{key}" is neither a split nor a list of people.')


def place_people(people, split):  # list of Joined, Split -> {label: split}, {label: reason}
    """Everybody's split, and why somebody has none."""
    places, reasons = {}, {}
    for person in people:
        found, reason = split.place(person)
        if found:
            places[person.label] = found
        else:
            reasons[person.label] = reason
    return places, reasons


def keys_of_names(names, identities):  # iterable of str -> {key: first spelling}
    """The keys of names or ids, however they are spelled."""
    return {identities.key(name): name for name in names if normalise_name(name)}
