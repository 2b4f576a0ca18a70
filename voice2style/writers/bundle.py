"""Opens any readable file as a bundle: the tensors and settings of its networks, its voice path, and a card."""

import dataclasses
import pathlib

from dnnlib.files import fetch, sha256_file
from dnnlib.settings import to_dict
from torch_utils.checkpoint import load_checkpoint, part_of, read_card
from voice2style.card import Card, Part
from voice2style.foreign import read

ROLES = ("G_ema", "G", "D")
UNKNOWN_LICENCE = "unknown: the licence under which the original weights were published applies"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a file holds.

    settings   role ("G_ema", "G", "D") -> settings of that network; a file without a running average has no "G"
    tensors    "G_ema.mapping.w_avg" -> tensor, of all roles
    encoder    name -> tensor of the voice encoder, {} where there is none
    card       the file's own card, or the one that it gets here
    has_card   whether the card came with the file
    notes      what its user should know, one sentence each
    """

    path: pathlib.Path
    settings: dict
    tensors: dict
    encoder: dict
    card: Card
    has_card: bool
    source: object
    notes: tuple = ()

    def part(self, role):
        """Returns name -> tensor of one network."""
        return part_of(self.tensors, role)

    def silence(self, form):
        """Returns the note that a form has no place for the voice path, as a list; [] where there is none."""
        if not self.encoder:
            return []
        return [f"the voice encoder and its audio settings are left out: {form} has no place for them"]


def open_bundle(source):
    """Returns the Bundle of a path or URL; ValueError in one sentence for a file that is not readable."""
    path = fetch(source)
    weights = read(path)
    settings, tensors, notes = dict(weights.settings), dict(weights.tensors), list(weights.source.notes)
    if not {"G", "G_ema"} & settings.keys():
        raise ValueError(f'"{path}" holds no generator, only {" and ".join(settings)}; give a file with G_ema or G.')
    if "G_ema" not in settings:
        settings = {"G_ema" if role == "G" else role: value for role, value in settings.items()}
        tensors = {f"G_ema.{name[2:]}" if name.startswith("G.") else name: t for name, t in tensors.items()}
        notes.append("the file has no G_ema: its G is written as G_ema")
    elif "G" in settings and settings["G"] != settings["G_ema"]:
        settings.pop("G")
        tensors = {name: t for name, t in tensors.items() if not name.startswith("G.")}
        notes.append("G is left out: its settings are not those of G_ema, and one card describes both")
    values = read_card(path) if weights.source.kind == "voice2style" else None
    if values is None:
        return Bundle(path, settings, tensors, {}, _new_card(path, settings, weights.source), False, weights.source,
                      tuple(notes))
    card = Card.from_dict(values, where=f'the card of "{path}"')
    encoder = part_of(load_checkpoint(path)[0], "encoder") if card.encoder is not None else {}
    notes = [note for note in notes if "voice encoder" not in note]  # the reader of networks leaves it out, we do not
    return Bundle(path, settings, tensors, encoder, card, True, weights.source, tuple(notes))


def _new_card(path, settings, source):
    """Returns the card for a stranger's file; it tells what the file was, never when or where it was read."""
    facts = {"file": source.file, "sha256": sha256_file(path), "kind": source.kind, "version": source.version,
             "container": source.container, "notes": list(source.notes)}
    discriminator = Part("stylegan2", to_dict(settings["D"])) if "D" in settings else None
    return Card(generator=Part("stylegan2", to_dict(settings["G_ema"])), discriminator=discriminator, source=facts,
                licence=UNKNOWN_LICENCE)
