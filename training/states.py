"""States of a run: the newest so many are kept, the newest readable one is found, damaged ones are named."""

import re
import zipfile

import torch

from dnnlib.files import atomic_path
from torch_utils.checkpoint import write_archive

FORMAT = "voice2style-state/1"
_NotPlain = torch.serialization.pickle.UnpicklingError  # a file that holds more than tensors and plain values


class States:
    """Files `state-<iteration>.pt` in a folder; `keep` of them stay (0: all)."""

    def __init__(self, folder, *, keep=2):
        self.folder, self.keep = folder, keep

    def paths(self):
        """Returns the files, the newest first."""
        found = [(int(match[1]), path) for path in self.folder.glob("state-*.pt")
                 if (match := re.fullmatch(r"state-(\d+)\.pt", path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def save(self, state, iteration):
        """Writes a state, whole or not at all, then removes the oldest ones; OSError when the disk does not take it."""
        path = self.folder / f"state-{iteration:08d}.pt"
        with atomic_path(path) as temporary:
            write_archive(temporary, {"format": FORMAT, **state})
        if self.keep:
            for old in self.paths()[self.keep:]:
                old.unlink(missing_ok=True)
        return path

    def newest(self, warn):
        """Returns the newest state that can be read, or None; `warn(line)` hears of each that cannot."""
        for path in self.paths():
            try:
                return read_state(path)
            except ValueError as error:
                warn(f"{error} An older state is tried.")
        return None


def read_state(path):
    """Returns a state; ValueError in one sentence when the file is damaged or something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f'the state "{path}" is damaged in {damaged}.')
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, RuntimeError, OSError, NotImplementedError, _NotPlain) as error:
        raise ValueError(f'the state "{path}" is damaged ({" ".join(str(error).split())[:80]}).') from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f'the state "{path}" is of another version than "{FORMAT}".')
    return state
