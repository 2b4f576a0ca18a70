"""Adaptive discriminator augmentation: p follows a sign of overfitting (Karras et al. 2020, section 3)."""

import dataclasses

import torch

from torch_utils.distributed import mean_across_ranks

MODES = ("noaug", "ada", "fixed")


@dataclasses.dataclass(frozen=True)
class AdaSettings:
    """How p moves.

    mode       "ada": p follows the heuristic; "fixed": p stays; "noaug": no augmentation
    p          where p starts (ada), or is (fixed)
    target     wanted r_t = E sign(D(real)), the mean over the last `interval` batches
    interval   batches between two steps of p
    ada_kimg   thousands of images in which p can go from 0 to 1 (100 when a run starts from a trained network)
    p_max      p never exceeds it: near 1 the generator would learn to draw augmented faces. The published controller
               has no bound.
    """

    mode: str = "ada"
    p: float = 0.0
    target: float = 0.6
    interval: int = 4
    ada_kimg: float = 500.0
    p_max: float = 0.85

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f'aug is "{self.mode}"; allowed: {", ".join(MODES)}')
        for name in ("p", "p_max"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 to 1")
        if not -1 < self.target < 1:
            raise ValueError(f"target is {self.target}; it is a mean of signs, allowed: between -1 and 1")
        if self.interval < 1 or not self.ada_kimg > 0:
            raise ValueError(f"interval is {self.interval} and ada_kimg {self.ada_kimg}; allowed: 1 or more, above 0")
        if self.mode == "ada" and self.p > self.p_max:
            raise ValueError(f"p starts at {self.p}, above its bound p_max {self.p_max}; lower p or raise p_max")
        if self.mode == "fixed" and self.p == 0:
            raise ValueError("a fixed p of 0 augments nothing; give --p, or --aug=noaug")


class AdaController:
    """Moves `pipe.p`: `observe(real_logits)` in every D step, `update(batch_size)` after every iteration.

    It sums signs on their device and looks at them only every `interval` batches; all ranks come to the same p.
    """

    def __init__(self, pipe, settings):
        self.pipe, self.settings = pipe, settings
        pipe.set_p(0.0 if settings.mode == "noaug" else settings.p)
        self._sums = torch.zeros(2)  # of signs, of samples: whole numbers
        self._batches = 0
        self.heuristic = None

    @property
    def at_bound(self):
        """True when p stands at its bound: D keeps overfitting, more data is wanted."""
        return self.settings.mode == "ada" and self.pipe.strength >= self.settings.p_max

    def observe(self, real_logits):  # [n, 1]
        """Takes note of how D judged (augmented) real pictures."""
        if self.settings.mode == "ada":
            signs = real_logits.detach().sign().float()
            found = torch.stack([signs.sum(), torch.full_like(signs.sum(), signs.numel())])
            self._sums = self._sums.to(found.device) + found

    def update(self, batch_size):
        """Returns p after an iteration of `batch_size` images; every `interval`-th one moves it."""
        settings = self.settings
        self._batches += 1
        if settings.mode == "ada" and self._batches % settings.interval == 0:
            signs, count = mean_across_ranks(self._sums).tolist()
            if count:
                self.heuristic = signs / count
                step = batch_size * settings.interval / (settings.ada_kimg * 1000)
                direction = (self.heuristic > settings.target) - (self.heuristic < settings.target)
                self.pipe.set_p(min(max(self.pipe.strength + direction * step, 0.0), settings.p_max))
            self._sums = torch.zeros_like(self._sums)
        return self.pipe.strength

    def state(self):
        """Returns what a resumed run needs."""
        return {"p": self.pipe.strength, "sums": self._sums.cpu(), "batches": self._batches,
                "heuristic": self.heuristic}

    def restore(self, state):
        """Takes back what `state()` returned. A fixed p, and no augmentation, stay what this run's settings say."""
        if self.settings.mode == "ada":
            self.pipe.set_p(min(state["p"], self.settings.p_max))
        self._sums, self._batches = state["sums"].clone(), state["batches"]
        self.heuristic = state["heuristic"]
