"""Finds the stretches of a recording that hold speech: where bands rise together above their own noise floor."""


import numpy as np

from voice2style.audio.filterbank import hamming, hz_to_mel, mel_to_hz

DETECTORS = ("own", "silero")

_FRAME_S, _HOP_S = 0.025, 0.010
_NUM_BANDS, _LOW_HZ, _HIGH_HZ = 20, 150.0, 5000.0
_NUM_BEST = 8  # bands that a frame is judged by: speech fills some bands, never all
_FLOOR_PERCENTILE = 10
_ON_DB, _OFF_DB = 5.0, 3.0  # hysteresis on the score
_BELOW_PEAK_DB = 45.0  # what is quieter than the loudest frame by more than this is not the speaker
_LEAST_DB = -75.0  # band energies below this level re full scale count as this: the last bits of silence are no speech
_CLOSE_S, _OPEN_S = 0.200, 0.080  # pauses shorter than this are closed, bursts shorter than this dropped
_CHUNK_FRAMES = 4096


def speech_spans(samples, sample_rate_hz: int, *, detector: str = "own") -> list[tuple[float, float]]:
    """The spans (start_s, end_s) of `samples` [S] that hold speech, in order; an empty list if none does.

    "own" is deterministic and needs numpy only; noise floors are percentiles over the samples given, so 2 to 60 s at a
    time suit it. "silero" is a small trained network (the extra `vad`), better in noise around the speaker's own level.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}; give one mono clip [S]")
    if not sample_rate_hz >= 1000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; it must be at least 1000")
    if detector not in DETECTORS:
        raise ValueError(f"detector is {detector!r}; choose one of {', '.join(DETECTORS)}")
    if not np.isfinite(samples).all():
        raise ValueError("samples hold NaN or Inf; clean the recording first")
    if detector == "silero":
        return _silero_spans(samples, sample_rate_hz)
    if len(samples) < round(_FRAME_S * sample_rate_hz):
        return []
    speech = speech_frames(samples, sample_rate_hz)
    starts, ends = _runs(speech)
    length_s = len(samples) / sample_rate_hz
    margin_s = (_FRAME_S - _HOP_S) / 2  # a frame speaks for the hop around its centre
    return [(max(0.0, _HOP_S * a + (margin_s if a else 0.0)), length_s if b == len(speech) else _HOP_S * b + margin_s)
            for a, b in zip(starts.tolist(), ends.tolist())]


def speech_frames(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Whether each frame (25 ms, every 10 ms) holds speech [T] bool."""
    bands_db, level_db = _levels(samples, sample_rate_hz)
    bands_db = _running_mean(bands_db, 3)
    snr_db = bands_db - np.percentile(bands_db, _FLOOR_PERCENTILE, axis=0)
    best = np.partition(snr_db, -_NUM_BEST, axis=1)[:, -_NUM_BEST:]
    score = best.mean(axis=1)
    score = _running_mean((score - np.percentile(score, _FLOOR_PERCENTILE))[:, None], 5)[:, 0]
    near = level_db > max(level_db.max() - _BELOW_PEAK_DB, _LEAST_DB)
    speech = _hysteresis(np.where(near, score, -np.inf))
    speech = _without_short_runs(speech, round(_CLOSE_S / _HOP_S), value=False)
    return _without_short_runs(speech, round(_OPEN_S / _HOP_S), value=True)


def _levels(samples: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels in dB re full scale of every frame: by band [T, bands], and of all bands together [T]."""
    frame, hop = round(_FRAME_S * sample_rate_hz), max(1, round(_HOP_S * sample_rate_hz))
    n_fft = 1 << (frame - 1).bit_length()
    window = hamming(frame).astype(np.float32)
    filters = _band_filters(n_fft, sample_rate_hz)
    offset = np.float32(samples.mean(dtype=np.float64))
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    energy = np.empty((len(frames), len(filters)), np.float32)
    for at in range(0, len(frames), _CHUNK_FRAMES):
        spectrum = np.fft.rfft((frames[at:at + _CHUNK_FRAMES] - offset).astype(np.float32) * window, n_fft)
        energy[at:at + _CHUNK_FRAMES] = (np.square(spectrum.real) + np.square(spectrum.imag)) @ filters.T
    full_scale = 0.25 * float(window.sum()) ** 2  # the peak bin of a sine of amplitude 1
    least = 10 ** (_LEAST_DB / 10)
    total = energy.sum(axis=1) / full_scale
    return 10 * np.log10(energy / full_scale + least), 10 * np.log10(total + 1e-12)


def _band_filters(n_fft: int, sample_rate_hz: int) -> np.ndarray:
    """Adjacent bands of equal mel width [bands, n_fft // 2 + 1] from 150 to 5000 Hz (or what the rate allows)."""
    high_hz = min(_HIGH_HZ, 0.48 * sample_rate_hz)
    edges = mel_to_hz(np.linspace(hz_to_mel(_LOW_HZ), hz_to_mel(high_hz), _NUM_BANDS + 1))
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    width = sample_rate_hz / n_fft  # each bin stands for the frequencies half a bin around it
    overlap = np.minimum(edges[1:, None], bins_hz + width / 2) - np.maximum(edges[:-1, None], bins_hz - width / 2)
    return np.clip(overlap / width, 0.0, 1.0).astype(np.float32)


def _running_mean(rows: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` rows of [T, .]; the ends are replicated."""
    padded = np.pad(rows.astype(np.float64), ((width // 2, width // 2), (0, 0)), mode="edge")
    return sum(padded[k:k + len(rows)] for k in range(width)) / width


def _hysteresis(score: np.ndarray) -> np.ndarray:
    """Runs above the lower threshold [T] that somewhere exceed the upper one."""
    starts, ends = _runs(score > _OFF_DB)
    speech = np.zeros(len(score), bool)
    for start, end in zip(starts, ends):
        speech[start:end] = score[start:end].max() > _ON_DB
    return speech


def _without_short_runs(speech: np.ndarray, least: int, *, value: bool) -> np.ndarray:
    """`speech` [T] with runs of `value` shorter than `least` frames inverted; silent ends stay silent."""
    speech = speech.copy()
    starts, ends = _runs(speech == value)
    for start, end in zip(starts, ends):
        inside = start > 0 and end < len(speech)
        if end - start < least and (inside or value):
            speech[start:end] = not value
    return speech


def _runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the runs of True in [T]."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _silero_spans(samples: np.ndarray, sample_rate_hz: int) -> list[tuple[float, float]]:
    """The spans that the silero network finds; its models come inside its package."""
    try:
        import silero_vad
    except ImportError:
        raise ValueError("detector='silero' needs the package silero-vad; install it with "
                         "pip install 'voice2style[vad]', or use detector='own'") from None
    import torch

    wave = samples.astype(np.float32)
    if sample_rate_hz not in (8000, 16000):
        import soxr

        wave, sample_rate_hz = soxr.resample(wave, sample_rate_hz, 16000), 16000
    wave, model = torch.from_numpy(np.ascontiguousarray(wave)), silero_vad.load_silero_vad()
    stamps = silero_vad.get_speech_timestamps(wave, model, sampling_rate=sample_rate_hz)
    return [(stamp["start"] / sample_rate_hz, stamp["end"] / sample_rate_hz) for stamp in stamps]
