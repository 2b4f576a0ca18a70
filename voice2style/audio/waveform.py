"""Reads recordings of any rate and channel count as mono float32, whole or in blocks, and says what is odd."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from voice2style.audio.decoding import BadAudio, Source, open_source

MAX_SECONDS = 600.0  # `read` holds at most this much
_KEPT_VALUES = 1 << 23  # recordings of up to this many samples are decoded once, longer ones twice (32 MiB)
_FULL_SCALE = 0.999
_CLIPPED_SHARE = 1e-3  # from here on clipping is audible and worth a warning
_SILENT_PEAK = 1e-4  # -80 dB: three steps of a 16-bit recording
_HUGE = 1e6  # from here on squares and sums are taken in float64, as float32 might not hold them
_OPPOSITE = 0.1  # mono level below this share of the channels' level: they cancel
_OFFSET = 0.02  # a constant part above this, and above a tenth of the sound's level, is a fault of the recorder
_OFFSET_MIN_S = 0.1


@dataclass(frozen=True)
class Waveform:
    """A mono recording: samples [S] float32 in [-1, 1], their rate, and findings in plain words (warnings)."""

    samples: np.ndarray
    sample_rate_hz: int
    findings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / self.sample_rate_hz


def read(path, sample_rate_hz: int = 16000, *, max_seconds: float | None = MAX_SECONDS) -> Waveform:
    """The recording at `path` as mono at `sample_rate_hz`; of a longer one the first `max_seconds` (None: all).

    Length round(n * sample_rate_hz / rate). ValueError, with path, cause and remedy, for what cannot be used.
    """
    parts = blocks(path, sample_rate_hz, max_seconds=max_seconds)
    samples = np.concatenate(list(parts))
    return Waveform(samples, sample_rate_hz, tuple(parts.findings))


def blocks(path, sample_rate_hz: int = 16000, block_s: float = 30.0, *, max_seconds: float | None = None) -> "Blocks":
    """The same samples as `read` gives, as an iterator of blocks [block_s * rate] float32 (the last one is shorter).

    Memory stays bounded whatever the length: a first pass looks for faults (`.findings`, `.seconds` are known before
    the first block), a second one decodes. Errors are raised here, not while iterating.
    """
    if not sample_rate_hz >= 1000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; it must be at least 1000")
    if not block_s > 0:
        raise ValueError(f"block_s is {block_s}; it must be above 0")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"max_seconds is {max_seconds}; it must be above 0, or None for the whole recording")
    source = open_source(path)
    survey = _survey(source, max_seconds)
    return Blocks(source, survey, int(sample_rate_hz), max(1, round(block_s * sample_rate_hz)))


class Blocks:
    """An iterator over a recording; see `blocks`. It can be iterated again from the start with iter()."""

    def __init__(self, source: Source, survey: "_Survey", sample_rate_hz: int, block_samples: int):
        self.sample_rate_hz = sample_rate_hz
        self.block_samples = block_samples
        self.num_samples = max(1, round(survey.num_frames * sample_rate_hz / source.sample_rate_hz))
        self.seconds = survey.num_frames / source.sample_rate_hz
        self.findings = _findings(source, survey, sample_rate_hz)
        self._source, self._survey = source, survey
        self._iterator = None

    def __iter__(self) -> Iterator[np.ndarray]:
        waiting, num_waiting = [], 0
        for part in self._resampled():
            waiting.append(part)
            num_waiting += len(part)
            if num_waiting >= self.block_samples:
                joined = np.concatenate(waiting)
                whole = num_waiting - num_waiting % self.block_samples
                yield from np.split(joined[:whole], range(self.block_samples, whole, self.block_samples))
                waiting, num_waiting = [joined[whole:]], num_waiting - whole
        if num_waiting:
            yield np.concatenate(waiting)

    def __next__(self) -> np.ndarray:
        if self._iterator is None:
            self._iterator = iter(self)
        return next(self._iterator)

    def _resampled(self) -> Iterator[np.ndarray]:
        """Mono parts at the wanted rate, together exactly `num_samples` long."""
        rate_in, rate_out = self._source.sample_rate_hz, self.sample_rate_hz
        mono = (self._survey.mono(block) for block in self._survey.decoded(self._source))
        if rate_in != rate_out:
            mono = _resample(mono, rate_in, rate_out)
        missing, last = self.num_samples, np.zeros(1, np.float32)
        for part in mono:
            if len(part) and missing:
                yield np.clip(part[:missing], -1.0, 1.0)
                missing, last = max(0, missing - len(part)), part[-1:]
        if missing:  # a sample or two of rounding; or a clip of one sample, which resampling to a lower rate loses
            yield np.clip(np.repeat(last, missing), -1.0, 1.0)


def _resample(parts: Iterator[np.ndarray], rate_in: int, rate_out: int) -> Iterator[np.ndarray]:
    """Parts [.] at another rate: soxr's high quality, whose results do not depend on how the parts are cut."""
    import soxr

    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ")
    held = None  # the last part must be named as such
    for part in parts:
        if held is not None:
            yield stream.resample_chunk(held)
        held = part
    if held is not None:
        yield stream.resample_chunk(held, last=True)


