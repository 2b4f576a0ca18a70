"""The numbers that define an audio front-end; they travel in every checkpoint's card."""

import math
import warnings
from dataclasses import dataclass

KINDS = ("mfcc", "logmel", "spectrogram")
NORMALISATIONS = ("none", "cmvn")

# No front-end needs more; a card that asks for more would only eat memory.
_MOST_RATE, _MOST_FFT, _MOST_MELS, _MOST_WIDTH = 1_000_000, 1 << 16, 512, 1000

# What a field left at None becomes, by kind: the three published front-ends.
_BY_KIND = {
    "mfcc": {"preemphasis": 0.95, "frame_ms": 25.0, "hop_ms": 12.5, "normalise": "none"},
    "logmel": {"preemphasis": 0.95, "frame_ms": 25.0, "hop_ms": 10.0, "normalise": "cmvn"},
    "spectrogram": {"preemphasis": 0.0, "frame_ms": 25.0, "hop_ms": 10.0, "normalise": "none"},
}


@dataclass(frozen=True)
class AudioSettings:
    """Settings of one front-end. Fields left at None take their kind's published value and are never None afterwards.

    kind            "mfcc" (static, delta, delta-delta), "logmel" or "spectrogram" (compressed real and imaginary part)
    preemphasis     s'(n) = s(n) - preemphasis * s(n-1), s'(0) = s(0); 0 turns it off
    frame_ms hop_ms rounded to whole samples
    n_fft           None: the next power of two at or above the frame
    num_mels        triangular HTK filters from fmin_hz to fmax_hz (None: half the sample rate); unused by "spectrogram"
    num_mfcc        cepstral coefficients kept, the zeroth included; used by "mfcc" only
    log_floor       band energies below it are raised to it before the logarithm
    delta_width     K of the regression slopes: a slope looks K frames to either side; used by "mfcc" only
    normalise       "none", or "cmvn": every row gets zero mean and unit variance over the clip
    """

    kind: str = "mfcc"
    sample_rate_hz: int = 16000
    preemphasis: float | None = None
    frame_ms: float | None = None
    hop_ms: float | None = None
    n_fft: int | None = None
    num_mels: int = 64
    num_mfcc: int = 40
    fmin_hz: float = 0.0
    fmax_hz: float | None = None
    log_floor: float = 1e-10
    delta_width: int = 2
    normalise: str | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if hasattr(value, "item"):  # numbers of numpy and torch become plain ones, as the card holds them
                object.__setattr__(self, name, value.item())
        if self.kind not in KINDS:
            raise ValueError(f"audio kind {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        _check_number(self, "sample_rate_hz", low=1000, high=_MOST_RATE, whole=True)
        if isinstance(self.normalise, bool):  # the plain question "normalise?" deserves the plain answer
            object.__setattr__(self, "normalise", "cmvn" if self.normalise else "none")
        for name, value in _BY_KIND[self.kind].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        _check_number(self, "frame_ms", low=0, above=True)
        _check_number(self, "hop_ms", low=0, above=True)
        if self.n_fft is None:
            object.__setattr__(self, "n_fft", 1 << max(0, self.frame_samples - 1).bit_length())
        if self.fmax_hz is None:
            object.__setattr__(self, "fmax_hz", self.sample_rate_hz / 2)
        _check(self)

    @classmethod
    def mfcc(cls, **changes) -> "AudioSettings":
        """The default: 40 MFCC with their slopes from 64 bands, 25 ms frames half overlapping."""
        return cls(kind="mfcc", **changes)

    @classmethod
    def logmel(cls, **changes) -> "AudioSettings":
        """64 log-mel bands, 25 ms frames every 10 ms, each band normalised over the clip."""
        return cls(kind="logmel", **changes)

    @classmethod
    def spectrogram(cls, **changes) -> "AudioSettings":
        """Speech2Face's input: Hann frames of 25 ms every 10 ms, 512-point FFT, parts raised to the power 0.3."""
        return cls(kind="spectrogram", **changes)

    @property
    def frame_samples(self) -> int:
        """Samples in one frame."""
        return max(1, round(self.frame_ms * self.sample_rate_hz / 1000))

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return max(1, round(self.hop_ms * self.sample_rate_hz / 1000))

    @property
    def planes(self) -> int:
        """Feature planes stacked along C: static, delta, delta-delta; or real, imaginary; or just one."""
        return {"mfcc": 3, "logmel": 1, "spectrogram": 2}[self.kind]

    @property
    def rows(self) -> int:
        """Rows of one plane."""
        return {"mfcc": self.num_mfcc, "logmel": self.num_mels, "spectrogram": self.n_fft // 2 + 1}[self.kind]

    @property
    def num_features(self) -> int:
        """C, the rows of all planes together."""
        return self.planes * self.rows


def _check_number(settings: AudioSettings, name: str, *, low: float, high: float = math.inf, above: bool = False,
                  whole: bool = False) -> None:
    """Raise ValueError unless the field is a finite number from (or, if `above`, strictly above) `low` to `high`."""
    value = getattr(settings, name)
    allowed = int if whole else (int, float)
    good = isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < low or (above and value == low):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} is {value!r}; it must be {kind} {'above' if above else 'of at least'} {low:g}")
    if value > high:
        raise ValueError(f"{name} is {value}; it can be at most {high}")


def _check(s: AudioSettings) -> None:
    """Raise ValueError for settings that cannot give features; warn about unusual frames."""
    _check_number(s, "n_fft", low=1, high=_MOST_FFT, whole=True)
    _check_number(s, "num_mels", low=1, high=_MOST_MELS, whole=True)
    _check_number(s, "num_mfcc", low=1, whole=True)
    _check_number(s, "delta_width", low=1, high=_MOST_WIDTH, whole=True)
    _check_number(s, "fmin_hz", low=0)
    _check_number(s, "fmax_hz", low=0, above=True)
    _check_number(s, "log_floor", low=0, above=True)
    _check_number(s, "preemphasis", low=0)
    if s.preemphasis > 1:
        raise ValueError(f"preemphasis is {s.preemphasis:g}; it must lie between 0 (off) and 1")
    if s.normalise not in NORMALISATIONS:
        raise ValueError(f"normalise is {s.normalise!r}; choose one of {', '.join(NORMALISATIONS)}")
    if s.n_fft < s.frame_samples:
        raise ValueError(
            f"n_fft is {s.n_fft} but a frame of {s.frame_ms:g} ms at {s.sample_rate_hz} Hz has {s.frame_samples} "
            f"samples; raise n_fft to at least {s.frame_samples} or shorten frame_ms"
        )
    if s.hop_samples > s.frame_samples:
        raise ValueError(
            f"hop_ms is {s.hop_ms:g}, longer than frame_ms {s.frame_ms:g}, which would skip samples; "
            f"use at most {s.frame_ms:g}"
        )
    if s.kind != "spectrogram":
        _check_bands(s)
    if s.kind == "mfcc" and s.num_mfcc > s.num_mels:
        raise ValueError(f"num_mfcc is {s.num_mfcc} but there are only {s.num_mels} mel bands; use at most num_mels")
    if not 20 <= s.frame_ms <= 40:
        warnings.warn(f"frame_ms is {s.frame_ms:g}; speech frames are usually 20 to 40 ms long", stacklevel=4)


def _check_bands(s: AudioSettings) -> None:
    """Raise ValueError when the mel bands leave the spectrum or fall between two FFT bins."""
    if s.fmax_hz > s.sample_rate_hz / 2:
        raise ValueError(
            f"fmax_hz is {s.fmax_hz:g}, above half the sample rate; at {s.sample_rate_hz} Hz it can be at most "
            f"{s.sample_rate_hz / 2:g}"
        )
    if s.fmin_hz >= s.fmax_hz:
        raise ValueError(f"fmin_hz is {s.fmin_hz:g}; it must be below fmax_hz, which is {s.fmax_hz:g}")
    from voice2style.audio.filterbank import empty_filters  # numpy is needed only from here on

    empty = empty_filters(s.num_mels, s.n_fft, s.sample_rate_hz, s.fmin_hz, s.fmax_hz)
    if empty:
        raise ValueError(
            f"num_mels is {s.num_mels}: {empty} of the filters would fall between the bins of a {s.n_fft}-point FFT "
            f"and hear nothing; use n_fft={2 * s.n_fft} (or more), or fewer bands"
        )
