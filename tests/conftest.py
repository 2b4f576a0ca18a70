"""Fixtures that several rooms share: a tiny random model with a voice path, and waves to feed it."""

import dataclasses

import pytest


def build_tiny_model(*, c_dim=0, seed=0):
    """Returns a random 16x16 VoiceToFace (L = 6, D = 16) whose answers differ from voice to voice."""
    import torch

    from dnnlib.settings import to_dict
    from voice2style.audio import AudioSettings, FrontEnd
    from voice2style.card import Card, Part
    from voice2style.encoders import SEResNet, SEResNetSettings
    from voice2style.generators import Generator, GeneratorSettings
    from voice2style.pipeline import VoiceToFace

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        audio = AudioSettings(num_mfcc=13, num_mels=32)
        wanted = GeneratorSettings(img_resolution=16, channels=(8, 8, 8), z_dim=16, w_dim=16, c_dim=c_dim,
                                   mapping_layers=2)
        generator = Generator(wanted)
        encoder = SEResNet(SEResNetSettings(num_ws=wanted.num_ws, w_dim=16, planes=3, rows=13, base_width=4,
                                            embed_dim=16))
        torch.nn.init.normal_(encoder.head.weight, std=0.5)
        generator.mapping.w_avg.normal_()
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.fill_(0.1)
    card = Card(generator=Part("stylegan2", to_dict(wanted)), encoder=Part("se_resnet", to_dict(encoder.settings)),
                audio=to_dict(audio), source={"made_by": "tests/conftest.py"}, licence="Apache-2.0")
    return VoiceToFace(FrontEnd(audio), encoder, generator, card).eval()


@pytest.fixture(scope="session")
def tiny_voice_model(tmp_path_factory):
    """The path of a checkpoint with the tiny model."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    build_tiny_model().save(path)
    return path


@pytest.fixture(scope="session")
def tiny_conditional_model(tmp_path_factory):
    """The path of a checkpoint with a tiny conditional generator (3 classes) and no voice path."""
    from voice2style.pipeline import VoiceToFace

    model = build_tiny_model(c_dim=3)
    path = tmp_path_factory.mktemp("model") / "conditional.safetensors"
    VoiceToFace(None, None, model.generator, dataclasses.replace(model.card, encoder=None, audio=None)).save(path)
    return path


@pytest.fixture(scope="session")
def tiny_half_model(tmp_path_factory):
    """The path of a checkpoint whose blocks want half precision on every device, as those of the ada repository do."""
    from dnnlib.settings import to_dict
    from voice2style.card import Part
    from voice2style.generators import Generator
    from voice2style.pipeline import VoiceToFace

    model = build_tiny_model()
    settings = dataclasses.replace(model.generator.settings, num_fp16_res=2, fp16_on_cpu=True)
    generator = Generator(settings)
    generator.load_state_dict(model.generator.state_dict())
    for parameter in generator.synthesis.b16.torgb.parameters():
        parameter.data.mul_(0.2)  # few pixels at full scale, where differences would not show
    path = tmp_path_factory.mktemp("model") / "half.safetensors"
    card = dataclasses.replace(model.card, generator=Part("stylegan2", to_dict(settings)), encoder=None, audio=None)
    VoiceToFace(None, None, generator, card).save(path)
    return path


def speech_like(seconds, *, seed=0, pitch_hz=120.0, sample_rate_hz=16000, pauses=True):  # -> float32 [S]
    """Returns a buzz with formants that wander, in syllables, with pauses: enough like speech to be detected."""
    import numpy as np

    if seconds > 8:
        again = speech_like(8.0, seed=seed, pitch_hz=pitch_hz, sample_rate_hz=sample_rate_hz, pauses=pauses)
        return np.resize(again, int(round(seconds * sample_rate_hz)))
    rng = np.random.RandomState(seed)
    num_samples = int(round(seconds * sample_rate_hz))
    time = np.arange(num_samples) / sample_rate_hz
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time + rng.rand() * 6))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate_hz
    vowel = np.floor(time * 4).astype(int)
    first = np.array([300, 700, 450, 600, 350])[(vowel + seed) % 5]
    second = np.array([2200, 1200, 1800, 1000, 900])[(vowel + seed) % 5]
    wave = np.zeros(num_samples)
    for k in range(1, 40):
        hz = k * pitch
        gain = 1 / (1 + ((hz - first) / 120) ** 2) + 0.5 / (1 + ((hz - second) / 180) ** 2) + 0.02
        wave += np.where(hz < sample_rate_hz / 2, gain / k ** 0.3, 0) * np.sin(k * phase)
    syllable = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time)
    if pauses:
        syllable *= (time % 2.0) < 1.4
    wave = wave * syllable + rng.randn(num_samples) * 0.002
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.fixture
def voice(tmp_path):
    """A function that writes a speech-like recording and returns its path."""
    import soundfile

    def write(name="voice.wav", seconds=4.0, *, sample_rate_hz=16000, **wishes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech_like(seconds, sample_rate_hz=sample_rate_hz, **wishes), sample_rate_hz)
        return path

    return write


def native_devices():
    """Returns the names of the devices on which native ops can be held against their references."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=native_devices())
def native_device(request, monkeypatch):
    """A torch.device on which every op is native: on the CPU the kernels run as loops; a GPU where there is one."""
    import torch

    from torch_utils.ops import build

    monkeypatch.setenv("V2S_OPS", "native")
    build.forget()
    if request.param == "cpu" and "plain torch" in build.state("cpu"):
        pytest.skip(f"native ops cannot be built here: {build.state('cpu')}")
    yield torch.device(request.param)
    monkeypatch.undo()
    build.forget()
