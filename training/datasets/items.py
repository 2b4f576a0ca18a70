"""What reading a corpus yields: items (a face or a voice in a file), people, and rejections with their reasons."""

import dataclasses
import re

from training.datasets.counts import count

KINDS = ("face", "voice")


class Unusable(ValueError):
    """A file that cannot be used; the message is its reason in rejected.csv. Any other error ends a build."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A face or a voice of a person, by reference: nothing of its content has been read.

    A clip that is a part of its file has `start_s` and `end_s`. `extra` may hold:

    * `needs_av`: True for files that only PyAV decodes (m4a, mp4, ...),
    * `features`: "logmel64" for a .npy of log-mel features [T, 64] instead of a wave,
    * `face_centre`: (x, y) as shares of width and height,
    * whatever else the corpus says (`video`, `subset`, `pose`, ...): plain values, as they belong into a manifest.
    """

    kind: str  # "face" or "voice"
    path: str  # below the root, with "/", as written into reports
    root: str  # the folder or zip that holds it
    person: str  # as the corpus says: a name or an id; in a Plan: the person's key, the same for all of the person
    split: str = ""  # "train", "val" or "test"; "" until a Plan decides, unless the corpus itself says
    landmarks: tuple | None = None  # ((x, y), ...) in pixels of the file's picture: 5, 6, 68 or 478 points
    box: tuple | None = None  # (left, top, right, bottom) in pixels of the file's picture
    start_s: float | None = None
    end_s: float | None = None
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """A person of a Plan. `ids` are all ids and spellings by which the corpora know this person, sorted."""

    person: str
    split: str
    gender: str | None = None  # "m" or "f", where a table says so
    nationality: str | None = None
    ids: tuple = ()
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """Something that was found and is not used: where, whose (or ""), and why, in plain words."""

    path: str  # below the root; a folder ends in "/"
    person: str
    reason: str
    root: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a dataset will hold, before anything is decoded: everything in a stable order, whatever the machine.

    People are in the order of their normalised names; items in that of their people, faces before voices, then by root
    (as given) and path. `items` may be gone through more than once.
    """

    people: list  # of Person
    items: list  # of Item
    rejections: list  # of Rejection
    notes: list  # of str: what was recognised, read, joined twice, left out
    layout: str  # the layouts that were read, such as "voxceleb1, vggface"
    split_name: str
    tables: list = dataclasses.field(default_factory=list)  # paths of the tables and lists that were read

    def counts(self):
        """The Counts of people, faces and clips by split, gender and nationality."""
        return count(self.people, self.items)

    def summary(self):
        """Markdown: counts, notes, and how many files were set aside for which reason."""
        lines = [f"Layouts: {self.layout}. Split: {self.split_name}.", "", self.counts().table(), ""]
        lines += [f"* {note}" for note in self.notes]
        if self.rejections:
            lines += ["", f"{len(self.rejections)} set aside:", ""]
            lines += [f"* {number} x {reason}" for reason, number in self.reasons()]
        return "\n".join(lines) + "\n"

    def reasons(self):
        """(reason, number of rejections) from the most frequent on; what stands in quotes is left out."""
        numbers = {}
        for rejection in self.rejections:
            reason = re.sub(r'"[^"]*"', '"..."', rejection.reason)
            numbers[reason] = numbers.get(reason, 0) + 1
        return sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0]))
