"""Inception Score: exp of the mean divergence between a picture's class probabilities and those of all pictures.

Salimans et al., Improved Techniques for Training GANs (2016): 10 splits, mean and standard deviation over them.
"""

import numpy as np

SPLITS = 10


class ScoreSums:
    """What the score needs of a stream of probabilities [N, K]: per split a sum of p and a sum of Σ p ln p."""

    def __init__(self, num_classes, num_pictures, *, splits=SPLITS):
        if num_pictures < splits:
            raise ValueError(f"an Inception Score over {splits} splits needs {splits} or more pictures, "
                             f"got {num_pictures}.")
        self.num_pictures = num_pictures
        self.counts, self.entropy = np.zeros(splits), np.zeros(splits)
        self.total = np.zeros([splits, num_classes])

    def add(self, indices, probabilities):  # [N] numbers of the pictures, [N, K] rows that sum to 1
        """Takes the probabilities of the pictures with these numbers; splits are runs of consecutive numbers."""
        p = np.asarray(probabilities, np.float64)
        if not np.allclose(p.sum(1), 1, atol=1e-3) or p.min() < 0:
            raise ValueError("an Inception Score needs probabilities: rows of numbers from 0 that sum to 1.")
        split = ((np.asarray(indices) + 1) * len(self.counts) - 1) // self.num_pictures  # cut at i n // splits
        np.add.at(self.counts, split, 1)
        np.add.at(self.entropy, split, (p * np.log(p.clip(min=1e-300))).sum(1))
        np.add.at(self.total, split, p)

    def merge(self, other):
        """Takes what another ScoreSums has seen."""
        self.counts, self.entropy = self.counts + other.counts, self.entropy + other.entropy
        self.total = self.total + other.total

    def scores(self):  # -> float64 [splits]
        """Returns exp(E KL(p(y|x) || p(y))) of every split: from 1 (nothing told apart) to K."""
        mean = self.total / self.counts[:, None]
        return np.exp(self.entropy / self.counts - (mean * np.log(mean.clip(min=1e-300))).sum(1))

    def arrays(self):
        """Returns the sums by name, for a file or another rank."""
        return {"counts": self.counts, "entropy": self.entropy, "total": self.total}

    @staticmethod
    def from_arrays(arrays, num_pictures):
        """Returns the ScoreSums that `arrays` came from."""
        sums = ScoreSums(arrays["total"].shape[1], num_pictures, splits=len(arrays["counts"]))
        sums.counts, sums.entropy, sums.total = (np.array(arrays[name]) for name in ("counts", "entropy", "total"))
        return sums


def mean_and_std(scores):  # [splits] -> (mean, std, low, high)
    """Returns mean and standard deviation over splits (dividing by their number), and the mean's 95 % t interval."""
    from scipy.stats import t

    mean, std = float(np.mean(scores)), float(np.std(scores))
    reach = float(t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / np.sqrt(len(scores)))
    return mean, std, mean - reach, mean + reach
