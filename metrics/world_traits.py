"""R² per trait on the drawn world: did the voice reach the face, and how near is that to the best possible?"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class TraitScore:
    """R² of one trait with its 95 % bootstrap interval over people, and the best possible value (None: unheard).

    Without rounds of the bootstrap the interval is NaN.
    """

    name: str
    value: float
    low: float
    high: float
    ceiling: float | None
    n: int

    @property
    def limits(self):
        """The interval as a Result wants it: (low, high), or (None, None) where there is none."""
        return (self.low, self.high) if np.isfinite(self.low) else (None, None)


def r_squared(truth, read):  # [N], [N] -> float
    """Returns 1 - Σ(t - r)² / Σ(t - mean t)²: 1 is perfect, 0 is the mean, below 0 is worse than the mean."""
    spread = np.square(truth - truth.mean()).sum()
    if spread == 0:
        raise ValueError("R² needs a trait that varies; every person has the same value.")
    return float(1 - np.square(truth - read).sum() / spread)


def trait_scores(truth, read, *, ceilings, seed=0, rounds=1000):  # dicts name -> [N] -> [TraitScore]
    """Returns the R² of every trait; people are drawn again `rounds` times for the interval.

    `truth` and `read` hold one value a person; `ceilings` the best possible R² of the traits that can be heard.
    """
    count = len(next(iter(truth.values())))
    draws = np.random.default_rng(seed).integers(0, count, [rounds, count])
    scores = []
    for name, values in truth.items():
        values, guess = np.asarray(values, np.float64), np.asarray(read[name], np.float64)
        if values.shape != (count,) or guess.shape != (count,):
            raise ValueError(f'trait "{name}": expected {count} values each, got {values.shape} and {guess.shape}.')
        drawn = values[draws]
        spread = np.square(drawn - drawn.mean(1, keepdims=True)).sum(1)
        samples = 1 - np.square(drawn - guess[draws]).sum(1)[spread > 0] / spread[spread > 0]
        low, high = np.percentile(samples, [2.5, 97.5]) if len(samples) else (np.nan, np.nan)
        scores.append(TraitScore(name=name, value=r_squared(values, guess), low=float(low), high=float(high),
                                 ceiling=ceilings.get(name), n=count))
    return scores
