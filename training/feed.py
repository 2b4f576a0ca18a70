"""Batches for one rank, read ahead by worker processes; batch `index` is the same however many of them there are."""

import os
import time

import numpy as np
import torch

from dnnlib.console import warn
from torch_utils.distributed import is_first, rank, world_size
from training.phases import Batch
from training.sources import too_many

_AHEAD = 4  # batches that each worker reads ahead


class Feed:
    """Iterates over Batch first..last-1 of a source; `waited_s` is how long the step had to wait for them."""

    def __init__(self, source, *, size, first, last, run, device, say=warn):
        self.source, self.size, self.first, self.last, self.device, self.say = source, size, first, last, device, say
        self.skip_corrupt, self.waited_s, self._bad = run.skip_corrupt, 0.0, {}
        kept = self._keep_small(run.cache_gb)
        busy = getattr(source, "augment", None) is not None
        self.workers = min(run.workers, os.cpu_count() or 1) if busy or not kept else 0
        if busy or not kept:
            self.say(f"{self.workers} processes read the data{_fewer(run.workers, self.workers)}.")

    def _keep_small(self, cache_gb):
        room, kept = cache_gb * 1e9 / world_size(), True
        for what, num_bytes in self.source.num_bytes.items():
            store = self.source.stores[what]
            if store.items is None and num_bytes <= room:
                store.keep_in_memory(what)
                self.say(f"{store.count} {what} are kept in memory ({num_bytes / 1e6:.0f} MB).")
            elif store.items is None:
                kept = False
                self.say(f"{store.count} {what} ({num_bytes / 1e9:.1f} GB) are read while the run goes on; "
                         "--cache-gb keeps as much in memory.")
            room -= num_bytes if store.items is not None else 0
            self._note({f"{what} {k}": reason for k, reason in store.bad.items()})
        return kept

    def __iter__(self):
        loader = torch.utils.data.DataLoader(
            _Samples(self.source), batch_sampler=_Positions(self.first, self.last, self.size), collate_fn=_collate,
            num_workers=self.workers, prefetch_factor=_AHEAD if self.workers else None,
            persistent_workers=False, pin_memory=self.device.type == "cuda")
        batches = iter(loader)
        while True:
            begin = time.perf_counter()
            try:
                positions, columns, bad, fault = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise OSError(f"a process that reads the dataset ended ({' '.join(str(error).split())[:120]}); the "
                              "same command goes on, with fewer --workers if memory was short.") from error
            if fault is not None:
                raise ValueError(fault)
            self._note(bad)
            batch = self._on_device(positions, columns)
            self.waited_s += time.perf_counter() - begin
            yield batch

    def _on_device(self, positions, columns):
        moved = {name: column.to(self.device, non_blocking=True) for name, column in columns.items()}
        if "images" in moved:
            images = moved["images"].float() / 127.5 - 1
            moved["images"] = images.contiguous(memory_format=torch.channels_last)
        return Batch(self.size, positions % self.size, **moved)

    def _note(self, bad):
        for k, reason in bad.items():
            if k not in self._bad:
                self._bad[k] = reason
                if is_first() or world_size() > 1:
                    self.say(f"Warning: passed over a damaged item ({len(self._bad)} of at most {self.skip_corrupt}): "
                             f"{reason}")
        if len(self._bad) > self.skip_corrupt:
            raise too_many(self._bad, self.skip_corrupt)


def _fewer(wanted, there):
    return "" if wanted == there else f" instead of {wanted}: this machine has so many processor cores"


class _Positions:
    """For each iteration the positions of this rank's samples in the endless row."""

    def __init__(self, first, last, size):
        self.first, self.last, self.size, self.rank, self.ranks = first, last, size, rank(), world_size()

    def __iter__(self):
        for index in range(self.first, self.last):
            yield [index * self.size + place for place in range(self.rank, self.size, self.ranks)]

    def __len__(self):
        return self.last - self.first


class _Samples:
    """What a worker holds: samples by position, with what was found damaged; errors become plain sentences."""

    def __init__(self, source):
        self.source = source

    def __getitem__(self, position):
        try:
            sample, fault = self.source[position], None
        except (ValueError, OSError) as error:
            sample, fault = None, " ".join(str(error).split())
        bad = {f"{what} {k}": reason for what, store in self.source.stores.items() for k, reason in store.bad.items()}
        return position, sample, bad, fault


def _collate(samples):
    positions = [position for position, *_ in samples]
    bad = {k: reason for _, _, found, _ in samples for k, reason in found.items()}
    fault = next((fault for *_, fault in samples if fault), None)
    if fault is not None:
        return positions, {}, bad, fault
    columns = {name: torch.from_numpy(np.stack([sample[name] for _, sample, *_ in samples])) for name in samples[0][1]}
    return torch.tensor(positions), columns, bad, None
