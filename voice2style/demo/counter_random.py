"""Random numbers that depend only on (seed, purpose, counters): person 7 is the same person in any batch.

Each number is a hash of its key (SplitMix64: Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
2014), so any of them can be had without drawing those before it. Names, not positions, pick the channel: adding a trait
changes no other.
"""

import functools
import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@functools.lru_cache(maxsize=4096)
def _word(text):  # -> 64 bits from a name
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def _mix(x):  # uint64 array -> uint64 array
    """SplitMix64's finaliser: every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Counters:
    """Streams of numbers for N keys: one key for each row of the counters (such as person, or person and shot)."""

    def __init__(self, seed, purpose, *counters):  # counters: int arrays [N]
        with np.errstate(over="ignore"):
            key = _mix(_word(purpose) ^ (np.uint64(seed) * _GOLDEN + np.uint64(1)))
            for counter in counters:
                key = _mix(key + (np.asarray(counter).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        self._key = np.atleast_1d(key)

    def __len__(self):
        return len(self._key)

    def bits(self, name):  # -> uint64 [N]
        """64 random bits a key for this channel."""
        return _mix(_mix(self._key ^ _word(name)) + _GOLDEN)

    def uniform(self, name):  # -> float64 [N] in (0, 1)
        """Uniform numbers, never exactly 0 or 1."""
        return ((self.bits(name) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, name):  # -> float64 [N]
        """Standard normal numbers (Box and Muller's transform of two channels)."""
        radius = np.sqrt(-2 * np.log(self.uniform(name + "/radius")))
        return radius * np.cos(2 * np.pi * self.uniform(name + "/angle"))
