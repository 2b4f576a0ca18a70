"""The Fréchet distance between two Gaussians fitted to features (FID; GANs Trained by a Two Time-Scale Update Rule)."""

import numpy as np

LEAST_PICTURES = 2048  # below this an FID says more about n than about the pictures


class Reference:
    """The real side, whose square root is taken once: `reference.distance(mean, covariance)` -> float."""

    def __init__(self, mean, covariance):  # [K], [K, K]
        self.mean, self.covariance = _checked(mean, covariance)
        values, vectors = np.linalg.eigh(self.covariance)
        self._root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T

    def distance(self, mean, covariance):  # [K], [K, K] -> float
        """Returns |μ₁ - μ₂|² + tr(S₁ + S₂ - 2 (S₁^½ S₂ S₁^½)^½), never below 0.

        The last trace is a sum of roots of eigenvalues of a symmetric matrix: real however low the ranks are, where
        the matrix square root of S₁S₂ that others take becomes complex or does not converge.
        """
        mean, covariance = _checked(mean, covariance)
        if mean.shape != self.mean.shape:
            raise ValueError(f"features of two sizes cannot be compared: {len(mean)} and {len(self.mean)}.")
        inner = self._root @ covariance @ self._root
        cross = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(min=0)).sum()
        gap = np.square(mean - self.mean).sum()
        return max(0.0, float(gap + np.trace(self.covariance) + np.trace(covariance) - 2 * cross))


def frechet_distance(mean1, covariance1, mean2, covariance2):  # [K], [K, K], [K], [K, K] -> float
    """Returns the squared Fréchet distance of two Gaussians."""
    return Reference(mean1, covariance1).distance(mean2, covariance2)


def fid(real, generated, *, ddof=0):  # Moments, Moments -> float
    """Returns the FID of two Moments; `ddof` 0 divides the covariance by n (NVIDIA), 1 by n - 1 (clean-fid)."""
    return frechet_distance(real.mean, real.covariance(ddof=ddof), generated.mean, generated.covariance(ddof=ddof))


def fid_with_interval(real, generated, *, ddof=0, interval=True):  # Moments, GroupedMoments -> (value, low, high)
    """Returns the FID and its 95 % interval over generated pictures, the real set taken as it is; (value, None, None)
    without one.

    The interval is a delete-one-group jackknife with Student's t: a bootstrap would draw pictures twice, which raises
    every FID. It needs two pictures a group.
    """
    from scipy.stats import t

    reference = Reference(real.mean, real.covariance(ddof=ddof))

    def distance(moments):
        return reference.distance(moments.mean, moments.covariance(ddof=ddof))

    value = distance(generated.whole())
    groups = len(generated.parts)
    if not interval or groups < 2 or min(part.count for part in generated.parts) < 2:
        return value, None, None
    left_out = np.array([distance(generated.whole(without=number)) for number in range(groups)])
    error = np.sqrt((groups - 1) / groups * np.square(left_out - left_out.mean()).sum())
    reach = float(t.ppf(0.975, groups - 1) * error)
    return value, max(0.0, value - reach), value + reach


def small_n_warning(count, dim):
    """Returns the sentence that says why n is too small for an FID, or None."""
    least = max(LEAST_PICTURES, dim + 1)
    if count >= least:
        return None
    why = f"the covariance of {dim} features cannot have full rank" if count <= dim else "the bias of FID is large"
    return f"FID of {count} pictures: {why}; use {least} or more, or KID, which has no bias."


def _checked(mean, covariance):
    mean, covariance = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_2d(np.asarray(covariance, np.float64))
    if covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"a mean of {len(mean)} features needs a covariance [{len(mean)}, {len(mean)}], "
                         f"got {list(covariance.shape)}.")
    return mean, covariance
