"""Reads e4e and pSp .pt files: the decoder (rosinality's names) and latent_avg; the encoder is left out."""

from voice2style.foreign.plan import Found
from voice2style.foreign.rosinality import find_generators, plan_generator


def recognises(contents):
    """True if the file's state_dict has an encoder beside a rosinality decoder."""
    return bool(_decoders(contents))


def _decoders(contents):
    return [p for p in find_generators(contents.tensors) if p.split(".")[-2:-1] == ["decoder"]]


def read(contents):
    """Found, with the decoder as G_ema (the network that these files draw with)."""
    prefix = min(_decoders(contents), key=len)
    plan = plan_generator(contents, "G_ema", prefix)
    sibling = prefix[: -len("decoder.")] + "encoder."
    encoders = [n for n in contents.tensors if n.startswith(sibling)]
    options = contents.values.get("opts")
    kind = options.get("encoder_type") if isinstance(options, dict) else None
    name = {"Encoder4Editing": "e4e", "GradualStyleEncoder": "pSp"}.get(
        kind if isinstance(kind, str) else None, "e4e or pSp"
    )
    notes = [f"the picture encoder ({len(encoders)} tensors) is left out, the decoder is read"] if encoders else []
    return Found(f"{name} (rosinality decoder)", "", [plan], notes)
