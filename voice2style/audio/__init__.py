"""From a recording to features: decoding, finding the speech, and the front-end that lives inside every model."""

from voice2style.audio.frontend import FrontEnd, FrontEndStream
from voice2style.audio.settings import AudioSettings

__all__ = ["AudioSettings", "FrontEnd", "FrontEndStream"]
