"""Voices of a build: 16-bit samples stay as they are, levels follow BS.1770, poor clips are refused with a reason."""

import io
import os
import pickle

import numpy as np
import pytest
import soundfile

from training.datasets import voice_build
from training.datasets.items import Item, Unusable
from training.datasets.loudness import clipped_share, loudness_lufs, snr_db
from training.datasets.voice_build import VoiceSettings, build_features, build_voice
from voice2style.demo.world import World

RATE = 16000
ITEM = Item("voice", "p/1.wav", "/root", "p", "train")


@pytest.fixture(scope="module")
def speech():
    """Four seconds of drawn speech as int16."""
    return np.rint(World(seed=2).voice(5, 0, seconds=4) * 32767).astype(np.int16)


def saved(folder, samples, rate=RATE, name="1.wav", **options):
    soundfile.write(folder / name, samples, rate, **options)
    return folder / name


def tone(seconds=2.0, amplitude=0.1, hz=997.0, rate=RATE):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def read_back(content):
    return soundfile.read(io.BytesIO(content), dtype="int16")


@pytest.mark.parametrize("audio", ["flac", "wav"])
def test_a_16_bit_recording_keeps_every_sample(speech, tmp_path, audio):
    content, fields = build_voice(saved(tmp_path, speech), ITEM, VoiceSettings(audio=audio))
    samples, rate = read_back(content)
    assert rate == RATE and np.array_equal(samples, speech)
    assert content[:4] == {"flac": b"fLaC", "wav": b"RIFF"}[audio]
    assert fields["seconds"] == 4.0 and fields["sample_rate_hz"] == RATE


def test_pauses_are_written_down_not_cut(speech, tmp_path):
    pause = np.random.default_rng(0).normal(0, 3, RATE).astype(np.int16)
    content, fields = build_voice(saved(tmp_path, np.concatenate([pause, speech, pause])), ITEM, VoiceSettings())
    assert fields["seconds"] == 6.0 and len(read_back(content)[0]) == 6 * RATE
    spans = np.array(fields["speech"])
    assert spans[0, 0] > 0.9 and spans[-1, 1] < 5.1 and (spans[:, 1] > spans[:, 0]).all()
    assert "speech" not in build_voice(saved(tmp_path, speech), ITEM, VoiceSettings(vad="none"))[1]


def test_stereo_of_another_rate_becomes_mono_16_khz(tmp_path):
    both = np.stack([tone(2, 0.2, rate=44100), tone(2, 0.1, rate=44100)], axis=1)
    content, fields = build_voice(saved(tmp_path, both, 44100), ITEM, VoiceSettings(vad="none"))
    samples, _ = read_back(content)
    assert samples.shape == (2 * RATE,) and fields["seconds"] == 2.0
    assert np.abs(samples[800:-800] / 32768 - tone(2, 0.15)[800:-800]).max() < 2e-3


def test_a_part_of_a_file_is_that_part(speech, tmp_path):
    path = saved(tmp_path, speech)
    part = Item("voice", "p/1.wav", "/root", "p", "train", start_s=1.25, end_s=2.75)
    content, fields = build_voice(path, part, VoiceSettings(vad="none"))
    assert np.array_equal(read_back(content)[0], speech[20000:44000]) and fields["seconds"] == 1.5
    with pytest.raises(Unusable, match="^too short: 0.50 s"):  # the file ends at 4 s
        build_voice(path, Item("voice", "p", "/", "p", "train", start_s=3.5, end_s=9.0), VoiceSettings())
    with pytest.raises(Unusable, match="^the part from 3 to 2 s is empty"):
        build_voice(path, Item("voice", "p", "/", "p", "train", start_s=3, end_s=2), VoiceSettings())


def test_of_a_long_recording_the_first_seconds_are_kept_and_it_is_said(speech, tmp_path):
    path = saved(tmp_path, np.tile(speech, 5))
    content, fields = build_voice(path, ITEM, VoiceSettings(max_seconds=3))
    assert fields["seconds"] == 3.0 and np.array_equal(read_back(content)[0], speech[: 3 * RATE])
    assert fields["findings"] == ["only the first 3 s of 20 s are used"]


