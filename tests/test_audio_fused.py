"""The front-end by vector kernels against plain torch in float64: settings, shapes, threads, edges, fallbacks."""

import copy
import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_audio_frontend import waves
from test_golden_audio import FILES, TOLERANCE, largest_error, load
from torch.autograd import forward_ad

from torch_utils.ops import build, toolchain
from voice2style.audio import AudioSettings, FrontEnd, fused_frontend

NEAR = 2e-6  # of the largest feature; the tests against librosa allow 1e-5
SETTINGS = {
    "mfcc": AudioSettings(),
    "mfcc cmvn": AudioSettings(normalise="cmvn"),
    "8 kHz, odd bands": AudioSettings(sample_rate_hz=8000, num_mels=23, num_mfcc=13, delta_width=1),
    "full frames": AudioSettings(sample_rate_hz=22050, frame_ms=32, hop_ms=16, num_mels=80, num_mfcc=20, delta_width=3),
    "4096 points": AudioSettings(sample_rate_hz=44100, frame_ms=40, hop_ms=20, preemphasis=0.97, num_mels=128,
                                 n_fft=4096),
    "wide slopes": AudioSettings(frame_ms=20, hop_ms=10, n_fft=1024, fmin_hz=80, fmax_hz=7600, log_floor=1e-6,
                                 delta_width=9),
    "no overlap, one coefficient": AudioSettings(hop_ms=25, preemphasis=0.0, num_mels=40, num_mfcc=1),
    "logmel": AudioSettings.logmel(),
    "logmel, plain": AudioSettings.logmel(num_mels=30, normalise="none"),
}


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """The kernels are built and may run, whatever the caller's environment says."""
    monkeypatch.setenv("V2S_OPS", "auto")
    build.forget()
    if not fused_frontend.prepare():
        pytest.skip(f"the vector kernels cannot be built here: {build.state('simd')}")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    monkeypatch.undo()
    build.forget()


