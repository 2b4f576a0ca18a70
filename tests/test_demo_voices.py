"""Demo voices: the pitch, formants and level that are asked for, clips that repeat, exact filters."""

import io
import pathlib

import numpy as np
import pytest
import scipy.signal
import soundfile

import voice2style.demo
from voice2style.demo import voices
from voice2style.demo.traits import HEARD
from voice2style.demo.world import HELLO, World

RATE_HZ = voices.SAMPLE_RATE_HZ


def speak(seconds=3.0, seed=0, nuisance=0.0, **factors):
    return voices.speak(dict.fromkeys(HEARD, 0.0) | factors, seconds, np.random.default_rng(seed), nuisance=nuisance)


def median_f0_hz(wave):
    """Median over voiced 40 ms frames of the lag of the largest autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 640)[::160] * np.hanning(640)
    spectrum = np.abs(np.fft.rfft(frames, 2048)) ** 2
    acf = np.fft.irfft(spectrum)[:, :640] / np.fft.irfft(np.abs(np.fft.rfft(np.hanning(640), 2048)) ** 2)[:640].clip(1)
    low, high = RATE_HZ // 400, RATE_HZ // 60
    lag = low + acf[:, low:high].argmax(1)
    strength = acf[np.arange(len(acf)), lag] / np.maximum(acf[:, 0], 1e-9)
    voiced = (acf[:, 0] > np.median(acf[:, 0])) & (strength > strength.mean())
    return float(np.median(RATE_HZ / lag[voiced]))


def test_f0_follows_pitch():
    pitches = np.array([-1.8, -1.0, -0.3, 0.4, 1.2, 1.9])
    asked = np.array([voices.physical_voice(dict.fromkeys(HEARD, 0.0) | {"pitch": p}).f0_hz for p in pitches])
    measured = np.array([median_f0_hz(speak(seed=i, pitch=p)) for i, p in enumerate(pitches)])
    assert np.all(np.abs(np.log(measured / asked)) < 0.12), (asked, measured)
    assert np.all(np.diff(measured) > 0)


@pytest.mark.parametrize("vtl", [-1.8, 0.0, 1.8])
def test_formants_stand_where_the_tract_puts_them(vtl):
    """A neutral tube of length L has formants at 500, 1500, 2500, 3500 Hz times 16.9 cm / L."""
    voice = voices.physical_voice(dict.fromkeys(HEARD, 0.0) | {"vtl": vtl, "nasal": -9.0, "spread": 0.0})
    track = np.zeros((1, 10))
    track[:, :4] = 500, 1500, 2500, 1
    response = np.abs(voices._formant_response(voice, track))[0]
    peaks = voices._FREQUENCY_HZ[scipy.signal.argrelmax(response)[0]]
    assert peaks[:4] == pytest.approx(np.array([500, 1500, 2500, 3500]) * 16.9 / (16 + 1.25 * vtl), rel=0.03)


def test_roughness_shakes_the_cycles():
    def regularity(rough):  # correlation of neighbouring 2-cycle windows, averaged
        wave = speak(seed=3, rough=rough, age=-1.5)
        lag = round(RATE_HZ / median_f0_hz(wave))
        return np.mean(
            [np.corrcoef(wave[i : i + 2 * lag], wave[i + lag : i + 3 * lag])[0, 1] for i in range(8000, 40000, 500)]
        )

    assert regularity(-2) > regularity(2) + 0.03


def test_clips_repeat_and_differ():
    world = World(seed=4)
    first = world.voice(11, 0)
    assert np.array_equal(first, World(seed=4).voice(11, 0))
    others = [world.voice(11, 1, seconds=3.0), world.voice(12, 0, seconds=3.0), World(seed=6).voice(11, 0, seconds=3.0)]
    assert all(abs(np.corrcoef(first[:48000], other)[0, 1]) < 0.2 for other in others)


def test_lengths_are_those_asked_for():
    world = World(seed=4)
    assert len(world.voice(0, 0, seconds=3.3337)) == round(3.3337 * RATE_HZ)
    lengths = [len(world.voice(person, 0, seconds=(0.5, 0.75))) / RATE_HZ for person in range(20)]
    assert min(lengths) >= 0.5 and max(lengths) <= 0.75 and np.ptp(lengths) > 0.15
    assert 3 <= len(world.voice(1, 1)) / RATE_HZ <= 8
    assert len(speak(seconds=0.1)) == 1600


@pytest.mark.parametrize("nuisance", [0.0, 1.0, 2.0])
def test_level_is_bounded_for_every_voice(nuisance):
    extremes = [dict.fromkeys(HEARD, value) for value in (-4.0, 0.0, 4.0)]
    for seed, factors in enumerate(extremes):
        wave = speak(seconds=1.5, seed=seed, nuisance=nuisance, **factors)
        assert wave.dtype == np.float32 and np.isfinite(wave).all() and np.abs(wave).max() <= 1
        level = np.sqrt(np.mean(wave**2))
        assert 0.01 < level < 0.5
        if nuisance == 0:
            assert abs(level - 0.07) < 0.01


def test_without_nuisance_the_pauses_are_silent():
    clean, noisy = speak(nuisance=0.0), speak(nuisance=1.0)
    assert np.abs(clean[:400]).max() < 1e-3 < np.abs(noisy[:400]).max()


def test_low_pass_is_the_recursion():
    wave = np.random.default_rng(1).standard_normal(5000)
    for pole in (0.0, 0.3, 0.85):
        expected = scipy.signal.lfilter([1 - pole], [1, -pole], wave)
        assert np.abs(voices.low_pass(wave, pole) - expected).max() < 1e-8


def test_resonator_is_a_two_pole_filter():
    response = voices._resonator(np.array([500.0, 2400.0]), np.array([90.0, 140.0]))
    for row, frequency, width in zip(response, (500.0, 2400.0), (90.0, 140.0), strict=True):
        radius, angle = np.exp(-np.pi * width / RATE_HZ), 2 * np.pi * frequency / RATE_HZ
        poles = [1, -2 * radius * np.cos(angle), radius**2]
        _, expected = scipy.signal.freqz([sum(poles)], poles, worN=voices._FREQUENCY_HZ, fs=RATE_HZ)
        assert np.abs(row - expected).max() < 1e-3 * np.abs(expected).max()


def test_windows_add_up_to_the_wave():
    wave = np.random.default_rng(2).standard_normal(4800).astype(np.float32)
    spectrum = np.fft.rfft(voices._frames(wave), voices._FFT)
    back = voices._overlap_add(np.fft.irfft(spectrum, voices._FFT).astype(np.float32))[160:][:4800]
    assert np.abs(back[:4640] - wave[:4640]).max() < 1e-5


def test_wav_bytes_are_read_back_exactly():
    wave = speak(seconds=0.5)
    samples, rate_hz = soundfile.read(io.BytesIO(voices.wav_bytes(wave)), dtype="int16")
    assert rate_hz == RATE_HZ and np.array_equal(samples, voices.to_int16(wave))
    assert voices.to_int16(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [-32768, -32767, 0, 32767, 32767]


def test_hello_is_the_clip_that_it_says():
    path = pathlib.Path(voice2style.demo.__file__).with_name("hello.wav")
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    samples, _ = soundfile.read(path, dtype="float32")
    wave = World(seed=0).voice(HELLO["person"], HELLO["clip"], HELLO["seconds"])
    assert np.corrcoef(samples, wave)[0, 1] > 0.999  # not exactly: numpy's arithmetic differs between processors


def test_missing_factor():
    with pytest.raises(ValueError, match="breath"):
        voices.speak({name: 0.0 for name in HEARD if name != "breath"}, 1.0, np.random.default_rng(0))
