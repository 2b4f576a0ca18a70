"""Statistics that stay tensors until somebody asks: per iteration one number a name, whatever the ranks and parts."""

import math

import torch

from torch_utils.distributed import gather_objects, is_started, sum_across_ranks


class RunningStats:
    """Collects scalars without waiting for the device; `take()` waits once, for all of them.

    `add(values, share)` gives the mean over one part of an iteration's samples and which share of them it holds; the
    parts of all ranks add up to the mean over the iteration. `next_iteration()` closes it.
    """

    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        self._dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._open, self._closed, self._iterations = {}, {}, 0

    def add(self, values, share=1.0):
        """Takes {name: number or 0-d tensor}, means over `share` of the samples of this iteration."""
        for name, value in values.items():
            value = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
            value = value.to(self.device, self._dtype) * share
            self._open[name] = self._open[name] + value if name in self._open else value

    def next_iteration(self):
        """Closes the iteration: what comes now belongs to the next one."""
        for name, value in self._open.items():
            self._closed.setdefault(name, {})[self._iterations] = value
        self._open, self._iterations = {}, self._iterations + 1

    def state(self):
        """Returns what was collected since the last `take()`, as plain numbers, for a state in the middle of a tick."""
        closed = {name: {index: value.item() for index, value in values.items()}
                  for name, values in self._closed.items()}
        return {"iterations": self._iterations, "closed": closed}

    def restore(self, state):
        """Takes back what `state()` returned."""
        self._iterations = state["iterations"]
        self._closed = {name: {index: torch.tensor(value, device=self.device, dtype=self._dtype)
                               for index, value in values.items()} for name, values in state["closed"].items()}

    def take(self):
        """Returns {name: {"num", "mean", "std"}} over the iterations since the last call, alike on every rank.

        Values that are not finite are left out of the mean and counted in "nonfinite".
        """
        mine = {name: sorted(values) for name, values in self._closed.items()}
        places = {}
        for theirs in gather_objects(mine):
            for name, indices in theirs.items():
                places.setdefault(name, set()).update(indices)
        order = [(name, index) for name in sorted(places) for index in sorted(places[name])]
        self._iterations, closed, self._closed = 0, self._closed, {}
        if not order:
            return {}
        zero = torch.zeros([], device=self.device, dtype=self._dtype)
        values = torch.stack([closed.get(name, {}).get(index, zero) for name, index in order])
        numbers = (sum_across_ranks(values) if is_started() else values).tolist()
        found = {}
        for (name, _), number in zip(order, numbers):
            found.setdefault(name, []).append(number)
        return {name: moments(numbers) for name, numbers in found.items()}


def moments(numbers):
    """Returns {"num", "mean", "std"} of finite numbers, and "nonfinite" when some are not."""
    finite = [number for number in numbers if math.isfinite(number)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    std = math.sqrt(math.fsum((number - mean) ** 2 for number in finite) / len(finite)) if finite else 0.0
    result = {"num": len(finite), "mean": mean, "std": std}
    return result if len(finite) == len(numbers) else {**result, "nonfinite": len(numbers) - len(finite)}


def single(value):
    """Returns one number in the form of a statistic."""
    return moments([float(value)])
