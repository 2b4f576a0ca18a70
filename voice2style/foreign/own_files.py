"""Reads this toolkit's own .safetensors files, which carry a card, as networks."""

import json

from dnnlib.settings import from_dict
from voice2style.card import Card
from voice2style.discriminator import DiscriminatorSettings
from voice2style.foreign.plan import Found, Plan
from voice2style.foreign.windows import Refusal
from voice2style.generators.stylegan2 import GeneratorSettings

CARD_KEY = "voice2style"


def recognises(contents):
    """True for a .safetensors file with a card of this toolkit."""
    return CARD_KEY in contents.metadata


def read(contents):
    """Found: G_ema, G and D as the card describes them."""
    try:
        card = Card.from_dict(json.loads(contents.metadata[CARD_KEY]), where="its card")
    except RecursionError as error:
        raise Refusal("its card is nested too deep") from error
    except ValueError as error:
        raise Refusal(f"its card cannot be read: {error}") from error
    if card.generator.kind != "stylegan2":
        raise Refusal(
            f"it is a voice2style model with a generator of kind {card.generator.kind}: open it with voice2style.load"
        )
    plans = []
    for role in ("G_ema", "G", "D"):
        tensors = {n[len(role) + 1 :]: t for n, t in contents.tensors.items() if n.startswith(f"{role}.")}
        part = card.discriminator if role == "D" else card.generator
        if tensors and part is not None:
            cls = DiscriminatorSettings if role == "D" else GeneratorSettings
            plans.append(Plan(role, from_dict(cls, part.options, where=f"the {role} in its card"), tensors))
    if not any(plan.role != "D" for plan in plans):
        raise Refusal("it has a card and no tensors of a generator")
    notes = ["the voice encoder is left out (voice2style.load reads it)"] if card.encoder is not None else []
    return Found("voice2style", card.format.rpartition("/")[2], plans, notes)
