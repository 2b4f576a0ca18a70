"""The fixed tables of the front-end in float64: windows, mel triangles, cosine transform, regression slopes."""

import numpy as np


def hamming(num_samples: int) -> np.ndarray:
    """The symmetric Hamming window [num_samples], 0.54 - 0.46 cos(2 pi n / (N - 1)) (the paper's eq. 5)."""
    if num_samples == 1:
        return np.ones(1)
    return 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(num_samples) / (num_samples - 1))


def hann(num_samples: int) -> np.ndarray:
    """The periodic Hann window [num_samples], as short-time Fourier transforms use it."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num_samples) / num_samples)


def hz_to_mel(hz):
    """The HTK mel scale, 2595 log10(1 + f/700). The paper prints ln, which belongs to the constant 1127."""
    return 2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0)


def mel_to_hz(mel):
    """Inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel, dtype=np.float64) / 2595.0) - 1.0)


def mel_filters(num_mels: int, n_fft: int, sample_rate_hz: float, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Triangles of peak 1 [num_mels, n_fft // 2 + 1], linear in Hz and evaluated exactly at the bin centres."""
    edges_hz = mel_to_hz(np.linspace(hz_to_mel(fmin_hz), hz_to_mel(fmax_hz), num_mels + 2))
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bins_hz = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    return np.maximum(0.0, np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)))


def empty_filters(num_mels: int, n_fft: int, sample_rate_hz: float, fmin_hz: float, fmax_hz: float) -> int:
    """How many triangles touch no FFT bin."""
    return int((mel_filters(num_mels, n_fft, sample_rate_hz, fmin_hz, fmax_hz).max(axis=1) <= 0).sum())


def dct_matrix(num_coefficients: int, num_bands: int) -> np.ndarray:
    """The orthonormal DCT-II [num_coefficients, num_bands] (the paper's eq. 8 with its missing scale)."""
    n, m = np.arange(num_coefficients)[:, None], np.arange(num_bands)[None, :]
    matrix = np.sqrt(2.0 / num_bands) * np.cos(np.pi * n * (m + 0.5) / num_bands)
    matrix[0] /= np.sqrt(2.0)
    return matrix


def slope_weights(width: int) -> np.ndarray:
    """Weights [width] of the differences c(t+k) - c(t-k), k = 1..width: k / (2 sum k^2) (eq. 9)."""
    k = np.arange(1, width + 1, dtype=np.float64)
    return k / (2.0 * np.sum(k * k))