@dataclass
class _Survey:
    """What the first pass over a recording finds."""

    max_frames: int | None
    num_frames: int = 0
    more: bool = False  # whether frames follow after max_frames
    peak: float = 0.0
    full_scale: int = 0  # frames with a channel at full scale
    num_bad: int = 0
    first_bad: int = 0
    mono_sum: float = 0.0
    mono_square: float = 0.0
    channel_square: np.ndarray = 0.0  # [channels]
    loudest: int | None = None  # the one channel to use, where the mean of all cancels
    offset: float = 0.0  # constant part to take off
    scale: float = 1.0
    kept: list[np.ndarray] | None = field(default_factory=list)

    def add(self, block: np.ndarray) -> None:
        """Take a decoded block [frames, channels] into account."""
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):  # min and max hand on NaN and Inf
            bad = ~np.isfinite(block).all(axis=1)
            self.first_bad = self.first_bad if self.num_bad else self.num_frames + int(bad.argmax())
            self.num_bad += int(bad.sum())
            self.num_frames += len(block)
            return
        peak = max(-low, high)
        self.peak = max(self.peak, peak)
        if peak >= _FULL_SCALE:
            self.full_scale += int((np.abs(block) >= _FULL_SCALE).any(axis=1).sum())
        block = block.astype(np.float64) if peak > _HUGE else block
        mono = _mean_of_channels(block)
        self.mono_sum += float(mono.sum(dtype=np.float64))
        self.mono_square += float(mono @ mono)
        self.channel_square = self.channel_square + np.array([float(channel @ channel) for channel in block.T])
        self.num_frames += len(block)

    def decoded(self, source: Source) -> Iterator[np.ndarray]:
        """Decoded blocks [frames, channels] up to max_frames: the kept ones, else decoded once more."""
        if self.kept is not None:
            return iter(self.kept)
        return _limited(source, self.num_frames)

    def mono(self, block: np.ndarray) -> np.ndarray:
        """The mean of the channels (or the loudest), without offset and within full scale: [frames] float32."""
        block = block.astype(np.float64) if self.peak > _HUGE else block
        mono = _mean_of_channels(block) if self.loudest is None else block[:, self.loudest]
        if self.offset:
            mono = mono - block.dtype.type(self.offset)
        mono = mono if self.scale == 1.0 else mono * block.dtype.type(self.scale)
        return np.ascontiguousarray(mono, np.float32)


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    """The mean of [frames, channels] over the channels; column by column, as numpy is slow along short axes."""
    total = block[:, 0]
    for channel in range(1, block.shape[1]):
        total = total + block[:, channel]
    return total if block.shape[1] == 1 else total * np.float32(1 / block.shape[1])


