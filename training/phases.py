"""What one training iteration consists of: a batch, and phases in order, each with its optimiser and its loss.

A step (training/gan_step.py, voice_step.py, joint_step.py) says *what* is computed; the loop (training/loop.py) says
how often, on how many ranks and in how many parts. Whatever the number of ranks and parts, the numbers are the same.
"""

import dataclasses
from collections.abc import Callable

import torch

from torch_utils.random_streams import stream


@dataclasses.dataclass(frozen=True)
class Batch:
    """The samples of one iteration, or the part of them that one rank or one piece of accumulated work holds.

    `positions` [n] are the places of these samples in the whole batch of `size` samples. `images` [n, C, H, W] in
    [-1, 1], `labels` [n, c_dim], `waves` [n, S] in [-1, 1], `people` [n] numbers of the training identities, `codes`
    [n, L, D] known W+ codes of the faces; None where a task has none. Parts take every k-th sample, so that the groups
    of the minibatch statistics (sample i belongs to group i mod size/group) stay whole.
    """

    size: int
    positions: torch.Tensor
    images: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    waves: torch.Tensor | None = None
    people: torch.Tensor | None = None
    codes: torch.Tensor | None = None

    def __len__(self):
        return len(self.positions)

    def part(self, index, count):
        """Returns every `count`-th sample from `index` on."""
        tensors = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "size"}
        return Batch(self.size, **{name: None if value is None else value[index::count]
                                   for name, value in tensors.items()})

    def first(self, share):
        """Returns the samples whose place lies within the leading `share` of the whole batch."""
        kept = self.positions < round(self.size * share)
        tensors = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "size"}
        return Batch(self.size, **{name: None if value is None else value[kept.to(value.device)]
                                   for name, value in tensors.items()})

    def rows(self, whole):  # [size, ...] -> [n, ...]
        """Returns this part's rows of something drawn for the whole batch."""
        return whole[self.positions.to(whole.device)]


@dataclasses.dataclass(frozen=True)
class Draw:
    """The named random streams of one phase of one iteration: `draw("z")` is the same generator on every rank.

    Draw for the whole batch ([batch.size, ...]) and take `batch.rows(...)`: then no number depends on the ranks.
    """

    seed: int
    phase: str
    index: int

    def __call__(self, *names):
        return stream(self.seed, self.phase, self.index, *names)


@dataclasses.dataclass(frozen=True)
class Phase:
    """One backward pass and one step of one optimiser.

    `trains` names the networks that get gradients. `run(batch, draw)` returns (loss, statistics): a mean over its part,
    and 0-d tensors likewise. `share` is the leading fraction of the batch that the phase sees (path length: 1/2). The
    loop zeroes gradients, calls backward on loss · len(part) / (samples of all parts), sums gradients over parts and
    ranks, makes them finite, clips their norm to `clip` and steps `optimiser`.

    `prepare(parts, draw)`, where given, is called before the first `run` when this rank's work comes in several parts:
    for what must be known of the whole batch beforehand. `collective`: `run` speaks to other ranks, so it is called
    with an empty batch on a rank that has no sample of the share, and returns (None, {}) there.
    """

    name: str
    optimiser: str
    trains: tuple
    run: Callable
    share: float = 1.0
    clip: float | None = None
    prepare: Callable | None = None
    collective: bool = False
