"""Orthogonal wavelet filters from first principles (Daubechies 1992), and the four-band filter bank built of them."""

import functools
import itertools
import math

import numpy as np


@functools.cache
def symlet(num_moments):  # -> tuple of 2 * num_moments taps, sum √2, sum of squares 1
    """Returns the low-pass filter of the symlet with `num_moments` vanishing moments (2: sym2, 6: sym6).

    |H(ω)|² = 2 cos(ω/2)^2M · P(sin²(ω/2)) with Daubechies' polynomial P. Each root of P gives a pair (z, 1/z); of all
    ways to take one of each pair (conjugates together) the symlet is the one whose phase is nearest to a line.
    """
    polynomial = [math.comb(num_moments - 1 + k, k) for k in range(num_moments)]
    pairs = []
    for y in np.roots(polynomial[::-1]):
        if y.imag >= -1e-12:  # of conjugate roots the upper one stands for both
            # y = sin²(ω/2) = (2 - z - 1/z) / 4
            inside, outside = sorted(np.roots([1, 4 * y - 2, 1]), key=abs)
            real = abs(y.imag) < 1e-12
            pairs.append([[z.real] if real else [z, z.conjugate()] for z in (inside, outside)])
    candidates = [_filter_of(num_moments, sum(choice, [])) for choice in itertools.product(*pairs)]
    best = min(candidates, key=lambda taps: (round(_bend_of_phase(taps), 9), int(np.argmax(np.abs(taps)))))
    return tuple(best.tolist())


def _filter_of(num_moments, roots):
    taps = np.real(np.poly([-1.0] * num_moments + roots))
    return taps * math.sqrt(2) / taps.sum()


def _bend_of_phase(taps):
    """Returns how far the phase is from a straight line, weighed by the filter's power."""
    omega = np.linspace(0, math.pi * 0.95, 256)
    response = np.exp(-1j * np.outer(omega, np.arange(len(taps)))) @ taps
    phase, power = np.unwrap(np.angle(response)), np.abs(response) ** 2
    slope = (power * omega * phase).sum() / (power * omega**2).sum()
    return float((power * (phase - slope * omega) ** 2).sum() / power.sum())


@functools.cache
def octave_bank(num_bands=4):
    """Returns zero-phase filters [num_bands, taps] that add up to the identity, an octave each from low to high.

    With sym2's H: low(z) = H(z)H(1/z)/2 and high(z) = H(-z)H(-1/z)/2 = 1 - low(z) halve the band; the low half is
    halved again with the filters stretched twofold (Karras et al. 2020, appendix B).
    """
    taps = np.array(symlet(2))
    low = np.convolve(taps, taps[::-1]) / 2
    identity = np.zeros(len(low))
    identity[len(low) // 2] = 1
    high = identity - low
    bands, below = [], np.ones(1)
    for octave in range(num_bands - 1):
        bands.append(np.convolve(below, _stretched(high, 2**octave)))
        below = np.convolve(below, _stretched(low, 2**octave))
    bands.append(below)
    size = max(map(len, bands))
    return np.stack([np.pad(band, (size - len(band)) // 2) for band in reversed(bands)])


def _stretched(taps, factor):
    out = np.zeros((len(taps) - 1) * factor + 1)
    out[::factor] = taps
    return out
