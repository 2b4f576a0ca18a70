"""Joins voices and faces by identity: names are compared without case, accents and kinds of spaces; tables link ids.

    normalise_name("Zoë  Märker") == normalise_name("zoe_marker")

Everybody with the same normalised name, or whom a table links, is one person. Nobody is guessed: names that only look
alike are named in the reason for setting them aside.
"""

import dataclasses
import difflib
import functools
import re
import unicodedata

from training.datasets.identity_tables import ID, gender_of

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th",
                          "’": "'", "‘": "'", "ʼ": "'", "`": "'", "‐": "-", "‑": "-", "–": "-"})
_MOST_COMPARISONS = 400_000


@functools.lru_cache(maxsize=1 << 16)  # a name comes with each of its files
def normalise_name(name):  # str -> str
    """The form in which names are compared: no accents, no case, spaces and underscores one "_"; dots are kept."""
    before, text = None, str(name)
    while text != before:  # case folding can bring forth what decomposes, and the other way round
        before = text
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf"))
        text = re.sub(r"[\s_]+", "_", text).strip("_")
    return text


def is_id(name):
    """Whether a name is an id of VoxCeleb or VGGFace2, which says nothing by itself."""
    return ID.fullmatch(name) is not None


@dataclasses.dataclass
class Joined:
    """One person while a plan is made; `keys` are all normalised names and ids."""

    label: str  # the person's key in the dataset
    keys: frozenset
    name: str | None  # normalised, None if only ids are known
    ids: tuple
    gender: str | None
    nationality: str | None
    rows: tuple  # of (table number, IdentityRow)
    items: list


class Identities:
    """Who is who, by tables: a partition of normalised names and ids."""

    def __init__(self, tables=()):
        self.tables = list(tables)
        self.notes = []
        self._parent, self._rows, self._spelling, self._name_of = {}, {}, {}, {}
        for number, table in enumerate(self.tables):
            by_name = {}
            for row in table.rows:
                self._add(number, table, row, by_name)

    def key(self, raw):  # str -> str
        """The key of the person whom a corpus calls so: the same for all of the person's names and ids."""
        return self._find(normalise_name(raw))

    def knows(self, raw):
        """Whether a table names this name or id."""
        return normalise_name(raw) in self._parent

    def rows_of(self, key):  # -> tuple of (table number, IdentityRow), in the order of the tables
        """The rows of the tables that speak of a person."""
        return tuple(self._rows.get(key, ()))

    def _add(self, number, table, row, by_name):
        words = [*row.ids, *([row.name] if row.name else [])]
        keys = [key for key in map(normalise_name, words) if key]
        if not keys:
            return
        name = normalise_name(row.name) if row.name else None
        for key in keys:
            known = self._name_of.setdefault(key, name) if key != name and name else None
            if known and known != name:
                self.notes.append(f'"{table.path}" calls {key} "{row.name}", a table before it "{known}"; '
                                  "the one before counts.")
                return
        if name and row.ids:
            first = by_name.setdefault(name, row)
            if first is not row and set(first.ids) != set(row.ids):
                self.notes.append(f'"{table.path}" has "{row.name}" more than once ({", ".join(first.ids)} and '
                                  f"{', '.join(row.ids)}); they count as one person.")
        for word, key in zip(words, keys):
            self._parent.setdefault(key, key)
            self._spelling.setdefault(key, word)
        kept = self._find(keys[0])
        for key in keys[1:]:
            other = self._find(key)
            if other != kept:
                self._parent[other] = kept
                self._rows[kept] = self._rows.get(kept, []) + self._rows.pop(other, [])
        self._rows.setdefault(kept, []).append((number, row))

    def _find(self, key):
        while (above := self._parent.get(key, key)) != key:
            self._parent[key] = key = self._parent.get(above, above)
        return key


def join(items, identities):  # iterable of Item, Identities -> list of Joined
    """The people of the items, in the order of their labels; each keeps its items in the given order."""
    keys, groups, spellings = {}, {}, {}
    for item in items:
        key = keys.get(item.person)
        if key is None:
            key = keys[item.person] = identities.key(item.person)
            spellings.setdefault(key, []).append(item.person)
        groups.setdefault(key, []).append(item)
    people = [_person(key, spellings[key], group, identities) for key, group in groups.items()]
    return sorted(people, key=lambda person: (person.name or person.label, person.label))


def _person(key, spellings, items, identities):
    rows = sorted(identities.rows_of(key), key=lambda pair: (pair[0], pair[1].index))
    named = [row.name for _, row in rows if row.name] + sorted(word for word in spellings if not is_id(word))
    ids = {word for _, row in rows for word in (*row.ids, *([row.name] if row.name else []))} | set(spellings)
    said = [item.extra for item in items if "gender" in item.extra or "nationality" in item.extra]
    gender = [row.gender for _, row in rows] + [gender_of(extra.get("gender")) for extra in said]
    nationality = [row.nationality for _, row in rows] + [extra.get("nationality") for extra in said]
    label = _label(named[0] if named else min(ids))
    return Joined(
        label=label,
        keys=frozenset(map(normalise_name, ids)),
        name=normalise_name(label) if named else None,
        ids=tuple(sorted(ids)),
        gender=_agreed(gender, label, "gender", identities.notes),
        nationality=_agreed(nationality, label, "nationality", identities.notes),
        rows=tuple(rows),
        items=items,
    )


def _label(name):
    return re.sub(r"[\s_]+", "_", unicodedata.normalize("NFC", name)).strip("_")


def _agreed(values, label, what, notes):
    """The first value that is said; a note if others differ."""
    said = [value for value in dict.fromkeys(values) if value]
    if len(said) > 1:
        notes.append(f'{label}: the {what} is said to be {" and ".join(said)}; "{said[0]}" counts.')
    return said[0] if said else None


def explain_unpaired(people, identities):  # list of Joined -> {label: reason}
    """Why each person who has only voices, or only faces, cannot be used; with the other side's name if one is near."""
    sides = {"voice": [], "face": []}
    for person in people:
        kinds = {item.kind for item in person.items}
        if len(kinds) == 1:
            sides[kinds.pop()].append(person)
    reasons = {}
    for kind, other in (("voice", "face"), ("face", "voice")):
        near = _near_names(sides[kind], sides[other])
        for person in sides[kind]:
            reason = f"no {other} of this person was found"
            if person.name is None and not identities.knows(person.label):
                reason += f'; no table says who "{person.label}" is (give vox1_meta.csv or the like by --meta)'
            elif person.label in near:
                reason += f'; "{near[person.label]}" is spelled nearly so (a table of --meta can join them)'
            reasons[person.label] = reason
    return reasons


def _near_names(some, others):  # -> {label of some: label of others}
    """Names that differ in marks between letters only, or by so little that it may be a slip."""
    bare = {re.sub(r"[\W_]+", "", other.name): other.label for other in others if other.name}
    names = {other.name: other.label for other in others if other.name}
    few = len(some) * len(names) <= _MOST_COMPARISONS  # the comparison letter by letter is slow
    found = {}
    for person in some:
        letters = re.sub(r"[\W_]+", "", person.name or "")
        close = difflib.get_close_matches(person.name, names, n=1, cutoff=0.9) if few and person.name else ()
        if letters in bare or close:
            found[person.label] = bare.get(letters) or names[close[0]]
    return found
