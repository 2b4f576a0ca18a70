"""Reading recordings: rates, channels, blocks, and a plain word for every malformed file."""

import json
import os
import struct
import sys

import numpy as np
import pytest
import soundfile
import soxr

from voice2style.audio import decoding, ffmpeg_decoding, waveform


def noise(num_frames, num_channels=1, seed=0, level=0.1):
    """[frames, channels] float32."""
    return (np.random.RandomState(seed).randn(num_frames, num_channels) * level).clip(-0.9, 0.9).astype(np.float32)


def write(path, samples, rate=16000, **how):
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.fixture
def wav_bytes(tmp_path):
    return write(tmp_path / "good.wav", noise(8000)).read_bytes()


def put(path, content):
    path.write_bytes(content)
    return path


def test_samples_of_the_wanted_rate_come_unchanged(tmp_path):
    samples = noise(5000)
    got = waveform.read(write(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert np.array_equal(got.samples, samples[:, 0]) and got.samples.dtype == np.float32
    assert (got.sample_rate_hz, got.seconds, got.findings) == (16000, 5000 / 16000, ())


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_formats(tmp_path, name):
    got = waveform.read(write(tmp_path / name, noise(16000)))
    assert len(got.samples) == 16000 and got.findings == ()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 192000])
def test_resampling_keeps_a_tone_and_the_length(tmp_path, rate):
    num = 2 * rate + 7
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num) / rate)
    got = waveform.read(write(tmp_path / "a.wav", tone, rate, subtype="FLOAT"))
    assert len(got.samples) == round(num * 16000 / rate)
    inside = slice(1000, -1000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(got.samples)) / 16000)
    assert np.abs(got.samples - expected)[inside].max() < 1e-4
    assert any("no energy above 4 kHz" in found for found in got.findings) == (rate == 8000)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("block_s", [0.01, 0.5, 1.3, 100])
def test_blocks_are_the_whole_reading_cut_up(tmp_path, rate, block_s, monkeypatch):
    path = write(tmp_path / "a.flac", noise(3 * rate + 11, 2), rate)
    whole = waveform.read(path)
    monkeypatch.setattr(waveform, "_KEPT_VALUES", 1000)  # as for a recording too long to keep
    blocks = waveform.blocks(path, block_s=block_s)
    assert blocks.num_samples == len(whole.samples) == round((3 * rate + 11) * 16000 / rate)
    parts = list(blocks)
    assert {len(part) for part in parts[:-1]} <= {round(block_s * 16000)}
    assert np.abs(np.concatenate(parts) - whole.samples).max() < 1e-6
    assert np.abs(next(blocks) - parts[0]).max() == 0  # and once more from the start
    assert np.array_equal(soxr.resample(waveform.read(path, rate).samples, rate, 16000), whole.samples)


def test_long_recordings_are_cut_and_say_so(tmp_path):
    path = write(tmp_path / "a.wav", noise(32000))
    got = waveform.read(path, max_seconds=0.5)
    assert len(got.samples) == 8000 and got.findings == ("only the first 0 s of 2 s are used",)
    assert len(waveform.read(path, max_seconds=2).samples) == 32000 and not waveform.read(path, max_seconds=2).findings


def test_channels_are_averaged(tmp_path):
    samples = noise(4000, 6)
    got = waveform.read(write(tmp_path / "a.wav", samples, subtype="FLOAT")).samples
    assert np.abs(got - samples.mean(axis=1)).max() < 1e-7


