"""Laws of the audio settings: published defaults, settings that follow from others, refusals in plain words."""

import dataclasses
import json

import numpy as np
import pytest

from dnnlib.settings import from_dict, to_dict
from voice2style.audio import AudioSettings


def test_the_defaults_are_the_published_mfcc():
    assert dataclasses.asdict(AudioSettings()) == {
        "kind": "mfcc", "sample_rate_hz": 16000, "preemphasis": 0.95, "frame_ms": 25.0, "hop_ms": 12.5,
        "n_fft": 512, "num_mels": 64,
        "num_mfcc": 40, "fmin_hz": 0.0, "fmax_hz": 8000.0, "log_floor": 1e-10, "delta_width": 2, "normalise": "none"}


@pytest.mark.parametrize("kind, hop_ms, normalise, planes, rows", [
    ("mfcc", 12.5, "none", 3, 40), ("logmel", 10.0, "cmvn", 1, 64), ("spectrogram", 10.0, "none", 2, 257)])
def test_a_kind_brings_its_own_defaults(kind, hop_ms, normalise, planes, rows):
    settings = AudioSettings(kind=kind)
    assert settings == getattr(AudioSettings, kind)()
    assert (settings.hop_ms, settings.normalise, settings.planes, settings.rows) == (hop_ms, normalise, planes, rows)
    assert settings.num_features == planes * rows


def test_the_card_gives_back_the_same_settings():
    settings = AudioSettings.logmel(num_mels=48, normalise="none")
    assert from_dict(AudioSettings, json.loads(json.dumps(to_dict(settings))), where="audio") == settings


@pytest.mark.parametrize("rate, frame_ms, n_fft",
                         [(8000, 25, 256), (16000, 32, 512), (16000, 40, 1024), (44100, 25, 2048)])
def test_the_fft_is_the_next_power_of_two_at_or_above_the_frame(rate, frame_ms, n_fft):
    assert AudioSettings(sample_rate_hz=rate, frame_ms=frame_ms, num_mels=32, num_mfcc=13).n_fft == n_fft


@pytest.mark.parametrize("changes, words", [
    ({"kind": "mfc"}, "'mfc' is unknown; choose one of mfcc"),
    ({"n_fft": 256}, "n_fft is 256 .* has 400 samples; raise n_fft"),
    ({"num_mfcc": 65}, "num_mfcc is 65 but there are only 64"),
    ({"fmax_hz": 9000}, "fmax_hz is 9000.* at most 8000"),
    ({"fmin_hz": 5000, "fmax_hz": 4000}, "fmin_hz is 5000; it must be below fmax_hz"),
    ({"num_mels": 128}, "hear nothing; use n_fft=1024"),
    ({"sample_rate_hz": 0}, "sample_rate_hz is 0; it must be a whole number of at least 1000"),
    ({"sample_rate_hz": "16k"}, "sample_rate_hz is '16k'"),
    ({"hop_ms": 0}, "hop_ms is 0; it must be a number above 0"),
    ({"hop_ms": 30}, "longer than frame_ms"),
    ({"frame_ms": float("nan")}, "frame_ms is nan"),
    ({"preemphasis": 1.5}, "between 0 .off. and 1"),
    ({"log_floor": 0}, "log_floor is 0"),
    ({"delta_width": 0}, "delta_width is 0"),
    ({"num_mels": 10**9, "n_fft": 1024}, "num_mels is 1000000000; it can be at most 512"),
    ({"n_fft": 1 << 40}, "n_fft is 1099511627776; it can be at most 65536"),
    ({"frame_ms": 1e9}, "n_fft is .*; it can be at most 65536"),
    ({"sample_rate_hz": 10**9}, "sample_rate_hz is 1000000000; it can be at most 1000000"),
    ({"delta_width": 10**9}, "delta_width is 1000000000; it can be at most 1000"),
    ({"normalise": "cmn"}, "normalise is 'cmn'; choose one of none, cmvn"),
])
def test_settings_that_cannot_work_say_what_came_and_what_to_do(changes, words):
    with pytest.raises(ValueError, match=words):
        AudioSettings(**changes)


def test_128_bands_work_with_a_longer_fft():
    assert AudioSettings(num_mels=128, n_fft=1024).n_fft == 1024


@pytest.mark.parametrize("frame_ms", [15, 45])
def test_an_unusual_frame_is_only_a_warning(frame_ms):
    with pytest.warns(UserWarning, match="usually 20 to 40 ms"):
        AudioSettings(frame_ms=frame_ms, hop_ms=10, n_fft=1024)


def test_numbers_of_numpy_become_plain_ones():
    settings = AudioSettings(sample_rate_hz=np.int64(8000), frame_ms=np.float32(20), hop_ms=np.float64(10))
    assert settings == AudioSettings(sample_rate_hz=8000, frame_ms=20.0, hop_ms=10.0)
    assert type(settings.sample_rate_hz) is int and type(settings.frame_ms) is float
