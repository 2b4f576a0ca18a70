"""Speaks babble with a given voice: a source-filter synthesiser in numpy, about a hundred times faster than real time.

Glottal pulses (KLGLOTT88: Klatt & Klatt 1990) with jitter, shimmer and breath noise pass five formant resonators, given
as frequency responses in 20 ms windows and overlap-added. Letters: T frames of 10 ms, S samples, K glottal cycles.
"""

import dataclasses
import io

import numpy as np

from voice2style.demo import speech_plan as tracks
from voice2style.demo.traits import HEARD

SAMPLE_RATE_HZ = 16000
_HOP, _WINDOW, _FFT = 160, 320, 1024
_LEVEL = 0.07  # root mean square before the level is varied
_FREQUENCY_HZ = np.arange(_FFT // 2 + 1) * SAMPLE_RATE_HZ / _FFT
_DELAY = np.exp(-2j * np.pi * _FREQUENCY_HZ / SAMPLE_RATE_HZ).astype(np.complex64)
_DELAY_2 = _DELAY * _DELAY
_HANN = np.hanning(_WINDOW + 1)[:_WINDOW].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Physical:
    """A voice in physical terms."""

    f0_hz: float
    tract_cm: float
    syllables_per_s: float
    aspiration: float
    open_quotient: float
    tilt: float  # pole of the one-pole low-pass on the source
    nasality: float
    front: float  # factor on the second formant
    jitter: float  # relative
    shimmer: float  # relative
    tremor: float
    reduction: float  # of vowels towards schwa
    pause: float
    melody: float  # range of the intonation, in log F0


def physical_voice(heard):  # name of HEARD -> float
    """The voice that these audible factors make."""
    if missing := [name for name in HEARD if name not in heard]:
        raise ValueError(f"audible factors {', '.join(missing)} are missing; a voice needs {', '.join(HEARD)}")
    v = {name: float(heard[name]) for name in HEARD}
    age = v["age"]

    def limit(value, low, high):
        return float(min(max(value, low), high))

    return Physical(
        f0_hz=limit(150 * np.exp(0.31 * v["pitch"]), 70, 330),
        tract_cm=limit(16.0 + 1.25 * v["vtl"], 12.8, 19.5),
        syllables_per_s=limit(4.4 * np.exp(0.17 * v["rate"] - 0.07 * age), 2.2, 7.5),
        aspiration=limit(10 ** ((-17 + 7.0 * v["breath"] + 1.5 * age) / 20), 0.01, 0.8),
        open_quotient=limit(0.58 + 0.08 * v["breath"], 0.38, 0.85),
        tilt=limit(0.26 + 0.13 * v["breath"] + 0.11 * age, 0.0, 0.85),
        nasality=1 / (1 + np.exp(-1.5 * v["nasal"])),
        front=limit(np.exp(0.06 * v["spread"]), 0.8, 1.25),
        jitter=limit(np.exp(-4.5 + 0.75 * v["rough"]), 0.001, 0.08),
        shimmer=limit(np.exp(-2.7 + 0.65 * v["rough"]), 0.01, 0.7),
        tremor=limit(0.012 * np.exp(0.8 * age), 0.002, 0.06),
        reduction=limit(0.12 + 0.085 * age, 0, 0.35),
        pause=limit(np.exp(0.30 * age), 0.5, 2.2),
        melody=limit(0.11 + 0.02 * np.tanh(v["rate"]) - 0.02 * age, 0.04, 0.2),
    )


def speak(heard, seconds, random, *, nuisance=1.0):  # -> float32 [S] in [-1, 1] at 16 kHz
    """Babble in the voice of these factors (name of HEARD -> float); words and recording are drawn from `random`.

    `nuisance` scales level, channel and noise; with 0 the clip is clean. The words are always drawn.
    """
    if not 0.1 <= seconds <= 600:
        raise ValueError(f"seconds {seconds!r}: a clip of 0.1 to 600 s can be spoken")
    voice, num_samples = physical_voice(heard), round(seconds * SAMPLE_RATE_HZ)
    track = tracks.plan(voice, -(-num_samples // _HOP), random)
    source = _source(voice, track, nuisance, random)
    hiss = random.standard_normal(len(source))
    spectrum = np.fft.rfft(_frames(source), _FFT) * _formant_response(voice, track)
    spectrum += np.fft.rfft(_frames(hiss), _FFT) * (0.42 * _frication_response(voice, track))
    if nuisance > 0:
        spectrum *= _channel_response(nuisance, random)
    wave = _overlap_add(np.fft.irfft(spectrum, _FFT).astype(np.float32))[_WINDOW // 2 :][:num_samples]
    wave = wave / (np.sqrt(np.mean(wave**2)) + 1e-9) * _LEVEL
    if nuisance > 0:
        wave = _recorded(wave, nuisance, random)
    return np.clip(wave, -1, 1).astype(np.float32)


def _recorded(wave, nuisance, random):
    """The wave at another level (3 dB of spread), with noise 18 to 45 dB under it."""
    noise_db = random.uniform(18, 45)
    wave = wave * 10 ** (nuisance * 3 * random.standard_normal() / 20)
    power = np.sqrt(np.mean(wave**2)) * min(nuisance, 1) * 10 ** (-noise_db / 20)
    return wave + random.standard_normal(len(wave)).astype(np.float32) * power


def _to_samples(track):  # [T] -> [S], linear between the frames' middles
    count = len(track)
    return np.interp(np.arange(count * _HOP), np.arange(count) * _HOP + _HOP / 2, track)


def _melody(voice, accent, nuisance, random):  # [T] -> F0 in Hz [T]
    """Declination, accents, a slow random drift and tremor."""
    count = len(accent)
    time = np.arange(count) / tracks.FRAMES_PER_SECOND
    drift = np.cumsum(random.standard_normal(count))
    drift = tracks.smooth((drift - tracks.smooth(drift[:, None], 40)[:, 0])[:, None], 4)[:, 0]
    drift /= drift.std() + 1e-6
    contour = 0.05 - 0.10 * (time % 2.2) / 2.2 + voice.melody * (1.3 * accent - 0.35 + 0.35 * drift)
    tremor = voice.tremor * np.sin(2 * np.pi * 5.2 * time + random.uniform(0, 6))
    return voice.f0_hz * np.exp(contour + tremor + nuisance * 0.04 * random.standard_normal())


def _source(voice, track, nuisance, random):  # [T, 10] -> [S]
    """Glottal flow derivative and breath noise, as the voicing and aspiration tracks want it."""
    f0_hz = _to_samples(_melody(voice, track[:, tracks.ACCENT], nuisance, random))
    cycles = np.cumsum(f0_hz) / SAMPLE_RATE_HZ
    sample = np.arange(len(f0_hz))
    count = int(cycles[-1]) + 2
    starts = np.interp(np.arange(count), cycles, sample)  # [K] where each cycle begins
    periods = np.diff(starts, append=starts[-1] + SAMPLE_RATE_HZ / voice.f0_hz)
    starts = np.sort(starts + voice.jitter * periods * random.standard_normal(count))
    amplitude = np.maximum(1 + voice.shimmer * random.standard_normal(count), 0.1)
    cycle = np.clip(np.searchsorted(starts, sample, "right") - 1, 0, count - 2)
    phase = np.clip((sample - starts[cycle]) / np.maximum(starts[cycle + 1] - starts[cycle], 8.0), 0, 1)
    opening = phase / voice.open_quotient
    flow = np.where(opening < 1, 2 * opening - 3 * opening**2, 0.0) * amplitude[cycle]
    flow = low_pass(flow, voice.tilt) * (1 - 0.25 * voice.tilt)
    voicing = _to_samples(track[:, tracks.VOICING])
    breathing = voice.aspiration * voicing * (0.35 + 0.65 * np.sin(np.pi * np.clip(opening, 0, 1)))
    breath = random.standard_normal(len(sample)) * 0.32 * (breathing + 0.5 * _to_samples(track[:, tracks.ASPIRATION]))
    return flow * voicing + breath


def low_pass(wave, pole):  # [S] -> [S]
    """y[n] = (1 - pole) x[n] + pole y[n-1], by 1/(1 - pz) = (1 + pz)(1 + p^2 z^2)(1 + p^4 z^4)..., to 1e-9."""
    result, delay = wave * (1 - pole), 1
    while delay < len(result) and pole > 1e-9:
        delayed = result[:-delay] * pole
        result[delay:] += delayed
        pole, delay = pole * pole, delay * 2
    return result


def _resonator(frequency_hz, bandwidth_hz):  # [T], [T] or number -> [T, F]
    """Frequency response of a two-pole resonator with unit gain at 0 Hz."""
    radius = np.broadcast_to(np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ), frequency_hz.shape)[:, None].astype(
        np.float32
    )
    turn = (2 * radius * np.cos(2 * np.pi * frequency_hz / SAMPLE_RATE_HZ)[:, None]).astype(np.float32)
    return (1 - turn + radius * radius) / (1 - turn * _DELAY + radius * radius * _DELAY_2)


def _formant_response(voice, track):  # [T, 10] -> [T, F]
    """The vocal tract: five formants scaled by its length, and a nasal pole and zero."""
    scale = 16.9 / voice.tract_cm
    reduce = voice.reduction * (track[:, tracks.VOICING] > 0.3)
    f1, f2, f3 = (
        factor * scale * (track[:, column] * (1 - reduce) + neutral_hz * reduce)
        for column, neutral_hz, factor in (
            (tracks.F1, 500, 1.0),
            (tracks.F2, 1500, voice.front),
            (tracks.F3, 2500, voice.front**0.5),
        )
    )
    constant = np.full(1, scale)  # the formants that do not move need only one row
    upper = _resonator(3500 * constant, 180.0) * _resonator(4500 * constant, 260.0)
    tract = (
        _resonator(f1, 55 + 0.07 * f1 + 35 * voice.aspiration)
        * _resonator(f2, 60 + 0.035 * f2)
        * _resonator(f3, 80 + 0.03 * f3)
    )
    nose = _resonator(260 * constant, 90.0) / _resonator(520 * constant, 160.0)
    amount = np.clip(track[:, tracks.NASALITY] + 0.75 * voice.nasality, 0, 1.2)[:, None].astype(np.float32)
    return tract * upper * ((1 - amount) + amount * nose)


def _frication_response(voice, track):  # [T, 10] -> [T, F]
    """The hiss of fricatives and bursts: a bell about a centre that a shorter tract raises."""
    centre_hz = track[:, tracks.CENTRE_HZ, None] * (16.9 / voice.tract_cm) ** 0.6
    bell = np.exp(-0.5 * ((_FREQUENCY_HZ - centre_hz) / track[:, tracks.WIDTH_HZ, None]) ** 2)
    return (bell * track[:, tracks.FRICATION, None]).astype(np.float32)


def _channel_response(nuisance, random):  # -> [F]
    """Microphone and room: spectral tilt, comb-like ripples, a low cut between 50 and 110 Hz."""
    tilt_db = 1.3 * random.standard_normal() * np.log2(np.maximum(_FREQUENCY_HZ, 60) / 1000)
    ripple_db = 1.2 * np.sin(_FREQUENCY_HZ / random.uniform(700, 2500) + random.uniform(0, 6))
    low_cut = 1 / np.sqrt(1 + (random.uniform(50, 110) / np.maximum(_FREQUENCY_HZ, 1)) ** 4)
    return (10 ** (nuisance * (tilt_db + ripple_db) / 20) * low_cut).astype(np.float32)


def _frames(wave):  # [S] -> [T, 320], Hann-windowed, 10 ms apart
    padding = np.zeros(_WINDOW // 2, np.float32)
    padded = np.concatenate([padding, wave.astype(np.float32), padding])
    return np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: len(wave) // _HOP] * _HANN


def _overlap_add(frames):  # [T, 1024] -> [(T + 7) * 160]
    blocks = -(-_FFT // _HOP)
    padded = np.zeros((len(frames), blocks * _HOP), np.float32)
    padded[:, :_FFT] = frames
    rows = np.zeros((len(frames) + blocks, _HOP), np.float32)
    for k, block in enumerate(padded.reshape(len(frames), blocks, _HOP).transpose(1, 0, 2)):
        rows[k : k + len(frames)] += block
    return rows.reshape(-1)


def to_int16(wave):  # float [S] in [-1, 1] -> int16 [S]
    """The wave in 16 bits, rounded to the nearest level."""
    return np.clip(np.round(np.asarray(wave, np.float64) * 32767), -32768, 32767).astype("<i2")


def wav_bytes(wave):  # float [S] -> bytes
    """A 16-bit mono wav file of the wave; the same wave gives the same bytes."""
    import wave as wave_format

    target = io.BytesIO()
    with wave_format.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(to_int16(wave).tobytes())
    return target.getvalue()
