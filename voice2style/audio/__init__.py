"""From a recording to features: decoding, finding the speech, and the front-end that lives inside every model.

The names below are looked up when they are used, so that reading recordings does not load PyTorch.
"""

import importlib

_HOMES = {"FrontEnd": "frontend", "FrontEndStream": "frontend", "AudioSettings": "settings"}

__all__ = ["AudioSettings", "FrontEnd", "FrontEndStream"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
