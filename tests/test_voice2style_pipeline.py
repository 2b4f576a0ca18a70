"""Laws of the whole model: load and save, codes and faces, what several faces share, long recordings by segments."""

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import build_tiny_model, speech_like

import voice2style
from voice2style import faces, listening
from voice2style.audio.voice_activity import speech_spans


@pytest.fixture(scope="module")
def model(tiny_voice_model):
    return voice2style.load(tiny_voice_model, device="cpu")


@pytest.fixture(scope="module")
def wave():
    return torch.from_numpy(speech_like(3.0))


def test_importing_the_package_is_cheap():
    code = "import voice2style, sys; assert not {'torch', 'numpy', 'click'} & set(sys.modules); voice2style.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_model_comes_back_the_same(model, wave, tmp_path):
    model.save(tmp_path / "copy.safetensors")
    again = voice2style.load(tmp_path / "copy.safetensors", device="cpu")
    assert again.card == model.card
    assert torch.equal(again.codes(wave), model.codes(wave))
    assert torch.equal(again.mean_face(), model.mean_face())
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())


def test_codes_are_the_mean_plus_the_encoders_offsets(model, wave):
    codes = model.codes(wave)
    assert codes.shape == (1, model.num_ws, model.w_dim)
    expected = model.generator.mapping.w_avg + model.encoder(model.frontend(wave[None]))
    assert torch.allclose(codes, expected)
    assert torch.equal(model.codes(wave.numpy()), codes)


def test_a_clip_gives_the_same_codes_alone_and_padded_in_a_batch(model, wave):
    short = torch.from_numpy(speech_like(1.7, seed=2))
    batch = torch.full([2, len(wave)], 0.3)
    batch[0], batch[1, :len(short)] = wave, short
    codes = model.codes(batch, [len(wave), len(short)])
    assert torch.allclose(codes[:1], model.codes(wave), atol=1e-5)
    assert torch.allclose(codes[1:], model.codes(short), atol=1e-5)


def test_codes_carry_gradients(wave):
    model = build_tiny_model()
    model.codes(wave).square().sum().backward()
    assert torch.isfinite(model.encoder.head.weight.grad).all() and model.encoder.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("wave, told", [
    (torch.zeros(0), "S of 1 or more"), (torch.zeros(2, 3, 4), r"\[S\] or \[N, S\]"),
    (torch.zeros(100, dtype=torch.int16), "float samples"),
    (torch.tensor([0.0, float("nan")] * 500), "NaN or infinite"),
])
def test_waves_that_cannot_be_heard(model, wave, told):
    with pytest.raises(ValueError, match=told):
        model.codes(wave)


def test_synthesis_names_the_shape_it_needs(model):
    with pytest.raises(ValueError, match=r"codes \[N, 6, 16\], got \(1, 5, 16\)"):
        model.synthesis(torch.zeros(1, 5, 16))


def test_truncation_is_a_line_through_the_mean(model, wave):
    codes, mean = model.codes(wave), model.mean_codes()
    assert torch.equal(model.truncate(codes, 1), codes)
    assert torch.allclose(model.truncate(codes, 0), mean)
    assert torch.allclose(model.truncate(codes, 0.25) - mean, 0.25 * (codes - mean), atol=1e-6)


def test_a_face_of_psi_0_is_the_mean_face(model, wave):
    assert torch.equal(model.face(wave, psi=0), model.mean_face())
    assert not torch.equal(model.face(wave, psi=1), model.mean_face())


def test_a_face_is_a_clamped_picture_and_repeatable(model, wave):
    face = model.face(wave, psi=0.7, seed=1)
    assert face.shape == (1, 3, 16, 16) and face.abs().max() <= 1
    assert torch.equal(face, model.face(wave, psi=0.7, seed=1))
    noisy = [model.face(wave, seed=seed, noise_mode="random") for seed in (1, 1, 2)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])


def test_further_faces_share_the_coarse_rows_only(model, wave):
    heard = model.codes(wave)
    codes = [faces.face_codes(model, heard, psi=0.7, seed=1, index=k) for k in range(4)]
    num_coarse = faces.default_num_coarse(model.num_ws)
    assert torch.equal(codes[0], model.truncate(heard, 0.7))
    for k, ws in enumerate(codes):
        assert torch.equal(ws[:, :num_coarse], codes[0][:, :num_coarse])
        assert all(not torch.allclose(ws[:, num_coarse:], other[:, num_coarse:]) for other in codes[:k])
    assert torch.equal(codes[3], faces.face_codes(model, heard, psi=0.7, seed=1, index=3))
    assert not torch.equal(codes[3], faces.face_codes(model, heard, psi=0.7, seed=2, index=3))


