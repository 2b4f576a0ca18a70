"""The front-end against the golden vectors beside the repository (numpy, first principles); skipped without them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from voice2style.audio import AudioSettings, FrontEnd, filterbank

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden_audio"
FILES = sorted(GOLDEN.glob("*.npz")) if GOLDEN.is_dir() else []
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}  # of the largest coefficient

pytestmark = pytest.mark.skipif(not FILES, reason="no golden_audio folder beside the repository")


def load(path):
    """The arrays, the wave [1, S] float64 and the mfcc settings of a golden file."""
    with np.load(path) as file:
        golden = {name: file[name] for name in file.files}
    c = json.loads(str(golden["config"]))
    settings = AudioSettings(
        sample_rate_hz=c["sr"], preemphasis=c["alpha"], frame_ms=1000 * c["win"] / c["sr"],
        hop_ms=1000 * c["hop"] / c["sr"], n_fft=c["n_fft"], num_mels=c["n_mels"], num_mfcc=c["n_mfcc"],
        fmin_hz=c["fmin"], fmax_hz=c["fmax"], log_floor=c["floor"], delta_width=c["K"])
    return golden, torch.from_numpy(golden["signal_int16"] / 32768.0)[None], settings


def largest_error(got, expected):  # [C, T], [T, C] -> share of the largest coefficient
    assert got.shape == expected.T.shape
    return np.abs(got.double().numpy() - expected.T).max() / np.abs(expected).max()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mfcc_and_both_slopes(path, dtype):
    golden, wave, settings = load(path)
    planes = FrontEnd(settings)(wave.to(dtype))[0].unflatten(0, (3, settings.num_mfcc))
    for plane, name in zip(planes, ("mfcc", "delta", "delta2")):
        assert largest_error(plane, golden[name]) <= TOLERANCE[dtype], name


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_log_mel_with_and_without_normalisation(path, dtype):
    golden, wave, _ = load(path)
    plain = FrontEnd(AudioSettings.logmel(normalise="none"))(wave.to(dtype))[0]
    assert largest_error(plain, golden["logmel64"]) <= TOLERANCE[dtype]
    normalised = FrontEnd(AudioSettings.logmel())(wave.to(dtype))[0]
    assert largest_error(normalised, golden["logmel64_cmvn"]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_steps_before_the_cepstra(path):
    golden, wave, s = load(path)
    frontend = FrontEnd(s)
    emphasised = frontend._pre_emphasised(wave)[0].numpy()
    assert np.abs(emphasised[: wave.shape[1]] - golden["preemph"]).max() < 1e-15
    mel = filterbank.mel_filters(s.num_mels, s.n_fft, s.sample_rate_hz, s.fmin_hz, s.fmax_hz)
    assert np.abs(mel - golden["mel_fb"]).max() < 1e-12
    windowed = golden["frames"] * filterbank.hamming(s.frame_samples)
    assert np.abs(windowed - golden["windowed"]).max() < 1e-15
    bands = golden["logmel"] @ filterbank.dct_matrix(s.num_mfcc, s.num_mels).T
    assert np.abs(bands - golden["mfcc"]).max() < 1e-9
