"""The front-end against an independent program, and its laws: batches, padding, streams, gradients, dtypes."""

import copy

import librosa
import numpy as np
import pytest
import scipy.fft
import torch

from voice2style.audio import AudioSettings, FrontEnd

SMALL = {"num_mels": 24, "num_mfcc": 13}


def waves(num_clips=1, num_samples=5000, seed=0, dtype=torch.float64):
    """Noise that swells, [N, S]."""
    noise = torch.randn(num_clips, num_samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.1 * noise * torch.linspace(0.01, 1, num_samples, dtype=torch.float64)).to(dtype)


def by_librosa(wave, s):
    """MFCC, delta and delta-delta [3, num_mfcc, T] of one clip by librosa 0.11 and scipy, in float64."""
    s_frame, s_hop = round(s.frame_ms * s.sample_rate_hz / 1000), round(s.hop_ms * s.sample_rate_hz / 1000)
    wave = librosa.effects.preemphasis(wave, coef=s.preemphasis, zi=np.zeros(1))
    wave = np.pad(wave, (0, max(0, s_frame - len(wave))))
    frames = librosa.util.frame(wave, frame_length=s_frame, hop_length=s_hop)
    power = np.abs(scipy.fft.rfft(frames * np.hamming(s_frame)[:, None], n=s.n_fft, axis=0)) ** 2
    mel = librosa.filters.mel(sr=s.sample_rate_hz, n_fft=s.n_fft, n_mels=s.num_mels, fmin=s.fmin_hz, fmax=s.fmax_hz,
                              htk=True, norm=None, dtype=np.float64)
    log_mel = np.log(np.maximum(mel @ power, s.log_floor))
    if s.kind == "logmel":
        return log_mel
    static = librosa.feature.mfcc(S=log_mel, n_mfcc=s.num_mfcc, norm="ortho")
    weights = np.arange(-s.delta_width, s.delta_width + 1) / (2 * sum(k * k for k in range(1, s.delta_width + 1)))

    def slope(rows):
        padded = np.pad(rows, ((0, 0), (s.delta_width, s.delta_width)), mode="edge")
        return np.stack([np.correlate(row, weights, "valid") for row in padded])

    return np.concatenate([static, slope(static), slope(slope(static))])


