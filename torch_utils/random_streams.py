"""Independent random streams, each named by a seed and a purpose: same name, same numbers, whatever else ran."""

import hashlib

import numpy as np


def _key(seed, names):
    text = "\x1f".join([str(int(seed)), *[str(name) for name in names]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def stream(seed, *names):
    """Returns a torch.Generator (CPU) for `seed` and a purpose such as ("noise", step, rank)."""
    import torch

    generator = torch.Generator()
    generator.manual_seed(_key(seed, names) & (2**63 - 1))
    return generator


def numpy_stream(seed, *names):
    """Returns a numpy.random.Generator for `seed` and a purpose."""
    return np.random.default_rng(_key(seed, names))