def assert_near(frontend, wave, lengths=None):
    """Returns the features by the kernels, near those of plain torch in float64."""
    assert fused_frontend.usable(frontend.settings, wave)
    came, wanted = frontend(wave, lengths), frontend(wave.double(), lengths)
    assert came.shape == wanted.shape and came.dtype == wave.dtype
    assert (came - wanted).abs().max() <= NEAR * wanted.abs().max()
    return came


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("num_samples", [1, 2, 100, 399, 401, 4001, 30000])
def test_any_settings(settings, num_samples):
    assert_near(FrontEnd(settings), waves(2, num_samples, dtype=torch.float32))


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_blocks_of_frames_that_are_not_full(num_frames):
    for num_samples in (200 + 200 * num_frames, 399 + 200 * num_frames):
        assert assert_near(FrontEnd(AudioSettings()), waves(1, num_samples, dtype=torch.float32)).shape[2] == num_frames


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_numbers(path):
    golden, wave, settings = load(path)
    wave = wave.float()
    assert fused_frontend.usable(settings, wave)
    planes = FrontEnd(settings)(wave)[0].unflatten(0, (3, settings.num_mfcc))
    for plane, name in zip(planes, ("mfcc", "delta", "delta2")):
        assert largest_error(plane, golden[name]) <= TOLERANCE[torch.float32], name
    assert largest_error(FrontEnd(AudioSettings.logmel())(wave)[0], golden["logmel64_cmvn"]) <= TOLERANCE[torch.float32]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_settings_and_shapes(data):
    draw = data.draw
    frame, bits = draw(st.integers(1, 300)), draw(st.integers(0, 2))
    n_fft = max(32, 1 << ((frame - 1).bit_length() + bits))
    bands = draw(st.integers(1, max(1, n_fft // 16)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # frames of unusual length
        wanted = AudioSettings(
            kind=draw(st.sampled_from(["mfcc", "logmel"])), sample_rate_hz=8000, frame_ms=frame / 8,
            hop_ms=draw(st.integers(1, frame)) / 8, n_fft=n_fft, num_mels=1 if n_fft < 256 else bands,
            num_mfcc=1 if n_fft < 256 else draw(st.integers(1, bands)), delta_width=draw(st.integers(1, 12)),
            preemphasis=draw(st.sampled_from([0.0, 0.95])), normalise=draw(st.sampled_from(["none", "cmvn"])))
    clips, samples = draw(st.integers(1, 5)), draw(st.integers(1, 3000))
    lengths = draw(st.none() | st.lists(st.integers(1, samples), min_size=clips, max_size=clips))
    torch.set_num_threads(draw(st.integers(1, 3)))
    wave = waves(clips, samples, seed=draw(st.integers(0, 99)), dtype=torch.float32)
    frontend, lengths = FrontEnd(wanted), None if lengths is None else torch.tensor(lengths)
    came, exact = frontend(wave, lengths), frontend(wave.double(), lengths)
    assert fused_frontend.usable(wanted, wave)
    allowed = 1e-5 * exact.abs().max()
    if wanted.normalise == "cmvn":  # which divides a row's error by its scatter, small where frames are nearly alike
        raw = FrontEnd(dataclasses.replace(wanted, normalise="none"))(wave.double(), lengths)
        counts = [raw.shape[2]] * clips if lengths is None else frontend.num_frames(lengths).tolist()
        variance = torch.stack([clip[:, :count].var(1, correction=0) for clip, count in zip(raw, counts)])
        allowed = allowed + 1e-5 * raw.abs().max() / (variance + 1e-8).sqrt()[:, :, None]
    assert ((came - exact).abs() <= allowed).all()


@pytest.mark.parametrize("name", ["mfcc", "mfcc cmvn", "logmel"])
def test_a_clip_gives_the_same_bits_alone_beside_others_and_with_any_threads(name):
    frontend, wave = FrontEnd(SETTINGS[name]), waves(6, 9000, dtype=torch.float32)
    lengths = torch.tensor([9000, 300, 401, 4321, 1, 8999])
    padded = wave.masked_fill(torch.arange(9000) >= lengths[:, None], float("nan"))  # padding may hold anything
    num_frames = frontend.num_frames(lengths)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        together = frontend(padded, lengths)
        for clip, length, num, alone in zip(together, lengths, num_frames, wave):
            assert torch.equal(clip[:, :num], frontend(alone[None, :length])[0])
            assert (clip[:, num:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_waves_are_computed_in_float32(dtype):
    frontend, wave = FrontEnd(AudioSettings()), waves(2, 5000, dtype=dtype)
    assert torch.equal(frontend(wave), frontend(wave.float()).to(dtype))


def test_waves_that_are_views():
    frontend, wave = FrontEnd(AudioSettings()), waves(4, 8000, dtype=torch.float32)
    for view in (wave[1:3, 100:5001], wave[:, ::2], wave.t().contiguous().t(), wave[:1].expand(3, -1)):
        assert torch.equal(frontend(view), frontend(view.contiguous()))


def test_silence_tones_and_near_silence():
    time = torch.arange(8000, dtype=torch.float64) / 16000
    tone, noise = torch.sin(2 * torch.pi * 1000 * time), waves(1, 8000)[0]
    for name, wave in {
        "loud tone": 0.99 * tone, "square": tone.sign(), "tone beside digital silence": tone * (time > 0.25),
        "faint noise": 1e-5 * noise, "fainter than the floor": 1e-9 * noise, "not normal numbers": 1e-40 * noise,
        "one bit": (time * 16000 % 997 == 0) / 32768, "tone over faint noise": 0.9 * tone + 1e-6 * noise,
        "loud": 1e4 * noise,
    }.items():
        for frontend in (FrontEnd(AudioSettings()), FrontEnd(AudioSettings.logmel(normalise="none"))):
            came, wanted = frontend(wave.float()[None]), frontend(wave.float()[None].double())
            assert (came - wanted).abs().max() <= 1e-5 * wanted.abs().max(), name
    silence = FrontEnd(AudioSettings())(torch.zeros(1, 8000)).unflatten(1, (3, 40))
    assert torch.allclose(silence[:, 0, 0], torch.full((1, 39), np.log(1e-10) * 8.0), rtol=1e-6)
    assert silence[:, 0, 1:].abs().max() < 1e-4 and silence[:, 1:].abs().max() == 0
    assert FrontEnd(AudioSettings.logmel())(torch.zeros(1, 8000)).abs().max() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_spoils_the_frames_that_hold_it(bad):
    wave = waves(1, 8000, dtype=torch.float32)
    wave[0, 4000] = bad
    features = FrontEnd(AudioSettings.logmel(normalise="none"))(wave)[0]
    assert (~features.isfinite().all(0)).nonzero().flatten().tolist() == [23, 24, 25]  # from 3680, 3840 and 4000 on


def test_gradients_and_tangents_flow_through_plain_torch():
    frontend, wave = FrontEnd(AudioSettings()), waves(1, 2000, dtype=torch.float32)
    leaf = wave.clone().requires_grad_()
    assert not fused_frontend.usable(frontend.settings, leaf)
    frontend(leaf).square().sum().backward()
    assert leaf.grad.isfinite().all() and leaf.grad.abs().max() > 0
    with torch.no_grad():
        assert fused_frontend.usable(frontend.settings, leaf)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(wave, torch.ones_like(wave))
        assert forward_ad.unpack_dual(frontend(dual)).tangent.abs().max() > 0


def test_vmap_and_tracing_go_through_plain_torch():
    frontend, wave = FrontEnd(AudioSettings()), waves(3, 2000, dtype=torch.float32)
    each = torch.vmap(lambda clip: frontend(clip[None])[0])(wave)
    assert torch.allclose(each, frontend(wave), atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(frontend, wave)
    assert torch.allclose(traced(2 * wave), frontend(2 * wave), atol=1e-3)


def test_settings_that_the_kernel_does_not_know_go_through_plain_torch():
    wave = waves(1, 3000, dtype=torch.float32)
    for unknown in (AudioSettings.spectrogram(), AudioSettings(n_fft=400, num_mels=20, num_mfcc=20),
                    AudioSettings(log_floor=1e-40)):
        assert not fused_frontend.usable(unknown, wave)
        assert FrontEnd(unknown)(wave).shape[1] == unknown.num_features
    assert not fused_frontend.usable(AudioSettings(), wave.double())
    assert not fused_frontend.usable(AudioSettings(), wave.to("meta"))


def test_without_a_compiler_plain_torch_runs(monkeypatch):
    frontend, wave = FrontEnd(AudioSettings()), waves(1, 5000, dtype=torch.float32)
    fused = frontend(wave)
    build.forget()
    monkeypatch.setattr(toolchain, "find_host_compiler", lambda: None)
    assert not fused_frontend.usable(frontend.settings, wave)
    assert torch.allclose(frontend(wave), fused, atol=1e-3)


def test_a_clip_starts_no_build_and_v2s_ops_ref_forbids_the_kernels(monkeypatch, tmp_path):
    frontend, wave = FrontEnd(AudioSettings()), waves(1, 5000, dtype=torch.float32)
    build.forget()
    monkeypatch.setenv("V2S_OPS", "ref")
    assert not fused_frontend.usable(frontend.settings, wave) and not fused_frontend.prepare()
    build.forget()
    monkeypatch.setenv("V2S_OPS", "auto")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))  # where nothing is built
    frontend(wave)
    assert not fused_frontend.usable(frontend.settings, wave) and list(tmp_path.iterdir()) == []


def test_a_front_end_that_has_run_can_be_copied_and_pickled():
    frontend, wave = FrontEnd(AudioSettings()), waves(1, 5000, dtype=torch.float32)
    wanted = frontend(wave)
    assert torch.equal(copy.deepcopy(frontend)(wave), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(frontend))(wave), wanted)
