"""Measures speech recordings: loudness (ITU-R BS.1770-4), clipping, and an estimate of the signal-to-noise ratio."""

import numpy as np

_SHELF = 3.999843853973347, 0.7071752369554196, 1681.974450955533  # dB, Q, Hz: the head
_HIGH_PASS = 0.5003270373238773, 38.13547087602444  # Q, Hz
_BLOCK_S, _STEP_S = 0.4, 0.1
_ABSOLUTE_LUFS, _RELATIVE_LU = -70.0, -10.0
_FRAME_S = 0.02
_LEAST_NOISE_FRAMES = 10
_CLIPPED = 0.999
_SNR_RANGE_DB = -10.0, 80.0


def loudness_lufs(samples, sample_rate_hz):  # float [S] -> LUFS
    """The gated loudness of a mono recording (BS.1770-4); -70 if nothing lies above the absolute gate.

    Recordings shorter than one block of 0.4 s count as one block.
    """
    from scipy.signal import sosfilt

    weighted = sosfilt(_k_weighting(sample_rate_hz), samples)
    block, step = round(_BLOCK_S * sample_rate_hz), round(_STEP_S * sample_rate_hz)
    total = np.concatenate([[0.0], np.cumsum(np.square(weighted, dtype=np.float64))])
    starts = np.arange(0, max(len(samples) - block, 0) + 1, step)
    ends = np.minimum(starts + block, len(samples))
    power = (total[ends] - total[starts]) / np.maximum(ends - starts, 1)
    power = power[_lufs(power) > _ABSOLUTE_LUFS]
    if len(power):
        power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE_LU]
    return float(_lufs(power.mean())) if len(power) else _ABSOLUTE_LUFS


def _lufs(power):
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-20))


def _k_weighting(rate_hz):  # -> sos [2, 6]
    """The two filters of BS.1770 at any rate, by the bilinear transform of their analogue form."""
    gain_db, q, at_hz = _SHELF
    k = np.tan(np.pi * at_hz / rate_hz)
    high, band = 10 ** (gain_db / 20), 10 ** (gain_db / 20 * 0.4996667741545416)
    a0 = 1 + k / q + k * k
    shelf = [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0,
             1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    q, at_hz = _HIGH_PASS
    k = np.tan(np.pi * at_hz / rate_hz)
    a0 = 1 + k / q + k * k
    return np.array([shelf, [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]])


def clipped_share(samples):
    """The share of samples at full scale."""
    return float(np.count_nonzero(np.abs(samples) >= _CLIPPED) / max(len(samples), 1))


def snr_db(samples, sample_rate_hz, spans=None):  # float [S], [(start_s, end_s)] -> dB
    """The ratio of speech to noise power, from frames of 20 ms, within -10 to 80 dB.

    Speech is what lies in `spans`, noise the rest. Without spans, or where less than 0.2 s lies outside them, the
    quietest twentieth of the frames stands for noise: that overestimates noise in recordings without pauses.
    """
    frame = round(_FRAME_S * sample_rate_hz)
    count = len(samples) // frame
    if count < 2:
        return 0.0
    frames = samples[: count * frame].reshape(count, frame).astype(np.float64)
    power = frames.var(axis=1)
    middle_s = (np.arange(count) + 0.5) * _FRAME_S
    speech = np.zeros(count, bool)
    for start, end in spans or ():
        speech |= (middle_s >= start) & (middle_s < end)
    if spans is None or np.count_nonzero(~speech) < _LEAST_NOISE_FRAMES or not speech.any():
        quiet = np.sort(power)[: max(1, count // 20)]
        noise, both = quiet.mean(), power.mean()
    else:
        noise, both = power[~speech].mean(), power[speech].mean()
    ratio = max(both - noise, 1e-20) / max(noise, 1e-20)
    return float(np.clip(10 * np.log10(ratio), *_SNR_RANGE_DB))