def _limited(source: Source, max_frames: int | None) -> Iterator[np.ndarray]:
    """Decoded blocks [frames, channels], `max_frames` in all (None: every one)."""
    left = max_frames
    for block in source.blocks():
        if left is None:
            yield block
        elif left > 0:
            yield block[:left]
            left -= len(block)
        else:
            return


def _survey(source: Source, max_seconds: float | None) -> _Survey:
    """The first pass: levels, faults, and how to make one channel of it. BadAudio for what cannot be used."""
    limit = None if max_seconds is None else max(1, round(max_seconds * source.sample_rate_hz))
    survey = _Survey(limit)
    for block in _limited(source, None if limit is None else limit + 1):
        if limit is not None and survey.num_frames + len(block) > limit:
            survey.more = True
            block = block[: limit - survey.num_frames]
        if len(block):
            survey.add(block)
            if survey.kept is not None:
                survey.kept.append(block)
                if survey.num_frames * source.num_channels > _KEPT_VALUES:
                    survey.kept = None
    if survey.num_frames == 0:
        raise BadAudio(f"{source.path}: contains no samples; record or copy the file again")
    if survey.num_bad:
        at_s = survey.first_bad / source.sample_rate_hz
        raise BadAudio(f"{source.path}: {survey.num_bad} non-finite samples (NaN or Inf), first at {at_s:.3f} s; "
                         f"export the file again as 16-bit PCM")
    _decide(survey, source)
    return survey


def _decide(survey: _Survey, source: Source) -> None:
    """Choose channel, offset and scale from the levels found."""
    num = survey.num_frames
    level = float(np.sqrt(survey.channel_square.max() / num))
    mean, square = survey.mono_sum / num, survey.mono_square / num
    if source.num_channels == 2 and level > 0 and np.sqrt(square) < _OPPOSITE * level:
        survey.loudest = int(survey.channel_square.argmax())
    elif abs(mean) > max(_OFFSET, 0.1 * np.sqrt(max(0.0, square - mean * mean))):
        survey.offset = mean if num >= _OFFSET_MIN_S * source.sample_rate_hz else 0.0
    if survey.peak > 1.0:
        survey.scale = 1.0 / survey.peak


def _findings(source: Source, survey: _Survey, sample_rate_hz: int) -> list[str]:
    """Everything worth a warning, one plain sentence each."""
    found, rate = [], source.sample_rate_hz
    declared = source.declared_frames
    if survey.more:
        total = f" of {declared / rate:.0f} s" if declared else ""
        found.append(f"only the first {survey.num_frames / rate:.0f} s{total} are used")
    elif declared and survey.num_frames < declared:
        found.append(f"shorter than its header says: {survey.num_frames / rate:.2f} of {declared / rate:.2f} s "
                     f"could be read; the file may be cut")
    elif not source.has_end:
        found.append(f"ends without its end mark after {survey.num_frames / rate:.2f} s; the file may be cut")
    if rate < sample_rate_hz:
        found.append(f"no energy above {rate / 2000:g} kHz (recorded at {rate} Hz); details of the voice are missing")
    if survey.peak > 1.0:
        found.append(f"peaks at {survey.peak:.3g} times full scale; scaled down to fit")
    elif survey.full_scale >= max(2, _CLIPPED_SHARE * survey.num_frames):
        found.append(f"clipping: {survey.full_scale / survey.num_frames:.1%} of the samples are at full scale")
    if survey.loudest is not None:
        found.append(f"the two channels are in opposite phase and cancel; only channel {survey.loudest + 1} is used")
    if survey.offset:
        found.append(f"a constant offset of {survey.offset:.3f} was taken off")
    deviation = survey.mono_square / survey.num_frames - (survey.mono_sum / survey.num_frames) ** 2
    if survey.peak < _SILENT_PEAK:
        found.append("silence: nothing rises above -80 dB of full scale")
    elif survey.loudest is None and deviation < (0.1 * _SILENT_PEAK) ** 2:
        found.append("silence: only a constant offset, no sound")
    return found
