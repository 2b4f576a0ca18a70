"""Streams features of pictures past collectors: threads read and resize, ranks share the work, stopped runs go on."""

import collections
import dataclasses
import pathlib
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.files import atomic_path
from metrics.inception_score import ScoreSums
from metrics.moments import GroupedMoments
from metrics.samples import Drawn, as_pixels, check_one_size, default_workers
from torch_utils import distributed

SAVE_EVERY_S = 120.0
_WORTH_KEEPING_S = 20.0
MOST_FEATURE_GB = 16.0  # on disk, of one side of one metric
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)  # of a file that is not whole


@dataclasses.dataclass(frozen=True)
class Streaming:
    """How features are streamed. `folder` holds what a stopped run has done (None: it starts afresh)."""

    batch: int = 32
    workers: int | None = None
    device: str = "cpu"
    folder: pathlib.Path | None = None
    show: bool = True
    save_every_s: float = SAVE_EVERY_S
    on_batch: Callable | None = None


class FeatureStore:
    """Features [n, K] float32 in a file that is mapped into memory: their number costs disk, not memory."""

    def __init__(self, path, count, dim):
        gigabytes = count * dim * 4 / 2**30
        if gigabytes > MOST_FEATURE_GB:
            raise ValueError(f"{count} pictures x {dim} features need {gigabytes:.0f} GB on disk, the limit is "
                             f"{MOST_FEATURE_GB:.0f} GB; give a smaller --num.")
        self.path = pathlib.Path(path)
        if distributed.is_first() and not self._fits(count, dim):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.lib.format.open_memmap(self.path, "w+", np.float32, (count, dim)).flush()
        distributed.barrier()
        self.rows = np.lib.format.open_memmap(self.path, "r+")

    @property
    def gathered(self):
        """The features, mapped from the file."""
        return self.rows

    def add(self, indices, features):
        """Takes the features of the pictures with these numbers."""
        self.rows[indices] = features

    def arrays(self):
        """Writes what was taken to the disk; the file itself is the state."""
        self.rows.flush()
        return {}

    def restore(self, arrays):
        """Nothing to do: the file is there."""

    def combine(self, device):
        """Waits until all ranks have written."""
        self.rows.flush()
        distributed.barrier()

    def _fits(self, count, dim):
        try:
            return np.load(self.path, mmap_mode="r").shape == (count, dim)
        except DAMAGED:
            return False


class MomentsCollector:
    """GroupedMoments of the features."""

    def __init__(self, dim, *, groups=10):
        self.moments = GroupedMoments(dim, groups=groups)

    @property
    def gathered(self):
        """The GroupedMoments."""
        return self.moments

    def add(self, indices, features):
        """Takes features."""
        self.moments.add(indices, features)

    def arrays(self):
        """Returns the state by name."""
        return self.moments.arrays()

    def restore(self, arrays):
        """Takes a state back."""
        self.moments = GroupedMoments.from_arrays(arrays)

    def combine(self, device):
        """Makes the moments those of all ranks."""
        if distributed.world_size() > 1:
            for part in self.moments.parts:
                part.replace(*_summed_moments(part.arrays(), device))


class ScoreCollector:
    """ScoreSums of probabilities."""

    def __init__(self, count):
        self.sums, self._count = None, count

    @property
    def gathered(self):
        """The ScoreSums."""
        return self.sums

    def add(self, indices, probabilities):
        """Takes probabilities."""
        if self.sums is None:
            self.sums = ScoreSums(probabilities.shape[1], self._count)
        self.sums.add(indices, probabilities)

    def arrays(self):
        """Returns the state by name."""
        return {} if self.sums is None else self.sums.arrays()

    def restore(self, arrays):
        """Takes a state back."""
        self.sums = None if not arrays else ScoreSums.from_arrays(arrays, self._count)

    def combine(self, device):
        """Makes the sums those of all ranks."""
        if distributed.world_size() > 1:
            classes = max(distributed.gather_objects(0 if self.sums is None else self.sums.total.shape[1]))
            self.sums = self.sums or ScoreSums(classes, self._count)
            self.restore({name: summed(value, device) for name, value in self.sums.arrays().items()})


