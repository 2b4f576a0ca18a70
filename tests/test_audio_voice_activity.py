"""Speech detection on signals whose speech is known, and on signals that hold none."""

import sys

import numpy as np
import pytest

from tests.conftest import speech_like
from voice2style.audio.voice_activity import speech_spans

RATE = 16000


def pink(num_samples, seed=0):
    spectrum = np.fft.rfft(np.random.RandomState(seed).randn(num_samples))
    wave = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), num_samples)
    return 0.5 * wave / np.abs(wave).max()


TIME = np.arange(5 * RATE) / RATE
SILENT = {
    "zeros": np.zeros(5 * RATE),
    "constant": np.full(5 * RATE, 0.5),
    "white noise": np.random.RandomState(0).randn(5 * RATE) * 0.1,
    "pink noise": pink(5 * RATE),
    "tone": 0.5 * np.sin(2 * np.pi * 440 * TIME),
    "last bits": np.random.RandomState(1).randint(-1, 2, 5 * RATE) / 32768 * ((TIME > 1) & (TIME < 3)),
    "short": np.random.RandomState(0).randn(300) * 0.1,
    "one frame": np.random.RandomState(0).randn(400) * 0.1,
    "one sample": np.ones(1),
    "nothing": np.zeros(0),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_no_speech(name):
    assert speech_spans(SILENT[name].astype(np.float32), RATE) == []


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("noise", [0, 0.002])
@pytest.mark.parametrize("offset", [0, 0.3])
def test_speech_between_pauses_is_found(rate, noise, offset):
    pause = np.zeros(rate, np.float32)
    speech = speech_like(1.5, sample_rate_hz=rate, pauses=False)
    wave = np.concatenate([pause, speech, pause, speech, pause]) + offset
    wave = wave + noise * np.random.RandomState(0).randn(len(wave)).astype(np.float32)
    spans = speech_spans(wave, rate)
    assert np.array(spans) == pytest.approx(np.array([(1.0, 2.5), (3.5, 5.0)]), abs=0.12)


def test_spans_do_not_depend_on_the_level_and_repeat():
    wave = speech_like(6.0)
    spans = speech_spans(wave, RATE)
    assert spans == speech_spans(wave, RATE) == speech_spans(wave.astype(np.float64), RATE)
    assert np.array(speech_spans(wave * 0.25, RATE)) == pytest.approx(np.array(spans), abs=0.03)


def test_spans_are_in_order_and_inside_the_clip():
    wave = speech_like(8.13, seed=3)
    edges = np.array(speech_spans(wave, RATE)).ravel()
    assert (np.diff(edges) > 0).all() and edges[0] >= 0 and edges[-1] <= 8.13


@pytest.mark.parametrize("samples, rate, detector, words", [
    (np.zeros((2, 400)), RATE, "own", "one mono clip"),
    (np.array([0.0, np.nan]), RATE, "own", "NaN or Inf"),
    (np.zeros(400), 0, "own", "sample_rate_hz is 0"),
    (np.zeros(400), RATE, "webrtc", "'webrtc'; choose one of own, silero"),
])
def test_unusable_input_is_refused(samples, rate, detector, words):
    with pytest.raises(ValueError, match=words):
        speech_spans(samples, rate, detector=detector)


def test_silero_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(ValueError, match=r"install 'voice2style\[vad\]'"):
        speech_spans(np.zeros(16000), RATE, detector="silero")


def test_silero_finds_no_speech_in_noise():
    pytest.importorskip("silero_vad")
    assert speech_spans(SILENT["white noise"], RATE, detector="silero") == []
