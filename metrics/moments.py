"""Mean and covariance of a stream of features, in float64 and in memory that does not grow with n.

Parts are joined by the parallel rule of Chan, Golub and LeVeque (1979), so any split into batches, groups or ranks
gives the same numbers.
"""

import numpy as np

_ROWS_AT_ONCE = 512  # features are gathered up to here before they are folded in: one large product is faster


class Moments:
    """Count, mean [K] and scatter Σ(x - mean)(x - mean)ᵀ [K, K] of the features seen so far."""

    def __init__(self, dim):
        self.dim, self._count = dim, 0
        self._mean, self._scatter = np.zeros(dim), np.zeros([dim, dim])
        self._waiting, self._num_waiting = [], 0

    def add(self, features):  # [N, K]
        """Takes features."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"expected features [N, {self.dim}], got {list(features.shape)}.")
        if not np.isfinite(features).all():
            raise ValueError("the judge gave features that are not finite numbers; pictures or weights are damaged.")
        self._waiting.append(features)
        self._num_waiting += len(features)
        if self._num_waiting >= _ROWS_AT_ONCE:
            self._fold()

    def merge(self, other):
        """Takes what another Moments has seen."""
        other._fold()
        self._fold()
        self._join(other._count, other._mean, other._scatter)

    @property
    def count(self):
        """n: how many features were seen."""
        return self._count + self._num_waiting

    @property
    def mean(self):  # -> float64 [K]
        """The mean feature."""
        self._fold()
        return self._mean

    def covariance(self, *, ddof):  # -> float64 [K, K]
        """Returns scatter / (n - ddof): ddof 0 is NVIDIA's definition, ddof 1 numpy's and clean-fid's."""
        self._fold()
        if self._count <= ddof:
            raise ValueError(f"a covariance needs more than {ddof} pictures, got {self._count}.")
        return self._scatter / (self._count - ddof)

    def replace(self, count, mean, scatter):
        """Takes the place of what was seen so far: what all ranks have seen together."""
        self._waiting, self._num_waiting = [], 0
        self._count, self._mean, self._scatter = count, mean, scatter

    def arrays(self):
        """Returns what `from_arrays` takes: count, mean, scatter."""
        self._fold()
        return {"count": np.asarray(self._count), "mean": self._mean, "scatter": self._scatter}

    @staticmethod
    def from_arrays(arrays):
        """Returns the Moments that `arrays` came from."""
        moments = Moments(len(arrays["mean"]))
        moments._count = int(arrays["count"])
        moments._mean, moments._scatter = np.array(arrays["mean"]), np.array(arrays["scatter"])
        return moments

    def _fold(self):
        if not self._num_waiting:
            return
        features = np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        mean = features.mean(0)
        centred = features - mean
        self._join(len(features), mean, centred.T @ centred)

    def _join(self, count, mean, scatter):
        if not count:
            return
        total = self._count + count
        step = mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(step, step) * (self._count * count / total)
        self._mean = self._mean + step * (count / total)
        self._count = total


class GroupedMoments:
    """Moments of ten groups, picture i in group i mod 10, which together are the moments of all: for intervals."""

    def __init__(self, dim, *, groups=10):
        self.parts = [Moments(dim) for _ in range(groups)]

    def add(self, indices, features):  # [N] whole numbers, [N, K]
        """Takes the features of the pictures with these numbers."""
        group = np.asarray(indices) % len(self.parts)
        for number, part in enumerate(self.parts):
            if (chosen := group == number).any():
                part.add(np.asarray(features)[chosen])

    def whole(self, *, without=None):
        """Returns the Moments of all groups, or of all but one."""
        if len(self.parts) == 1 and without is None:
            return self.parts[0]
        total = Moments(self.parts[0].dim)
        for number, part in enumerate(self.parts):
            if number != without:
                total.merge(part)
        return total

    def arrays(self):
        """Returns what `from_arrays` takes."""
        return {f"{name}{number}": value for number, part in enumerate(self.parts)
                for name, value in part.arrays().items()}

    @staticmethod
    def from_arrays(arrays):
        """Returns the GroupedMoments that `arrays` came from."""
        count = sum(name.startswith("count") for name in arrays)
        grouped = GroupedMoments(len(arrays["mean0"]), groups=count)
        grouped.parts = [Moments.from_arrays({name: arrays[f"{name}{number}"] for name in ("count", "mean", "scatter")})
                         for number in range(count)]
        return grouped