def stream_features(source, judge, collectors, streaming, *, desc="Looking"):
    """Feeds judge(pictures) to every collector (name -> collector): each rank its batches, then joined across ranks.

    `source` is a Pictures or a Drawn. `judge.prepare` runs in threads, two batches ahead of the network.
    """
    count, size = len(source), streaming.batch
    batches = [range(start, min(start + size, count)) for start in range(0, count, size)]
    mine = batches[distributed.rank()::distributed.world_size()]
    state = _State(streaming, collectors)
    done = state.load()
    bar = tqdm(total=len(mine) * size, initial=done * size, desc=desc, unit="img", leave=False,
               disable=None if streaming.show and distributed.is_first() else True)
    with ThreadPoolExecutor(streaming.workers or default_workers()) as pool, bar:
        finished = False
        try:
            for indices, prepared in _prepared(source, judge, mine[done:], pool):
                features = np.asarray(judge(prepared))
                for collector in collectors.values():
                    collector.add(np.asarray(indices), features)
                done += 1
                bar.update(len(indices))
                state.maybe_save(done)
                if streaming.on_batch:
                    streaming.on_batch(indices)
            finished = True
        finally:
            if done and not (finished and state.is_quickly_done()):
                state.save(done)
    for collector in collectors.values():
        collector.combine(streaming.device)


def _prepared(source, judge, batches, pool):
    """Yields (indices, batch of prepared pictures), the reading and resizing of two batches ahead of the caller."""
    def submit(indices):
        if isinstance(source, Drawn):
            return [pool.submit(judge.prepare, picture) for picture in as_pixels(source.draw(list(indices)))]
        return [pool.submit(_read_and_prepare, source, judge, index) for index in indices]

    waiting = collections.deque()
    ahead = 1 if isinstance(source, Drawn) else 2
    for indices in batches:
        waiting.append((indices, submit(indices)))
        if len(waiting) > ahead:
            yield _joined(judge, *waiting.popleft())
    while waiting:
        yield _joined(judge, *waiting.popleft())


def _read_and_prepare(source, judge, index):
    return judge.prepare(source.picture(index))


def _joined(judge, indices, futures):
    pictures = [future.result() for future in futures]
    if judge.one_size:
        check_one_size([picture.permute(1, 2, 0) for picture in pictures])
    return list(indices), torch.stack(pictures)


class _State:
    """What a stopped run has done, in one file a rank: the number of batches and the collectors' arrays."""

    def __init__(self, streaming, collectors):
        self._collectors, self._every_s, self._path = collectors, streaming.save_every_s, None
        self._begin = self._last = time.monotonic()
        if streaming.folder is not None:
            ranks = f"{distributed.rank()}-of-{distributed.world_size()}"
            what = "+".join(sorted(collectors))  # another set of collectors would lack what these have seen
            self._path = pathlib.Path(streaming.folder) / f"state-{what}-{ranks}-batch{streaming.batch}.npz"

    def load(self):
        """Returns how many batches are done, after the collectors took their arrays back; 0 for a damaged file."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            arrays = read_arrays(self._path)
        except DAMAGED:
            return 0
        for name, collector in self._collectors.items():
            collector.restore({key.split("/", 1)[1]: value for key, value in arrays.items()
                               if key.startswith(f"{name}/")})
        return int(arrays["done"])

    def maybe_save(self, done):
        """Saves when the last time is long ago."""
        if time.monotonic() - self._last >= self._every_s:
            self.save(done)

    def save(self, done):
        """Writes the state; the one before stays until the new one is whole."""
        if self._path is None:
            return
        arrays = {f"{name}/{key}": value for name, collector in self._collectors.items()
                  for key, value in collector.arrays().items()}
        with atomic_path(self._path) as temporary, open(temporary, "wb") as file:
            np.savez(file, done=np.asarray(done), **arrays)
        self._last = time.monotonic()

    def is_quickly_done(self):
        """Returns True when the whole took so little time that it need not be kept for a run that goes on."""
        return time.monotonic() - self._begin < _WORTH_KEEPING_S


def read_arrays(path):
    """Returns the arrays of an npz file by name; one of DAMAGED when it is not whole."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def summed(array, device="cpu"):
    """Returns the sum of an array over all ranks."""
    if distributed.world_size() == 1:
        return array
    return distributed.sum_across_ranks(torch.from_numpy(np.asarray(array, np.float64)).to(device)).cpu().numpy()


def _summed_moments(arrays, device):  # -> (count, mean, scatter) of all ranks
    count = float(arrays["count"])
    total = float(summed(np.array([count]), device)[0])
    mean = summed(arrays["mean"] * count, device) / max(total, 1)
    step = arrays["mean"] - mean
    return int(round(total)), mean, summed(arrays["scatter"] + np.outer(step, step) * count, device)
