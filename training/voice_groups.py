"""Which groups a dataset knows of its people: gender, age (decades), nationality, and their combinations."""

import itertools

_DRAWN_KINDS = {1: "m", -1: "f"}  # the two kinds of speakers of the drawn world, by the group of its person rows
_YEARS, _YEARS_PER_UNIT = 48.0, 17.3  # of the drawn world's heard age
_MOST_COMBINED = 3


def person_table(dataset):
    """Returns person -> manifest row."""
    return {row["person"]: row for row in dataset.people()}


def known_groups(dataset, people):
    """Returns grouping -> {person: label} for what is known of these people, single groupings first.

    "gender", "age" (decade: "40s"), "nationality", then "gender+age" and so on. A grouping that is known of nobody, or
    that has one label only, is left out; a person of whom part is unknown has the label None.
    """
    rows = person_table(dataset)
    readers = {"gender": _gender, "age": _decade, "nationality": lambda row: row.get("nationality") or None}
    single = {}
    for name, read in readers.items():
        labels = {person: read(rows.get(person, {})) for person in people}
        if len({label for label in labels.values() if label is not None}) > 1:
            single[name] = labels
    found = dict(single)
    for count in range(2, _MOST_COMBINED + 1):
        for names in itertools.combinations(single, count):
            found["+".join(names)] = {person: _joined([single[name][person] for name in names]) for person in people}
    return found


def title_of(grouping):
    """Returns a grouping in words: "gender+age" as "gender and age"."""
    *first, last = grouping.split("+")
    return f"{', '.join(first)} and {last}" if first else last


def strictest(groups):
    """Returns the name of the grouping with the most parts, or None."""
    return max(groups, key=lambda name: name.count("+"), default=None)


def _gender(row):
    if row.get("gender") not in (None, ""):
        return str(row["gender"])
    return _DRAWN_KINDS.get(row.get("group"))


def _decade(row):
    age = row.get("age")
    if age in (None, "") and isinstance(row.get("heard"), dict) and "age" in row["heard"]:
        age = _YEARS + _YEARS_PER_UNIT * row["heard"]["age"]
    try:
        return f"{int(float(age)) // 10 * 10}s"
    except (TypeError, ValueError):
        return str(age) if age not in (None, "") else None


def _joined(labels):
    return None if any(label is None for label in labels) else " ".join(labels)