@pytest.mark.parametrize("num_ws, expected", [(18, 8), (14, 8), (12, 6), (10, 4), (8, 2), (6, 1), (4, 1), (1, 1)])
def test_where_coarse_ends(num_ws, expected):
    assert faces.default_num_coarse(num_ws) == expected


def test_coarse_layers_out_of_range(model, wave):
    for num_coarse in (0, 6, 7):
        with pytest.raises(ValueError, match="1 to 5 coarse layers"):
            faces.face_codes(model, model.codes(wave), psi=1, seed=1, index=1, num_coarse=num_coarse)


def test_seeds_follow_the_rule_of_the_published_command_lines(model):
    z = torch.from_numpy(np.random.RandomState(85).randn(1, model.generator.z_dim)).float()
    assert torch.equal(faces.seed_codes(model, 85, psi=0.5), model.generator.mapping(z, truncation_psi=0.5))


def test_a_generator_without_a_mean_code_gets_one_estimated():
    model = build_tiny_model()
    del model.generator.mapping.w_avg
    mean = model.mean_codes()
    z = torch.randn(20000, model.generator.z_dim, generator=torch.Generator().manual_seed(5))
    exact = model.generator.mapping(z).mean(dim=0)
    assert mean.shape == (1, 6, 16) and (mean[0] - exact).abs().max() < 0.1 * model.generator.mapping(z).std()


