"""What a checkpoint says about itself: enough to rebuild the model without asking anyone."""

import dataclasses

from dnnlib.settings import from_dict, to_dict

FORMAT = "voice2style/1"


@dataclasses.dataclass(frozen=True)
class Part:
    """A row of a table (`ENCODERS`, `GENERATORS`, …) plus plain options for it."""

    kind: str
    options: dict


@dataclasses.dataclass(frozen=True)
class Card:
    """The card in a checkpoint's metadata.

    `audio` holds the fields of AudioSettings; `encoder`, `generator`, `discriminator` say how to rebuild
    each network (None: the file has none); `source` tells where the weights come from; `licence` is theirs.
    """

    generator: Part
    format: str = FORMAT
    audio: dict | None = None
    encoder: Part | None = None
    discriminator: Part | None = None
    source: dict = dataclasses.field(default_factory=dict)
    licence: str = "unknown"

    def to_dict(self):
        """Returns the card as plain JSON."""
        return to_dict(self)

    @staticmethod
    def from_dict(values, *, where="the card"):
        """Returns the card; ValueError for another format version or an unknown key."""
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            raise ValueError(f'{where} has format "{found}"; this version of voice2style reads "{FORMAT}".')
        card = from_dict(Card, values, where=where)
        notes = card.source.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise ValueError(f"{where}: source: notes: expected a list of sentences, got {str(notes)[:80]}.")
        return card