def test_opposite_phase_uses_the_louder_channel(tmp_path):
    left = noise(8000)[:, 0]
    samples = np.stack([-0.95 * left, left], axis=1)
    got = waveform.read(write(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert np.array_equal(got.samples, left)
    assert "opposite phase" in got.findings[0] and "only channel 2" in got.findings[0]


def test_clipping_is_reported_with_its_share(tmp_path):
    samples = (noise(16000, level=0.3) * 10).clip(-1, 1)
    share = np.mean(np.abs(samples) >= 0.999)
    got = waveform.read(write(tmp_path / "a.wav", samples))
    assert got.findings == (f"clipping: {share:.1%} of the samples are at full scale",)


def test_too_loud_floats_are_scaled_down(tmp_path):
    samples = noise(8000)
    got = waveform.read(write(tmp_path / "a.wav", samples / np.abs(samples).max() * 4, subtype="FLOAT"))
    assert np.abs(got.samples).max() == pytest.approx(1) and "peaks at 4 times full scale" in got.findings[0]


@pytest.mark.filterwarnings("error")
def test_absurdly_loud_floats_are_measured_without_overflow(tmp_path):
    samples = noise(8000, 2)
    got = waveform.read(write(tmp_path / "a.wav", samples / np.abs(samples).max() * 3e38, subtype="FLOAT"))
    assert np.abs(got.samples).max() > 0.5 and "times full scale" in got.findings[0] and len(got.findings) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_no_utf8(tmp_path):
    path = write(tmp_path / "a.wav", noise(8000)).rename(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff\xfe.wav"))
    assert len(waveform.read(path).samples) == 8000


def test_an_offset_is_taken_off_and_silence_named(tmp_path):
    got = waveform.read(write(tmp_path / "a.wav", noise(16000) * 0.1 + 0.5, subtype="FLOAT"))
    assert abs(got.samples.mean()) < 1e-4 and "constant offset of 0.500" in got.findings[0]
    constant = waveform.read(write(tmp_path / "b.wav", np.full(8000, 0.25), subtype="FLOAT"))
    assert np.abs(constant.samples).max() < 1e-6 and any("only a constant offset" in f for f in constant.findings)
    silent = waveform.read(write(tmp_path / "c.wav", np.zeros(8000)))
    assert "silence" in silent.findings[0] and not silent.samples.any()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_single_sample_is_still_a_clip(tmp_path, rate):
    got = waveform.read(write(tmp_path / "a.wav", np.array([0.25]), rate, subtype="FLOAT")).samples
    assert len(got) >= 1 and np.isfinite(got).all()


def test_a_cut_wav_is_read_with_a_warning(tmp_path, wav_bytes):
    half = waveform.read(put(tmp_path / "half.wav", wav_bytes[: len(wav_bytes) // 2]))
    assert 3900 < len(half.samples) < 4001 and "shorter than its header says: 0.25 of 0.50 s" in half.findings[0]
    lying = waveform.read(put(tmp_path / "lying.wav", wav_bytes[:40] + struct.pack("<I", 10 ** 8) + wav_bytes[44:]))
    assert len(lying.samples) == 8000 and "shorter than its header" in lying.findings[0]
    streamed = waveform.read(put(tmp_path / "streamed.wav", wav_bytes[:40] + b"\xff" * 4 + wav_bytes[44:]))
    assert len(streamed.samples) == 8000 and not streamed.findings


def test_a_cut_mp3_is_read_with_a_warning(tmp_path):
    whole = write(tmp_path / "a.mp3", noise(32000)).read_bytes()
    got = waveform.read(put(tmp_path / "cut.mp3", whole[: len(whole) // 2]))
    assert 1000 < len(got.samples) < 31000 and "the file may be cut" in got.findings[0]


@pytest.mark.parametrize("name, how", [
    ("a.aiff", {}), ("float.aiff", {"subtype": "FLOAT"}), ("a.au", {}), ("law.au", {"subtype": "ULAW"}), ("a.caf", {}),
    ("big.wav", {"format": "RF64"}), ("swapped.wav", {"endian": "BIG"}), ("float.wav", {"subtype": "FLOAT"})])
@pytest.mark.parametrize("lost", [4, 4000])
def test_a_sound_of_which_less_is_there_than_its_header_says(tmp_path, name, how, lost):
    path = write(tmp_path / name, noise(80000), **how)
    assert not waveform.read(path).findings
    whole = path.read_bytes()
    got = waveform.read(put(path, whole[:-lost]))
    assert len(got.samples) < 80000 and "5.00 s could be read; the file may be cut" in got.findings[0]


def test_a_sound_of_unknown_length_is_not_called_short(tmp_path):
    """Programs that write into a pipe do not know how long it will be: all ones."""
    whole = write(tmp_path / "a.au", noise(8000)).read_bytes()
    got = waveform.read(put(tmp_path / "streamed.au", whole[:8] + b"\xff" * 4 + whole[12:]))
    assert len(got.samples) == 8000 and not got.findings


def test_chunks_before_the_sound_may_be_long(tmp_path, wav_bytes):
    """A picture of an album, say: 10 KB of it stand before the samples."""
    content = wav_bytes[:36] + b"LIST" + struct.pack("<I", 10000) + b"INFO" + bytes(9996) + wav_bytes[36:-4000]
    assert "shorter than its header says: 0.38 of 0.50 s" in waveform.read(put(tmp_path / "a.wav", content)).findings[0]


def test_a_file_of_endless_chunks_is_given_up(tmp_path, wav_bytes, monkeypatch):
    path = put(tmp_path / "a.wav", wav_bytes[:36] + (b"JUNK" + bytes(4)) * 10 + wav_bytes[36:-4000])
    assert "shorter than its header" in waveform.read(path).findings[0]
    monkeypatch.setattr(decoding, "_MOST_CHUNKS", 10)
    assert not waveform.read(path).findings


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_without_its_end_is_read_with_a_warning(tmp_path, subtype):
    """By the page, a piece of it, or a byte; what other programs append behind the end does not matter."""
    whole = write(tmp_path / "a.ogg", noise(80000), format="OGG", subtype=subtype).read_bytes()
    assert not waveform.read(put(tmp_path / "tagged.ogg", whole + b"TAG" + bytes(125))).findings
    last = whole.rindex(b"OggS")
    for keep in (last - 1, last, last + 10, last + 30, len(whole) - 1):
        got = waveform.read(put(tmp_path / "cut.ogg", whole[:keep]))
        told = f"ends without its end mark after {got.seconds:.2f} s; the file may be cut"
        assert 1 < got.seconds < 5 and told in got.findings[0]
    assert "end mark" not in str(waveform.read(tmp_path / "cut.ogg", max_seconds=1.0).findings)


@pytest.mark.parametrize("name, change, words", [
    ("empty.wav", lambda b: b"", "is empty .0 bytes.; record"),
    ("text.wav", lambda b: b"hello there\n" * 30, "not an audio file soundfile can read .first bytes 'hello th'"),
    ("random.wav", lambda b: bytes(range(7, 256)) * 4, "not an audio file soundfile can read"),
    ("film.mp4", lambda b: b"\0\0\0\x20ftypisom" + bytes(500), r"MP4, M4A or a video .*install 'voice2style\[av\]'"),
    ("samples.raw", lambda b: b[44:], "raw samples without a header"),
    ("cut.wav", lambda b: b[:30], "truncated WAV header"),
    ("stub.wav", lambda b: b[:9], "truncated WAV header"),
    ("rate0.wav", lambda b: b[:24] + bytes(4) + b[28:], "invalid header .1 channels at 0 Hz."),
    ("channels0.wav", lambda b: b[:22] + bytes(2) + b[24:], "invalid header .0 channels"),
    ("size0.wav", lambda b: b[:40] + bytes(4) + b[44:], "contains no samples"),
    ("none.wav", lambda b: b[:44], "contains no samples"),
])
def test_malformed_files_are_named_with_cause_and_remedy(tmp_path, wav_bytes, name, change, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # as where neither the extra nor ffmpeg is installed
    monkeypatch.setattr(ffmpeg_decoding, "find_ffmpeg", lambda: None)
    path = put(tmp_path / name, change(wav_bytes))
    with pytest.raises(ValueError, match=words) as caught:
        waveform.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, keep, words", [("a.flac", 0.5, "damaged"), ("a.flac", 0.002, "damaged or truncated"),
                                               ("a.ogg", 0.5, "contains no samples"), ("a.ogg", 0.002, "damaged")])
def test_cut_compressed_files(tmp_path, name, keep, words):
    whole = write(tmp_path / name, noise(16000)).read_bytes()
    with pytest.raises(ValueError, match=words):
        waveform.read(put(tmp_path / f"cut-{name}", whole[: max(20, int(len(whole) * keep))]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_samples_are_counted_and_located(tmp_path, bad):
    samples = noise(16000)
    samples[8000:8003] = bad
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"3 non-finite samples \(NaN or Inf\), first at 0.500 s"):
        waveform.read(path)


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        waveform.read(tmp_path / "nothing.wav")
    with pytest.raises(ValueError, match="is a directory"):
        waveform.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", os.devnull):
        with pytest.raises(ValueError, match="is a pipe or a device; save"):
            waveform.read(path)


@pytest.mark.parametrize("wishes, words", [({"sample_rate_hz": 0}, "sample_rate_hz is 0"),
                                           ({"block_s": 0}, "block_s is 0"),
                                           ({"max_seconds": -1}, "max_seconds is -1")])
def test_impossible_wishes_are_refused(tmp_path, wishes, words):
    path = write(tmp_path / "a.wav", noise(100))
    with pytest.raises(ValueError, match=words):
        waveform.blocks(path, **wishes)


def write_m4a(path):
    """A second of a tone of 440 Hz as PyAV writes it; skips the test without PyAV."""
    av = pytest.importorskip("av")
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for at in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, at:at + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_m4a_through_pyav(tmp_path):
    path = write_m4a(tmp_path / "a.m4a")
    got = waveform.read(path).samples
    assert abs(len(got) - 16000) < 1200
    assert np.argmax(np.abs(np.fft.rfft(got[2000:10000]))) == pytest.approx(440 / 2, abs=1)
    with pytest.raises(ValueError, match="soundfile or PyAV"):
        waveform.read(put(tmp_path / "bad.m4a", path.read_bytes()[:200]))


FAKE_FFMPEG = """#!{python}
import json, pathlib, struct, sys
here = pathlib.Path({folder!r})
(here / "said.json").write_text(json.dumps(sys.argv[1:]))
source = pathlib.Path(sys.argv[sys.argv.index("-i") + 1].removeprefix("file:"))
if source.read_bytes()[:4] != b"good":
    sys.exit("[mov @ 0x1] moov atom not found")
samples = struct.pack("<8000f", *[0.25, -0.5, -0.25, 0.5] * 2000)
form = struct.pack("<HHIIHH", 3, 2, 8000, 64000, 8, 32)
head = b"RIFF" + b"\\xff" * 4 + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"LIST\\4\\0\\0\\0INFO"
sys.stdout.buffer.write(head + b"data" + b"\\xff" * 4)
sys.stdout.buffer.write(samples[:-3] if b"torn" in source.read_bytes() else samples)
sys.exit(1 if b"torn" in source.read_bytes() else 0)
"""


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """A program called ffmpeg, alone on the PATH, that writes down how it was called and says what ffmpeg would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(FAKE_FFMPEG.format(python=sys.executable, folder=str(folder)))
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "av", None)
    ffmpeg_decoding.find_ffmpeg.cache_clear()
    yield folder
    ffmpeg_decoding.find_ffmpeg.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_m4a_through_an_ffmpeg_on_the_path(tmp_path, fake_ffmpeg):
    path = put(tmp_path / "-i evil;name%20.m4a", b"good")
    got = waveform.read(path, 8000)
    np.testing.assert_allclose(got.samples, np.tile([-0.125, 0.125], 2000), atol=1e-7)  # the mean of both channels
    said = json.loads((fake_ffmpeg / "said.json").read_text())
    assert said[said.index("-i") + 1] == f"file:{path}" and "-nostdin" in said
    assert said[said.index("-protocol_whitelist") + 1] == "file"  # nothing is fetched, whatever the file names
    assert not {"hls", "concat", "dash"} & set(said[said.index("-format_whitelist") + 1].split(","))
    with pytest.raises(ValueError, match="soundfile or ffmpeg can read .first bytes 'bad': moov atom not found"):
        waveform.read(put(tmp_path / "bad.m4a", b"bad"))
    with pytest.raises(ValueError, match="torn.m4a: damaged .exit code 1"):
        waveform.read(put(tmp_path / "torn.m4a", b"good torn"))


def test_m4a_through_the_real_ffmpeg_is_what_pyav_decodes(tmp_path, monkeypatch):
    if ffmpeg_decoding.find_ffmpeg() is None:
        pytest.skip("no ffmpeg on the PATH, and no imageio-ffmpeg")
    path = write_m4a(tmp_path / "a.m4a")
    whole = waveform.read(path, 44100).samples
    monkeypatch.setitem(sys.modules, "av", None)
    got = waveform.read(path, 44100).samples
    assert len(got) == 44100  # ffmpeg takes off what the encoder put in front and behind
    np.testing.assert_allclose(got[2000:40000], whole[2000:40000], atol=1e-3)
    with pytest.raises(ValueError, match="soundfile or ffmpeg"):
        waveform.read(put(tmp_path / "list.m4a", f"ffconcat version 1.0\nfile '{path}'\n".encode()))