def test_ten_hours_are_not_read_whole(tmp_path):
    """A sparse wav of 10 h: 1.15 GB if it were read; only 2 s of it may be held."""
    import tracemalloc

    path = saved(tmp_path, np.rint(tone(3) * 32767).astype(np.int16))
    size = 10 * 3600 * RATE * 2
    with path.open("r+b") as file:
        header = file.read(44)
        file.truncate(44 + size)
        file.seek(0)
        file.write(header[:4] + (36 + size).to_bytes(4, "little") + header[8:40] + size.to_bytes(4, "little"))
    tracemalloc.start()
    _, fields = build_voice(path, ITEM, VoiceSettings(max_seconds=2, vad="none"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fields["findings"] == ["only the first 2 s of 36000 s are used"] and peak < 20e6


@pytest.mark.parametrize(("samples", "message"), [
    (tone(0.5), "^too short: 0.50 s, 1 s are needed"), (np.zeros(2 * RATE, np.float32), "^silent: -70 LUFS"),
    (np.full(2 * RATE, 0.3, np.float32), "^silent"), (tone(2, 1e-4), "^silent"),
    (np.random.default_rng(0).normal(0, 0.05, 2 * RATE), "^no speech: 0.00 s in 2.0 s"),
    (np.full(2 * RATE, np.nan), "^32000 non-finite samples")])
def test_poor_clips_are_refused_with_the_reason(samples, message, tmp_path):
    with pytest.raises(Unusable, match=message):
        build_voice(saved(tmp_path, samples, subtype="FLOAT"), ITEM, VoiceSettings())


@pytest.mark.parametrize(("content", "message"), [
    (b"", "^is empty"), (b"hello", "^not an audio file|^MP4"),
    (b"\0\0\0\x20ftypM4A " + bytes(64), "install the extra|PyAV")])
def test_what_is_no_recording_is_refused(content, message, tmp_path):
    (tmp_path / "1.m4a").write_bytes(content)
    with pytest.raises(Unusable, match=message):
        build_voice(tmp_path / "1.m4a", ITEM, VoiceSettings())


@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_full_scale_tone_has_the_loudness_of_the_standard(rate):
    """BS.1770-4: a 997 Hz sine of 0 dBFS in one front channel reads -3.01 LUFS; 20 dB less read 20 less.

    At 16 kHz the bilinear transform bends the shelf by 0.04 dB there.
    """
    tolerance = 0.005 if rate == 48000 else 0.05
    assert loudness_lufs(tone(3, 1.0, rate=rate), rate) == pytest.approx(-3.01, abs=tolerance)
    assert loudness_lufs(tone(3, 0.1, rate=rate), rate) == pytest.approx(-23.01, abs=tolerance)


def test_loudness_is_gated():
    """Silence and quiet parts do not count (EBU Tech 3341, the idea of cases 3 to 5): only the loud part is read."""
    loud, quiet = tone(20, 0.1), tone(20, 0.1 * 10 ** (-26 / 20))
    alone = loudness_lufs(loud, RATE)
    assert loudness_lufs(np.concatenate([quiet, loud, np.zeros_like(quiet)]), RATE) == pytest.approx(alone, abs=0.1)
    assert loudness_lufs(np.zeros(RATE), RATE) == -70.0
    assert loudness_lufs(loud[:1600], RATE) == pytest.approx(alone, abs=0.7)  # shorter than a block


@pytest.mark.parametrize("ratio_db", [0, 10, 25, 40])
def test_snr_of_known_mixtures(ratio_db):
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, 6 * RATE)
    signal = np.zeros(6 * RATE)
    signal[RATE : 4 * RATE] = rng.normal(0, 10 ** (ratio_db / 20), 3 * RATE)
    mixed = 0.001 * (signal + noise)
    assert snr_db(mixed, RATE, [(1.0, 4.0)]) == pytest.approx(ratio_db, abs=0.5)
    if ratio_db:  # by percentile, over the whole; the quietest frames lie a little below the mean of the noise
        assert snr_db(mixed, RATE) == pytest.approx(ratio_db + 10 * np.log10(3 / 6), abs=1.5)
    assert snr_db(7 * mixed, RATE, [(1.0, 4.0)]) == pytest.approx(snr_db(mixed, RATE, [(1.0, 4.0)]))


def test_clipping_is_counted(tmp_path):
    wave = np.clip(tone(2, 2.0), -1, 1)
    assert clipped_share(wave) == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2 for two thirds of the time
    _, fields = build_voice(saved(tmp_path, wave, subtype="PCM_16"), ITEM, VoiceSettings(vad="none"))
    assert fields["clipped"] == pytest.approx(2 / 3, abs=0.01) and "clipping" in fields["findings"][0]
    assert clipped_share(tone(1, 0.5)) == 0


def test_long_recordings_are_searched_minute_by_minute(speech):
    """Spans that touch at a minute's end are one; nothing is outside the recording."""
    long = np.tile(speech.astype(np.float32) / 32768, 32)  # 128 s
    spans = voice_build.find_speech(long, "own")
    assert all(start < end for start, end in spans) and spans[0][0] >= 0 and spans[-1][1] <= 128
    assert all(a[1] < b[0] for a, b in zip(spans, spans[1:]))
    assert sum(end - start for start, end in spans) > 90


def test_features_are_kept_as_they_are(tmp_path):
    item = Item("voice", "p/1.npy", "/root", "p", "train", extra={"features": "logmel64"})
    array = np.random.default_rng(0).normal(size=(900, 64))
    target = io.BytesIO()
    np.save(target, array)
    content, fields = build_features(target.getvalue(), item)
    assert np.array_equal(np.load(io.BytesIO(content)), array.astype(np.float32))
    assert fields == {"features": "logmel64", "frames": 900}


@pytest.mark.parametrize(("array", "message"), [
    (np.zeros(5), r"shape \[5\]"), (np.zeros((3, 4), int), "int64"), (np.full((3, 4), np.inf), "NaN or Inf"),
    (np.array([{"a": 1}], dtype=object), "not an array")])
def test_features_that_are_none(array, message):
    item = Item("voice", "p/1.npy", "/root", "p", "train", extra={"features": "logmel64"})
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        build_features(target.getvalue(), item)


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_features_are_read_without_running_them(protocol):
    item = Item("voice", "p/1_0_0.pickle", "/root", "p", "train", extra={"features": "logmel40"})
    array = np.random.default_rng(0).normal(size=(40, 900)).astype(np.float32)
    entry = {"LogMel_Features": array, "spkid": "id10001", "clipid": 3, "wavid": np.int64(4)}
    content, fields = build_features(pickle.dumps(entry, protocol), item)
    assert np.array_equal(np.load(io.BytesIO(content)), array.T)
    assert fields == {"features": "logmel40", "frames": 900}


class Call:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.made = function, args

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(("value", "message"), [
    (Call(os.mkdir, "made-by-a-pickle"), "asks to run code"), ([1], "holds a list"), ({"a": 1}, "it has a"),
    ({"LogMel_Features": np.zeros((39, 5), np.float32)}, r"LogMel_Features \[40, T\]"),
    ({"LogMel_Features": np.zeros((40, 5), object)}, "not features"),
    ({"LogMel_Features": np.zeros((40, 5)), "x": Call(print, "said by a pickle")}, "asks to run code"),
    ({"LogMel_Features": np.zeros((40, 5)), "x": Call(complex, 1.0)}, "neither an array nor a plain value"),
    ({"LogMel_Features": np.full((40, 5), np.nan)}, "NaN or Inf"), ({1: 2}, "holds a dict, not a dictionary of names")])
def test_pickles_that_are_no_features(value, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    item = Item("voice", "p/1_0_0.pickle", "/root", "p", "train", extra={"features": "logmel40"})
    for content in (pickle.dumps(value), pickle.dumps(value)[:-9]):
        with pytest.raises(Unusable, match=message if content.endswith(b".") else "not features|NaN"):
            build_features(content, item)
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out


@pytest.mark.parametrize(("change", "message"), [
    ({"min_seconds": 0}, "--min-seconds 0"), ({"min_seconds": 5, "max_seconds": 4}, "min <= max"),
    ({"vad": "magic"}, '--vad is "magic"'), ({"audio": "mp3"}, "flac, wav"), ({"min_speech": -1}, "--min-speech -1")])
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        VoiceSettings(**change).check()