@pytest.mark.parametrize("settings", [
    AudioSettings(),
    AudioSettings(sample_rate_hz=8000, num_mels=23, num_mfcc=13, delta_width=1),
    AudioSettings(sample_rate_hz=22050, frame_ms=32, hop_ms=16, num_mels=80, num_mfcc=20, delta_width=3),
    AudioSettings(sample_rate_hz=44100, frame_ms=40, hop_ms=20, preemphasis=0.97, num_mels=128, n_fft=4096),
    AudioSettings(frame_ms=20, hop_ms=10, n_fft=1024, fmin_hz=80, fmax_hz=7600, log_floor=1e-6, delta_width=9),
    AudioSettings(frame_ms=25, hop_ms=25, preemphasis=0.0, n_fft=400, num_mels=20, num_mfcc=20),
    AudioSettings(kind="logmel", normalise="none"),
    AudioSettings(kind="logmel", sample_rate_hz=48000, num_mels=40, fmax_hz=8000, normalise="none"),
])
@pytest.mark.parametrize("num_samples", [100, 4001, 30000])
def test_equal_to_librosa_with_any_settings(settings, num_samples):
    wave = waves(num_samples=num_samples)
    expected = by_librosa(wave[0].numpy(), settings)
    got = FrontEnd(settings)(wave)[0].numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-9 * np.abs(expected).max()
    single = wave.float()
    expected = by_librosa(single[0].double().numpy(), settings)
    assert np.abs(FrontEnd(settings)(single)[0].numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_compressed_spectrogram_is_the_root_of_each_part():
    wave = waves(num_samples=2000)
    got = FrontEnd(AudioSettings.spectrogram())(wave)[0].numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([wave[0, at:at + 400].numpy() for at in range(0, 1601, 160)])
    spectrum = np.fft.rfft(frames * window, 512)
    parts = np.concatenate([spectrum.real.T, spectrum.imag.T])
    expected = np.sign(parts) * np.abs(parts) ** 0.3
    assert np.abs(got - expected).max() < 1e-9 * np.abs(expected).max()
    near = FrontEnd(AudioSettings.spectrogram())(wave.float())[0].numpy()
    assert near.dtype == np.float32 and near.shape == expected.shape


@pytest.mark.parametrize("num_samples, num_frames",
                         [(1, 1), (399, 1), (400, 1), (599, 1), (600, 2), (799, 2), (800, 3)])
def test_the_last_partial_frame_is_dropped(num_samples, num_frames):
    frontend = FrontEnd(AudioSettings())
    assert frontend(waves(num_samples=num_samples)).shape == (1, 120, num_frames)
    assert frontend.num_frames(num_samples) == num_frames
    assert frontend.num_frames(torch.tensor([num_samples])).tolist() == [num_frames]


def test_cmvn_rows_have_mean_0_and_variance_1_and_silence_stays_0():
    features = FrontEnd(AudioSettings.logmel())(waves(2, 20000))
    assert features.mean(2).abs().max() < 1e-12
    assert (features.var(2, unbiased=False) - 1).abs().max() < 1e-6
    assert FrontEnd(AudioSettings.logmel())(torch.zeros(1, 20000)).abs().max() == 0


def test_digital_silence_sits_on_the_floor_and_has_no_slope():
    features = FrontEnd(AudioSettings())(torch.zeros(1, 4000)).unflatten(1, (3, 40))
    assert torch.allclose(features[:, 0, 0], torch.full((1, 19), np.log(1e-10) * 8.0), rtol=1e-6)  # sqrt(64) ln floor
    assert features[:, 0, 1:].abs().max() < 1e-4
    assert features[:, 1:].abs().max() == 0


@pytest.mark.parametrize("settings", [AudioSettings(**SMALL), AudioSettings(**SMALL, normalise="cmvn"),
                                      AudioSettings.logmel(num_mels=24), AudioSettings.spectrogram()],
                         ids=["mfcc", "mfcc-cmvn", "logmel", "spectrogram"])
def test_a_clip_gives_the_same_alone_and_beside_longer_ones(settings):
    frontend, wave = FrontEnd(settings), waves(4, 7000, dtype=torch.float32)
    lengths = torch.tensor([7000, 300, 401, 4321])
    padded = wave.masked_fill(torch.arange(7000) >= lengths[:, None], float("nan"))  # padding may hold anything
    together, num_frames = frontend(padded, lengths), frontend.num_frames(lengths)
    for clip, length, num, alone in zip(together, lengths, num_frames, wave):
        expected = frontend(alone[None, :length])[0]
        assert expected.shape[1] == num
        assert (clip[:, :num] - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert (clip[:, num:] == 0).all()


def test_more_clips_than_fit_the_cache_are_the_same_clips():
    frontend, wave = FrontEnd(AudioSettings(**SMALL)), waves(9, 24000)
    together = frontend(wave, torch.arange(9) * 1000 + 15000)
    for at in range(9):
        num = frontend.num_frames(at * 1000 + 15000)
        assert torch.allclose(together[at, :, :num], frontend(wave[at:at + 1, :at * 1000 + 15000])[0], atol=1e-10)


@pytest.mark.parametrize("settings", [AudioSettings(**SMALL), AudioSettings(**SMALL, delta_width=5),
                                      AudioSettings.logmel(num_mels=24, normalise="none"), AudioSettings.spectrogram()],
                         ids=["mfcc", "wide", "logmel", "spectrogram"])
@pytest.mark.parametrize("sizes", [[50], [399, 1], [1, 7, 160, 3000, 0, 2000], [12000], [200] * 30, [399, 2]])
def test_a_stream_gives_what_the_whole_signal_gives(settings, sizes):
    wave = waves(2, sum(sizes))
    stream = FrontEnd(settings).stream()
    parts = [stream.push(block) for block in wave.split(sizes, dim=1)] + [stream.flush()]
    expected = FrontEnd(settings)(wave)
    assert torch.cat(parts, dim=2).shape == expected.shape
    assert torch.allclose(torch.cat(parts, dim=2), expected, atol=1e-11 * expected.abs().max().item(), rtol=0)


def test_a_stream_holds_only_what_it_needs():
    stream = FrontEnd(AudioSettings(**SMALL)).stream()
    for _ in range(50):
        stream.push(waves(1, 1600))
    assert stream._static.shape[2] <= 8 and stream._tail.shape[1] < 400


def test_a_stream_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="needs the whole clip"):
        FrontEnd(AudioSettings.logmel()).stream()
    stream = FrontEnd(AudioSettings()).stream()
    with pytest.raises(ValueError, match="nothing to flush"):
        stream.flush()
    stream.push(waves())
    stream.flush()
    with pytest.raises(ValueError, match="was flushed; start a new one"):
        stream.push(waves())


@pytest.mark.parametrize("settings", [AudioSettings(**SMALL), AudioSettings.logmel(num_mels=24),
                                      AudioSettings.spectrogram()],
                         ids=["mfcc", "logmel", "spectrogram"])
def test_gradients_are_those_of_finite_differences(settings):
    wave = waves(1, 700).requires_grad_()
    frontend = FrontEnd(settings)
    probe = torch.randn(frontend(wave).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda w: (frontend(w) * probe).sum(), wave, fast_mode=True, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("settings", [AudioSettings(), AudioSettings.logmel(), AudioSettings.spectrogram()])
def test_gradients_of_silence_are_finite(settings):
    wave = torch.zeros(1, 2000, requires_grad=True)
    FrontEnd(settings)(wave).sum().backward()
    assert torch.isfinite(wave.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_come_in_the_dtype_of_the_wave(dtype):
    assert FrontEnd(AudioSettings())(waves(dtype=dtype)).dtype == dtype


def test_a_converted_model_keeps_exact_tables():
    frontend, wave = FrontEnd(AudioSettings()), waves()
    expected = frontend(wave)
    assert torch.equal(frontend.half().float().double()(wave), expected)
    assert torch.equal(copy.deepcopy(frontend)(wave), expected)
    assert not frontend.state_dict()


def test_autocast_leaves_the_front_end_exact():
    frontend, wave = FrontEnd(AudioSettings()), waves(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = frontend(wave)
    assert torch.equal(inside, frontend(wave))


def test_an_input_is_not_changed():
    wave = waves(dtype=torch.float64)
    before = wave.clone()
    FrontEnd(AudioSettings())(wave)
    assert torch.equal(wave, before)


@pytest.mark.parametrize("wave, lengths, words", [
    (torch.zeros(400), None, r"takes a tensor \[N, S\], but shape \(400,\) came"),
    ([0.0], None, "but list came"),
    (torch.zeros(1, 400, dtype=torch.int16), None, "divided by 32768"),
    (torch.zeros(1, 0), None, "no samples"),
    (torch.zeros(2, 400), torch.tensor([400]), "lengths must be 2 whole numbers"),
    (torch.zeros(1, 400), torch.tensor([0.5]), "lengths must be 1 whole numbers"),
    (torch.zeros(1, 400), torch.tensor([401]), "between 1 and the 400 samples"),
    (torch.zeros(1, 400), torch.tensor([0]), "between 1 and the 400 samples"),
])
def test_unusable_input_is_refused_in_plain_words(wave, lengths, words):
    with pytest.raises(ValueError, match=words):
        FrontEnd(AudioSettings())(wave, lengths)
