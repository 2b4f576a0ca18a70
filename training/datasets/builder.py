"""Builds a dataset from a Plan: pieces in parallel, kept in a journal, then put together; stops and shards welcome."""

import dataclasses
import pathlib

from dnnlib.files import sha256_file
from dnnlib.settings import to_dict
from training.datasets.assembly import assemble, is_made_of
from training.datasets.face_build import FaceSettings
from training.datasets.journal import Journal, lock_folder
from training.datasets.pool import make_pieces
from training.datasets.voice_build import VoiceSettings
from training.datasets.writer import full_disk_said, refuse_existing


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """How faces and voices are made; everything that the bytes depend on, apart from the plan."""

    face: FaceSettings = dataclasses.field(default_factory=FaceSettings)
    voice: VoiceSettings = dataclasses.field(default_factory=VoiceSettings)
    unpaired: str = "reject"  # or "keep": people of whom only faces, or only voices, are left
    licence: str | None = None  # of the corpus, as its maker states it

    def check(self):
        """Raises ValueError for settings that cannot be met, here and on this machine."""
        self.face.check()
        self.voice.check()
        if self.face.detector is not None:
            from training.datasets.detectors import open_detector

            open_detector(self.face.detector, self.face.model)
        elif self.face.model is not None:
            raise ValueError("--model is a file for --detector dlib or mediapipe; no detector was given.")


def build_dataset(plan, dest, settings, *, workers=1, shard=None, command=None, progress=None):  # -> card or None
    """Builds `plan` into `dest`, a zip if it ends in .zip, else a folder; returns its card.

    With `shard` (i, n) only every n-th piece is made, and kept in the folder `shard_folder(dest, shard)`; None is
    returned. The same call after a stop goes on. `progress(done, total)` gets numbers of items. ValueError if `dest`
    exists.
    """
    settings.check()
    dest = pathlib.Path(dest)
    folder = journal_folder(dest) if shard is None else shard_folder(dest, shard)
    refuse_finished(dest, shard)
    with full_disk_said(dest), lock_folder(folder):
        journal = Journal.start(folder, plan, _facts(settings), notes={"command": command})
        make_pieces(journal, settings, journal.wanted(shard or (1, 1)), workers=workers, progress=progress)
        if shard is not None:
            return None
        card = assemble([journal], dest, scratch=folder)
        journal.remove()
    return card


def refuse_finished(dest, shard=None):
    """Raises ValueError if `dest` exists; takes away what a build that was stopped after its last step left."""
    dest = pathlib.Path(dest)
    folder = journal_folder(dest)
    if shard is None and dest.exists() and (folder / "plan.json").exists() and is_made_of(dest, Journal(folder)):
        Journal(folder).remove()
        raise ValueError(f'"{dest}" exists and is whole: the build had only to tidy up. Nothing is left to do.')
    refuse_existing(dest)


def _facts(settings):
    """The settings as JSON, the same on every machine: of a model file its content counts, not its place."""
    facts = to_dict(settings)
    if settings.face.model is not None:
        facts["face"]["model"] = {"name": pathlib.Path(settings.face.model).name,
                                  "sha256": sha256_file(settings.face.model)}
    return facts


def merge_shards(folders, dest):  # -> card
    """Puts the shards of one build together in `dest`. ValueError if they are not one whole build."""
    journals = [Journal(folder) for folder in folders]
    if not journals:
        raise ValueError("no shards were given.")
    if len({journal.plan["fingerprint"] for journal in journals}) > 1:
        raise ValueError("these shards are not of one build: files or options differ between the machines.")
    return assemble(journals, pathlib.Path(dest))


def journal_folder(dest):
    """Where the pieces of a build are kept until it is finished: beside `dest`."""
    return dest.with_name(f".{dest.name}.building")


def shard_folder(dest, shard):  # (i, n)
    """Where a shard of a build is kept for `merge_shards`."""
    return dest.with_name(f"{dest.name}.shard-{shard[0]}-of-{shard[1]}")
