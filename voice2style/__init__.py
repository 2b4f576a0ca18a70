"""A voice becomes a face: `voice2style.load()`, then `.face("hello.wav")`. Nothing heavy is imported before use."""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "load": "voice2style.pipeline",
    "VoiceToFace": "voice2style.pipeline",
    "load_networks": "voice2style.networks",
    "Card": "voice2style.card",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'voice2style' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_HOMES])
