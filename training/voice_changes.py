"""Single changes to a voice: noise, tempo, rate, gain, band limits, room. Plain numpy; each does one thing exactly.

A wave is float32 [S] in about [-1, 1]; `rng` is a numpy Generator.
"""

import math

import numpy as np

from voice2style.audio.voice_activity import speech_spans

NOISES = ("white", "pink", "babble")
MAX_SPEED = 0.05  # resampling moves pitch and formants, which say whose voice it is
_WSOLA_FRAME_S, _WSOLA_SEARCH_S = 0.032, 0.008
_EDGE_OCTAVES = 0.25  # width of the soft edge of a band limit


def speech_rms(wave, sample_rate_hz):  # -> float
    """Returns the root mean square over the speech of a wave, pauses left out; over all of it where none is found."""
    spans = speech_spans(wave, sample_rate_hz)
    parts = [wave[round(a * sample_rate_hz):round(b * sample_rate_hz)] for a, b in spans]
    active = np.concatenate(parts) if parts else wave
    return float(np.sqrt(np.mean(np.square(active, dtype=np.float64)))) if len(active) else 0.0


def make_noise(kind, num_samples, rng, babble=()):  # -> float32 [S] of root mean square 1
    """Returns white noise, pink noise (power ~ 1/f), or babble: up to five of the clips `babble` over each other."""
    if kind not in NOISES:
        raise ValueError(f'no noise of kind "{kind}"; allowed: {", ".join(NOISES)}')
    if kind == "babble":
        if not len(babble):
            raise ValueError("noise of kind babble needs clips of other voices to be made of; give some")
        picks = rng.choice(len(babble), size=min(5, len(babble)), replace=False)
        noise = sum(_anywhere(np.asarray(babble[pick], np.float32), num_samples, rng) for pick in picks)
    else:
        noise = rng.standard_normal(num_samples, dtype=np.float32)
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        spectrum[0] = 0
        noise = np.fft.irfft(spectrum, num_samples)
    level = np.sqrt(np.mean(np.square(noise, dtype=np.float64)))
    return (noise / max(level, 1e-12)).astype(np.float32)


def _anywhere(clip, num_samples, rng):
    """Returns `num_samples` of a clip from a random place on, repeated when it is too short, at equal loudness."""
    start = int(rng.integers(len(clip)))
    part = np.resize(np.roll(clip, -start), num_samples)
    return part / max(float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))), 1e-12)


def add_noise(wave, snr_db, rng, *, sample_rate_hz, kind="white", babble=()):
    """Returns the wave with noise `snr_db` below its speech: 20 log10(speech RMS / noise RMS), pauses not counted."""
    level = speech_rms(wave, sample_rate_hz) / 10 ** (snr_db / 20)
    return (wave + level * make_noise(kind, len(wave), rng, babble)).astype(np.float32)


def change_tempo(wave, rate, *, sample_rate_hz):  # [S] -> [round(S / rate)]
    """Returns the wave spoken `rate` times as fast, its pitch and formants as they were (WSOLA).

    Verhelst and Roelands 1993: windowed pieces are laid at even distances; each is taken from near where it belongs,
    at the place that best continues the piece before it.
    """
    if not 0.5 <= rate <= 2:
        raise ValueError(f"the tempo rate is {rate}; allowed: 0.5 to 2")
    num_out = round(len(wave) / rate)
    hop = round(_WSOLA_FRAME_S * sample_rate_hz) // 2
    search = round(_WSOLA_SEARCH_S * sample_rate_hz)
    if rate == 1 or len(wave) < 4 * hop:
        return np.array(wave if rate == 1 else np.resize(wave, num_out), np.float32)
    frame = 2 * hop
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)).astype(np.float32)  # halves add up to 1
    source = np.pad(wave, (hop + search, 2 * frame + search + hop))
    out = np.zeros(num_out + 2 * frame, np.float32)
    place = hop + search  # in `source`, of the piece taken last
    for k, at in enumerate(range(0, num_out + hop, hop)):
        wanted = min(round(k * hop * rate), len(wave)) + search  # hop of padding in front: the first piece rises in it
        if k:
            follow = source[place + hop:place + hop + frame]
            follow = np.pad(follow, (0, frame - len(follow)))
            region = source[wanted - search:wanted + search + frame]
            place = wanted - search + _best_match(region, follow)
        else:
            place = wanted
        out[at:at + frame] += window * source[place:place + frame]
    return out[hop:hop + num_out]


