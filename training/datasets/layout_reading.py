"""What a layout is: how it is recognised and how it is read; the seam that every layout's file fills."""

import dataclasses

from training.datasets.items import Rejection

RECOGNISED_SHARE = 0.5  # of the sampled files of a kind: real trees hold other files as well
KIND_WORDS = {"face": "pictures", "voice": "recordings"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A row of LAYOUTS. `looks_for` is one phrase on what it expects, by kind ("face", "voice").

    `recognise(tree, kind)` gives one phrase of evidence, or None. `items(tree, kind, findings)` yields Items of that
    kind; whatever it does not yield goes to `findings`.
    """

    name: str
    looks_for: dict
    recognise: object
    items: object


@dataclasses.dataclass
class Findings:
    """What reading a root brought besides items. `kinds`: the kinds that are wanted of this root."""

    root: str
    kinds: frozenset
    rejections: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    tables: dict = dataclasses.field(default_factory=dict)  # path of a table or list -> what it was used for
    layouts: list = dataclasses.field(default_factory=list)  # names of the layouts that were read

    def reject(self, path, reason, person=""):
        """Sets a path aside."""
        self.rejections.append(Rejection(path, person, reason, self.root))

    def is_first(self, kind):
        """Whether this is the pass in which what belongs to no kind is reported: once a root, not once a kind."""
        return kind == min(self.kinds)


def read_paths(tree, kind, findings, parse):
    """Yields parse(path) for the files of a kind; where that is a reason (str), the file is set aside."""
    for path in tree.of_kind(kind):
        found = parse(path)
        if isinstance(found, str):
            findings.reject(path, found)
        else:
            yield found


def recognise_names(tree, kind, pattern, form):
    """Evidence that at least half of the files of a kind match a compiled pattern, or None."""
    sample = tree.sample(kind)
    number = sum(pattern.search(path) is not None for path in sample)
    return describe(number, len(sample), kind, form) if number and number >= RECOGNISED_SHARE * len(sample) else None


def describe(number, total, kind, form):
    """The phrase of evidence: how many of the sampled files have a form of name."""
    return f"{number} of {total} {KIND_WORDS[kind]} looked at are named {form}"