def test_a_network_that_gives_nan_says_so(model):
    ws = model.mean_codes().clone()
    ws[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite numbers"):
        faces.draw(model, ws)


def test_a_network_without_a_voice_path_says_so(tiny_conditional_model, wave):
    deaf = voice2style.load(tiny_conditional_model, device="cpu")
    assert not deaf.hears
    for call in (deaf.codes, deaf.face):
        with pytest.raises(ValueError, match="no voice path"):
            call(wave)


def test_conditional_networks_need_a_class(tiny_conditional_model):
    model = voice2style.load(tiny_conditional_model, device="cpu")
    codes = [faces.seed_codes(model, 1, psi=1, label=label) for label in range(3)]
    assert not torch.equal(codes[0], codes[1])
    for label in (None, 3):
        with pytest.raises(ValueError, match="from 0 to 2"):
            faces.seed_codes(model, 1, psi=1, label=label)


def test_long_speech_is_heard_in_segments(model):
    speech = torch.from_numpy(speech_like(9.0, pauses=False))
    pool = listening.VoicePool(model, segment_s=2.0)
    for piece in speech.split(12345):
        pool.add(piece)
        assert pool.num_waiting <= 3.0 * 16000
    pieces = [speech[i * 32000:(i + 1) * 32000] for i in range(3)] + [speech[96000:]]
    gathered = [model.pooled(piece) for piece in pieces]
    expected = model.codes_of_pooled(sum(total for total, _ in gathered), sum(count for _, count in gathered))
    assert torch.allclose(pool.codes(), expected, atol=1e-5)


def test_speech_of_one_segment_is_heard_exactly(model, wave):
    pool = listening.VoicePool(model, segment_s=2.0)  # 3 s: up to one and a half segments stay whole
    for piece in wave.split(1000):
        pool.add(piece)
    assert torch.equal(pool.codes(), model.codes(wave))


def test_a_short_recording_is_heard_as_its_speech_in_one_piece(model, voice):
    wave = speech_like(5.0)
    spans = [(round(start * 16000), round(end * 16000)) for start, end in speech_spans(wave, 16000)]
    speech = np.concatenate([wave[start:end] for start, end in spans])
    heard = listening.listen(model, torch.from_numpy(wave))
    assert torch.equal(heard.codes, model.codes(torch.from_numpy(speech))) and not heard.is_mean
    assert heard.speech_s == pytest.approx(len(speech) / 16000) and heard.recording_s == 5.0 and not heard.notes
    everything = listening.listen(model, torch.from_numpy(wave), vad="none")
    assert torch.equal(everything.codes, model.codes(torch.from_numpy(wave))) and everything.speech_s == 5.0


def test_a_path_and_its_samples_are_heard_alike(model, voice):
    path = voice("a.wav", 4.0)
    samples, _ = soundfile.read(path, dtype="float32")
    from_file, from_samples = listening.listen(model, path), listening.listen(model, samples)
    assert from_file.speech_s == from_samples.speech_s
    assert torch.equal(from_file.codes, from_samples.codes)
    assert torch.equal(model.face(path), model.face(str(path)))


def test_a_long_recording_gives_nearly_the_same_in_any_segments(model, voice):
    path, told = voice("long.wav", 61.0), []
    whole = listening.listen(model, path)
    parts = listening.listen(model, path, segment_s=12.0, progress=told.append)
    assert parts.recording_s == whole.recording_s == 61.0
    assert parts.speech_s == pytest.approx(whole.speech_s, rel=0.05)
    assert len(told) == 5 and sum(told) == pytest.approx(61.0)  # the sixth block, 1 s, is heard with the fifth
    offset = (whole.codes - model.mean_codes()).norm()
    assert (parts.codes - whole.codes).norm() < 0.1 * offset


@pytest.mark.parametrize("voice_, why", [
    (np.zeros(32000, np.float32), "no speech was found"),
    (speech_like(0.6, pauses=False), "0.6 s of speech were found"),
])
def test_too_little_speech_gives_the_mean_face_with_a_warning(model, voice_, why):
    with pytest.warns(UserWarning, match=f"the mean face is drawn, because .*{why}"):
        face = model.face(voice_)
    assert torch.equal(face, model.mean_face())


@pytest.mark.parametrize("voice_", [np.zeros([2, 100], np.float32), np.zeros(0, np.float32), np.zeros(9, np.int16),
                                    np.array([np.nan] * 20000, np.float32)])
def test_samples_that_are_no_voice(model, voice_):
    with pytest.raises(ValueError, match="a voice is a path or float samples|NaN or infinite"):
        model.face(voice_)


def test_a_path_is_no_wave_and_psi_is_a_number(model, wave):
    with pytest.raises(ValueError, match=r'a path came \("hello.wav"\)'):
        model.codes("hello.wav")
    for psi in (float("nan"), float("inf"), "0.7", None):
        with pytest.raises(ValueError, match="psi is .*give a finite number"):
            model.face(wave, psi=psi)


def test_a_long_recording_shows_its_progress_to_a_person(voice):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    long, short, screen = voice("long.wav", 61.0, pauses=False), voice("short.wav", 2.0), Terminal()
    with listening.progress_bar(long, stream=screen) as progress:
        progress(30.0)
        progress(31.0)
    assert "long.wav" in screen.getvalue() and "61 s" in screen.getvalue()
    for path, stream in ((short, Terminal()), (long, io.StringIO()), (short.parent / "missing.wav", Terminal())):
        with listening.progress_bar(path, stream=stream) as progress:
            assert progress is None


def test_loading_says_what_is_wrong(tmp_path, tiny_voice_model):
    whole = bytearray(tiny_voice_model.read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(whole[:-10])
    (tmp_path / "kind.safetensors").write_bytes(whole.replace(b"stylegan2", b"stylegan9"))
    (tmp_path / "version.safetensors").write_bytes(whole.replace(b"voice2style/1", b"voice2style/7"))
    (tmp_path / "setting.safetensors").write_bytes(whole.replace(b"preemphasis", b"preemphasiz"))
    (tmp_path / "shape.safetensors").write_bytes(whole.replace(b'\\"base_width\\": 4', b'\\"base_width\\": 8'))
    for name, told in [("cut", "truncated"), ("kind", 'kind "stylegan9".*Did you mean "stylegan2"'),
                       ("version", 'format "voice2style/7"'), ("setting", 'unknown setting "preemphasiz"'),
                       ("shape", "encoder of .* does not fit its own card")]:
        with pytest.raises(ValueError, match=told):
            voice2style.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        voice2style.load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("changes, told", [
    ({"encoder": {"base_width": 1 << 20}}, r"encoder in the card of .* would be a network of more than \d{14,} bytes"),
    ({"encoder": {"embed_dim": 1 << 40}}, r"encoder in the card of .* would be a network of more than \d{14,} bytes"),
    ({"audio": {"num_mels": 1 << 40}}, "num_mels is 1099511627776; it can be at most 512"),
    ({"audio": {"num_mfcc": 14}}, "a front-end of 42 rows and an encoder of 39"),
    ({"encoder": {"num_ws": 4, "w_dim": 24}}, "an encoder of 4 x 24 codes and a generator of 6 x 16"),
    ({"source": {"notes": 5}}, "notes: expected a list of sentences, got 5")])
def test_a_card_that_lies_is_refused_before_it_costs_anything(tmp_path, tiny_voice_model, changes, told):
    from torch_utils.checkpoint import load_checkpoint, save_checkpoint

    tensors, card = load_checkpoint(tiny_voice_model)
    for part, values in changes.items():
        (card[part]["options"] if part == "encoder" else card[part]).update(values)
    save_checkpoint(tmp_path / "lie.safetensors", tensors, card)
    with pytest.raises(ValueError, match=told):
        voice2style.load(tmp_path / "lie.safetensors")
