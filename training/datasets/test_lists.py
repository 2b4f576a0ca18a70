"""Reads published test lists, and refuses to train on their people."""

import re

from training.datasets.join import is_id, normalise_name
from training.datasets.layout_text import open_lines
from training.datasets.splits import keys_of_names, read_split_list

_SHOWN = 10
_PATH = re.compile(r"(?:^|/)(?P<person>[^/]+)/(?:1\.6/)?[\w-]{11}(?:_\d{7}\.\w+$|/)")
_TITLES = {"person", "name", "identity", "id", "names", "people", "split", "gender", "label", "path", "probe", "match"}


def read_test_list(file, path, identities):  # binary file, str -> {key: name or id as written}
    """The test people of a list: Nagrani's splits and trials, VoxCeleb's pairs, meta files, split.json, or names.

    ValueError if nobody is named. Ids are resolved by the tables of `identities`.
    """
    if path.lower().endswith((".json", ".jsonl")):
        names = [name for name, word in read_split_list(file, path) if word == "test"]
    else:
        lines, _ = open_lines(file, path)
        names = list(_names([line.strip() for line in lines if line.strip()]))
    found = keys_of_names(names, identities)
    if not found:
        raise ValueError(f'"{path}" names no test people that could be read; a line each with a name, an id, or paths '
                         "such as id10270/5r0dWxy17C8/00001.wav are understood.")
    return found


def check_leakage(people, places, lists, identities):
    """Notes about people of val who are in test lists. ValueError, with names, if people of train are.

    `people`: Joined; `places`: {label: split}; `lists`: {path: {key: name}}.
    """
    notes = []
    for path, named in lists.items():
        leaked = {"train": [], "val": []}
        for person in people:
            if places.get(person.label) in leaked and identities.key(min(person.keys)) in named:
                leaked[places[person.label]].append(person.label)
        if leaked["train"]:
            raise ValueError(f'{len(leaked["train"])} of the {len(named)} test people of "{path}" would be trained on: '
                             f"{shorten(leaked['train'])}. Choose another --split, or leave that test list out and do "
                             "not report results on it.")
        inside = sum(places.get(person.label) == "test" and identities.key(min(person.keys)) in named
                     for person in people)
        blind = [name for key, name in named.items() if is_id(normalise_name(name)) and not identities.knows(name)
                 and not any(key in person.keys for person in people)]
        if blind:
            notes.append(f'test list "{path}": no table says who {len(blind)} of its ids are ({shorten(blind)}), so it '
                         "is not known whether they are in train under their names; give the table by --meta.")
        notes.append(f'test list "{path}": {len(named)} people, {inside} of them in test, none in train'
                     + (f"; {len(leaked['val'])} in val ({shorten(leaked['val'])})" if leaked["val"] else "") + ".")
    return notes


def shorten(names):
    """The first ten names and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(sorted(names)[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _names(lines):
    """Names and ids in the lines of a list, by the form of the first of them."""
    if not lines:
        return
    if re.search(r"\bset\b", lines[0], re.IGNORECASE) and re.search(r"\bid\b|name", lines[0], re.IGNORECASE):
        yield from _meta_names(lines)
        return
    if all(re.fullmatch(r"\S.*?[\s,;]+[1-4]", line) and "/" not in line for line in lines[:50]):
        yield from (re.split(r"[\s,;]+(?=\d$)", line)[0] for line in lines if line.endswith("4"))
        return
    for number, line in enumerate(lines):
        words = re.split(r"[\s,;|]+", line)
        paths = [match["person"] for word in words if (match := _PATH.search(word))]
        if paths:
            yield from paths
        elif "/" in line:
            yield from (word.split("/")[0] for word in words if "/" in word)
        elif number or not set(line.lower().replace(",", " ").split()) & _TITLES:
            yield words[0] if is_id(words[0]) else re.split(r"[\t,;|]", line)[0]


def _meta_names(lines):
    """Ids and names of the rows of a meta file whose column Set is test."""
    cells = [re.split(r"\s*[\t,;|]\s*", line.strip(" ,")) for line in lines]
    column = next(i for i, cell in enumerate(cells[0]) if cell.strip().lower() == "set")
    yield from (row[0] for row in cells[1:] if len(row) > column and row[column].strip().lower() == "test")