def _best_match(region, piece):
    """Returns where in `region` a piece of that length looks most like `piece` (normalised correlation)."""
    products = np.correlate(region, piece, mode="valid")
    squares = np.concatenate([[0.0], np.cumsum(np.square(region, dtype=np.float64))])
    energy = squares[len(piece):] - squares[:-len(piece)]
    return int(np.argmax(products / np.sqrt(energy + 1e-9)))


def change_speed(wave, rate, *, sample_rate_hz):  # [S] -> [round(S / rate)]
    """Returns the wave played `rate` times as fast: pitch and formants move with it, so it is another speaker.

    ValueError beyond ±5 %. With ±20 % a listener's estimate of the vocal-tract length is worth nothing any more.
    """
    if abs(rate - 1) > MAX_SPEED + 1e-9:
        raise ValueError(f"the speed rate is {rate:g}; allowed: {1 - MAX_SPEED:g} to {1 + MAX_SPEED:g}, because it "
                         "changes the speaker; use the tempo for more")
    if rate == 1:
        return np.array(wave, np.float32)
    import soxr

    moved = soxr.resample(np.asarray(wave, np.float32), sample_rate_hz, sample_rate_hz / rate)
    num_out = round(len(wave) / rate)
    return np.pad(moved, (0, max(num_out - len(moved), 0)))[:num_out].astype(np.float32)


def change_gain(wave, gain_db):
    """Returns the wave louder by `gain_db`, less where its peak would pass 1."""
    peak = float(np.abs(wave).max(initial=0.0))
    factor = 10 ** (gain_db / 20)
    return (wave * min(factor, 1 / peak if peak > 0 else factor) if factor > 1 else wave * factor).astype(np.float32)


def limit_band(wave, low_hz, high_hz, *, sample_rate_hz):
    """Returns the wave with what lies below `low_hz` or above `high_hz` taken out, phases as they were.

    The edges fall from 1 to 0 along a cosine over a quarter of an octave outside of the band.
    """
    if not 0 <= low_hz < high_hz:
        raise ValueError(f"the band is {low_hz} to {high_hz} Hz; the lower limit must lie below the upper one")
    hz = np.fft.rfftfreq(len(wave), 1 / sample_rate_hz)
    octaves = np.log2(np.maximum(hz, 1e-3))
    gain = np.ones_like(hz)
    if low_hz > 0:
        gain *= _cosine_edge((octaves - math.log2(low_hz)) / _EDGE_OCTAVES + 1)
    if high_hz < sample_rate_hz / 2:
        gain *= _cosine_edge((math.log2(high_hz) - octaves) / _EDGE_OCTAVES + 1)
    return np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)).astype(np.float32)


def _cosine_edge(t):
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(t, 0, 1))


def room_response(rt60_s, direct_db, rng, *, sample_rate_hz):  # -> float32 [S]
    """Returns the impulse response of a made-up room: 1, then noise that decays by 60 dB in `rt60_s`.

    The energy of the tail lies `direct_db` below that of the direct sound; it starts 2 ms after it.
    """
    num = max(round(rt60_s * sample_rate_hz), 2)
    gap = min(round(0.002 * sample_rate_hz), num - 1)
    tail = rng.standard_normal(num) * 10 ** (-3 * np.arange(num) / num)
    tail[:gap] = 0
    tail *= math.sqrt(10 ** (-direct_db / 10) / np.square(tail).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def reverberate(wave, response):
    """Returns the wave as heard in a room, as long as before and as loud as before."""
    size = len(wave) + len(response) - 1
    n_fft = 1 << (size - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(wave, n_fft) * np.fft.rfft(response, n_fft), n_fft)[:len(wave)]
    before, after = (math.sqrt(float(np.mean(np.square(x, dtype=np.float64)))) for x in (wave, wet))
    return (wet * (before / max(after, 1e-12))).astype(np.float32)


def crop(wave, num_samples, place):  # [S], 0 <= place <= 1 -> [num_samples]
    """Returns a stretch of the wave that starts at the share `place` of what is left over; short clips are repeated."""
    if len(wave) == 0:
        raise ValueError("a clip without samples cannot be cropped")
    if len(wave) < num_samples:
        wave = np.tile(wave, -(-num_samples // len(wave)))
    start = int(place * (len(wave) - num_samples + 1))
    return wave[min(start, len(wave) - num_samples):][:num_samples]
