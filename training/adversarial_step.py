"""What the iterations of a GAN and of the joint method share: phases in order, path length, R1, means that are kept."""

import contextlib

import torch

from torch_utils.distributed import sum_across_ranks
from training.losses.path_length import path_length_loss
from training.losses.r1 import r1_loss
from training.phases import Phase


class AdversarialStep:
    """A step of training/phases.py with a discriminator D; GanStep and JointStep say what G is and what it learns from.

    They define `_g_main` and `_d_main` (losses of the main phases), `_lengths(batch, draw)` -> [n] and
    `_real_logits(images, batch, draw)` -> [n, 1]. `trained`: names of the networks that learn in G main.
    The main phases call the networks by `main_calls`. `pl_weight` 0: no path-length phase. `augment`: (images, draw,
    batch) -> images for whatever D sees, or None.
    """

    def __init__(self, settings, *, trained, pl_weight, device="cpu", augment=None):
        self.settings, self.device, self.augment = settings, torch.device(device), augment
        self._trained, self._pl_weight = trained, pl_weight
        self.pl_mean = torch.zeros([], device=self.device)
        self._lengths_mean = self._next_pl_mean = None
        self._seen = {}  # D's logits of real pictures, by the first place of each part

    def phases(self, index):
        """Returns the phases of iteration `index`, the regularisers only when they are due."""
        settings = self.settings
        found = [Phase("Gmain", "G", self._trained, self._g_main)]
        if self._pl_weight and index % settings.pl_interval == 0:
            found.append(Phase("Greg", "G", ("G",), self._g_path_length, share=0.5, prepare=self._measure_lengths,
                               collective=True))
        found.append(Phase("Dmain", "D", ("D",), self._d_main))
        if settings.gamma and index % settings.r1_interval == 0:
            found.append(Phase("Dreg", "D", ("D",), self._d_r1))
        return found

    def finish(self, index, batch_size):
        """Moves the mean path length and the strength of augmentation after the optimisers' steps."""
        if self._next_pl_mean is not None:
            self.pl_mean, self._next_pl_mean, self._lengths_mean = self._next_pl_mean, None, None
        if self.augment is not None:
            for logits in self._seen.values():
                self.augment.saw(logits)
            self.augment.finish(batch_size)
        self._seen = {}

    def state(self):
        """Returns what a later run needs beside networks and optimisers."""
        return {"pl_mean": self.pl_mean, "augment": None if self.augment is None else self.augment.state()}

    def restore(self, state):
        """Takes back what `state()` returned."""
        self.pl_mean = state["pl_mean"].to(self.device)
        if self.augment is not None and state["augment"] is not None:
            self.augment.restore(state["augment"])

    def _autocast(self):
        if self.settings.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _augmented(self, images, draw, batch):
        return images if self.augment is None else self.augment(images, draw, batch)

    def _set_lengths_mean(self, lengths, size):
        self._lengths_mean = sum_across_ranks(lengths.detach().sum()) / max(round(size * 0.5), 1)
        self._next_pl_mean = self.pl_mean + self.settings.pl_decay * (self._lengths_mean - self.pl_mean)

    def _measure_lengths(self, parts, draw):
        self._set_lengths_mean(torch.cat([self._lengths(part, draw).detach() for part in parts]), parts[0].size)

    def _g_path_length(self, batch, draw):
        settings = self.settings
        lengths = self._lengths(batch, draw) if len(batch) else self.pl_mean.new_zeros(0)
        if self._lengths_mean is None:  # else prepared, from all parts
            self._set_lengths_mean(lengths, batch.size)
        if not len(batch):  # this rank holds no sample of the phase, but the same mean
            return None, {}
        loss, _ = path_length_loss(lengths, self.pl_mean, decay=settings.pl_decay, weight=settings.pl_weight,
                                   batch_mean=self._lengths_mean)
        return loss * settings.pl_interval, {"Loss/pl_penalty": loss.detach() / settings.pl_weight,
                                             "Loss/pl_length": lengths.detach().mean(), "Loss/G/reg": loss.detach()}

    def _saw(self, real_logits, batch):
        """Notes D's logits of a part of the real pictures; returns their statistics.

        A part that is done again, in smaller pieces, replaces what it said before.
        """
        real = self._seen[int(batch.positions[0])] = real_logits.detach().float()
        return {"Loss/scores/real": real.mean(), "Loss/signs/real": real.sign().mean()}

    def _d_r1(self, batch, draw):
        inputs = batch.images.detach().clone().requires_grad_(True)
        loss = r1_loss(self._real_logits(inputs, batch, draw), inputs, gamma=self.settings.gamma)
        return loss * self.settings.r1_interval, {"Loss/r1_penalty": loss.detach() / (self.settings.gamma / 2),
                                                  "Loss/D/reg": loss.detach()}


class Real:
    """The random streams of a phase for real pictures, so that they are not augmented as the generated ones are."""

    def __init__(self, draw):
        self._draw, self.seed, self.phase, self.index = draw, draw.seed, draw.phase, draw.index

    def __call__(self, *names):
        return self._draw("real", *names)
