"""Reads strangers' StyleGAN2 files without running anything in them: bytes -> inert objects -> named tensors.

The way of a file: `sniff` opens the container, `safe_pickle` and `torch_files` build inert objects, `structure` lays
them out by name, the first of READERS that recognises them makes plans, and `complete` reads the tensors.
"""

import dataclasses
import pathlib

from voice2style.foreign import encoder_files, nvidia_tf, nvidia_torch, own_files, rosinality
from voice2style.foreign.complete import complete
from voice2style.foreign.refusals import READABLE, RELATIVES, STRANGERS, describe, recognise
from voice2style.foreign.sniff import handles, open_contents
from voice2style.foreign.windows import Allowance, Refusal

READERS = {  # name -> module with recognises(contents) and read(contents) -> Found; the first that recognises counts
    "voice2style": own_files,
    "nvidia_tf": nvidia_tf,
    "encoder_files": encoder_files,
    "rosinality": rosinality,
    "nvidia_torch": nvidia_torch,
}


@dataclasses.dataclass(frozen=True)
class Source:
    """What a file is: its kind, the version of its form, what holds it, and what was left out or estimated."""

    file: str
    kind: str
    version: str
    container: str
    notes: tuple

    def __str__(self):
        version = f" (version {self.version})" if self.version else ""
        return "; ".join([f"{self.kind}{version} in a {self.container}", *self.notes])


@dataclasses.dataclass(frozen=True)
class ForeignWeights:
    """Inert weights with our names: tensors "G_ema.…", "G.…", "D.…", and the settings of each of these networks."""

    tensors: dict
    settings: dict
    source: Source


def read(path):
    """ForeignWeights of any readable file; ValueError in one sentence for any other. Nothing in the file is run."""
    path = pathlib.Path(path)
    try:
        with handles(path) as (file, blobs, length):
            allowance = Allowance(length)
            contents = open_contents(file, blobs, length, allowance)
            contents.room = allowance.num_bytes
            found = interpret(contents)
            return _load(path.name, contents, found, allowance)
    except ValueError as error:  # Refusal, and settings that contradict each other
        reason = str(error).rstrip(".")
        raise ValueError(f'"{path}" is not read: {reason}; {READABLE}.') from error


def interpret(contents):
    """Found, by the first reader that knows these names; Refusal names what it seems to be otherwise."""
    refused = None if own_files.recognises(contents) else recognise(contents, RELATIVES)
    for reader in READERS.values():
        if refused is None and reader.recognises(contents):
            return reader.read(contents)
    if refused := refused or recognise(contents, STRANGERS):
        raise Refusal(f"it seems to be {refused[0]}: {refused[1]}")
    raise Refusal(f"no StyleGAN2 network is in it; found: {describe(contents)}")


def _load(name, contents, found, allowance):
    tensors, settings, notes = {}, {}, list(found.notes)
    for plan in found.plans:
        try:
            settings[plan.role], own = complete(plan, allowance)
        except Refusal as error:
            if plan.role != "D" or len(found.plans) == 1:
                raise
            notes.append(f"D is left out: {error}")
            continue
        tensors.update({f"{plan.role}.{key}": tensor for key, tensor in own.items()})
        notes += [note for note in plan.notes if note not in notes]
    if contents.inert:
        notes.append("left inert, never called: " + ", ".join(contents.inert[:8]))
    return ForeignWeights(tensors, settings, Source(name, found.kind, found.version, contents.container, tuple(notes)))
