"""Counts people, faces and clips by split, gender and nationality, and holds them against the published numbers."""

import collections
import dataclasses

from dnnlib.console import table

SPLITS = ("train", "val", "test")
_UNKNOWN = "unknown"
_SHOWN = 10
_FULL_VOXCELEB1 = 1200  # people with voices, out of 1251, from which on a corpus is meant to be the whole one

# Voices, faces and people of voice2face's split of VoxCeleb1 and VGGFace (Wen et al. 2019; the method paper), and the
# names of vox1_meta.csv that fall into each split before faces are looked for.
PUBLISHED = {"voices": (113322, 14182, 21850), "faces": (106584, 12533, 20455), "people": (924, 112, 189)}
PUBLISHED_NAMES = (942, 116, 193)


@dataclasses.dataclass
class SplitCounts:
    """What one split holds."""

    people: int = 0
    faces: int = 0
    voices: int = 0
    genders: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    nationalities: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    gender_by_nationality: collections.Counter = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class Counts:
    """Counts by split; "all" is their sum."""

    splits: dict  # "train", "val", "test" -> SplitCounts

    @property
    def all(self):
        """The sum over the splits."""
        total = SplitCounts()
        for part in self.splits.values():
            for field in dataclasses.fields(SplitCounts):
                setattr(total, field.name, getattr(total, field.name) + getattr(part, field.name))
        return total

    def table(self):
        """Markdown: people, faces, clips and genders by split, then nationalities by split."""
        columns = {**self.splits, "all": self.all}
        genders = sorted(self.all.genders, key=lambda name: (name == _UNKNOWN, name))
        rows = [[what, *(getattr(part, what) for part in columns.values())] for what in ("people", "faces", "voices")]
        rows += [[f"gender {_word(name)}", *(part.genders[name] for part in columns.values())] for name in genders]
        common = [name for name, _ in _ordered(self.all.nationalities)]
        shown, rest = common[:_SHOWN], common[_SHOWN:]
        rows += [[name if name != _UNKNOWN else "nationality unknown",
                  *(part.nationalities[name] for part in columns.values())] for name in shown]
        if rest:
            rows.append([f"{len(rest)} other nationalities",
                         *(sum(part.nationalities[name] for name in rest) for part in columns.values())])
        return table(rows, ["", *columns])

    def to_dict(self):
        """Plain values for a card: {"train": {"people": n, ..., "genders": {...}, "nationalities": {...}}, ...}."""
        plain = {}
        for split, part in {**self.splits, "all": self.all}.items():
            nested = {}
            for (gender, nationality), number in sorted(part.gender_by_nationality.items()):
                nested.setdefault(nationality, {})[gender] = number
            plain[split] = {"people": part.people, "faces": part.faces, "voices": part.voices,
                            "genders": dict(sorted(part.genders.items())),
                            "nationalities": dict(_ordered(part.nationalities)), "nationality_by_gender": nested}
        return plain


def count(people, items):  # iterables of Person and of Item -> Counts
    """The Counts of a plan."""
    splits = {split: SplitCounts() for split in SPLITS}
    for person in people:
        part = splits[person.split]
        gender, nationality = person.gender or _UNKNOWN, person.nationality or _UNKNOWN
        part.people += 1
        part.genders[gender] += 1
        part.nationalities[nationality] += 1
        part.gender_by_nationality[gender, nationality] += 1
    for item in items:
        part = splits[item.split]
        if item.kind == "face":
            part.faces += 1
        else:
            part.voices += 1
    return Counts(splits)


def compare_with_published(counts, unpaired, tables, place):
    """Lines on the published counts: equal, or what differs and who is missing. [] for a part of the corpora.

    `unpaired`: {label: (split, "voice" or "face")} of people who were set aside for lack of the other side;
    `tables`: IdentityTables; `place(name)` -> the split of a name. Only for the split voice2face.
    """
    meta = next((table for table in tables if table.file_name.lower() == "vox1_meta.csv"), None)
    heard = counts.all.people + sum(kind == "voice" for _, kind in unpaired.values())
    if meta is None or heard < _FULL_VOXCELEB1:
        return []
    names = collections.Counter(place(row.name) for row in meta.rows if row.name)
    lines = [_compare("names in vox1_meta.csv", [names[split] for split in SPLITS], PUBLISHED_NAMES)]
    for what, numbers in PUBLISHED.items():
        lines.append(_compare(what, [getattr(counts.splits[split], what) for split in SPLITS], numbers))
    for index, split in enumerate(SPLITS):
        lacking = sorted(label for label, (where, kind) in unpaired.items() if where == split and kind == "voice")
        expected = PUBLISHED_NAMES[index] - PUBLISHED["people"][index]
        if len(lacking) != expected:
            lines.append(f"{split}: {len(lacking)} people of VoxCeleb1 have no face here, {expected} in the published "
                         f"join: {_first_names(lacking)}.")
    return lines


def _compare(what, found, published):
    text = f"{what} (train/val/test): {'/'.join(map(str, found))}, published {'/'.join(map(str, published))}"
    if list(found) == list(published):
        return f"{text}: equal."
    return f"{text}: they differ by {'/'.join(f'{a - b:+d}' for a, b in zip(found, published))}."


def _first_names(names):
    more = len(names) - _SHOWN
    return (", ".join(names[:_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")


def _ordered(counter):
    return sorted(counter.items(), key=lambda pair: (pair[0] == _UNKNOWN, -pair[1], pair[0]))


def _word(gender):
    return {"m": "male", "f": "female"}.get(gender, gender)
