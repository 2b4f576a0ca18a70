"""Every door on a network whose pictures have 2, 4 or 5 channels: drawn, or refused with the name of its file."""

import pytest
import torch
from click.testing import CliRunner

import calc_metrics
import gen_video
import projector
import style_mixing
import voice2style
from dnnlib.settings import to_dict
from torch_utils.images import write_png
from training.voice_loop import frozen_networks
from voice2style.card import Card, Part
from voice2style.command_line import generate
from voice2style.generators import Generator, GeneratorSettings
from voice2style.pipeline import VoiceToFace

DOORS = [  # door, its words, what it takes
    (generate, ["--seeds=1", "--outdir={}/out"], "1, 3 or 4"),
    (style_mixing.style_mixing, ["--rows=1", "--cols=2", "--styles=0", "--outdir={}/out"], "1, 3 or 4"),
    (gen_video.gen_video, ["--seeds=1", "--w-frames=1", "--output={}/out"], "1, 3 or 4"),
    (projector.projector, ["--target={}/target.png", "--num-steps=1", "--save-video=0", "--outdir={}/out"], "1 or 3"),
    (calc_metrics.main, ["--metrics=is50k", "--judge=drawn", "--num=10"], "1 or 3"),
    (calc_metrics.main, ["--metrics=ppl2_wend", "--judge=drawn", "--num=2"], "1 or 3"),
    (calc_metrics.main, ["--metrics=path_length", "--num=2"], None)]  # any: gradients need no eye


@pytest.fixture(params=[2, 4, 5])
def network(request, tmp_path):
    settings = GeneratorSettings(img_resolution=8, channels=(8, 8), z_dim=8, w_dim=8, img_channels=request.param)
    path = tmp_path / "odd.safetensors"
    VoiceToFace(None, None, Generator(settings), Card(Part("stylegan2", to_dict(settings)))).save(path)
    return path, request.param


@pytest.mark.parametrize(("door", "words", "taken"), DOORS, ids=lambda value: getattr(value, "name", None))
def test_pictures_that_a_door_cannot_use_are_refused_by_name(network, tmp_path, door, words, taken):
    path, channels = network
    write_png(tmp_path / "target.png", torch.zeros(8, 8, 3, dtype=torch.uint8))
    result = CliRunner().invoke(door, [f"--network={path}", "--device=cpu", *(word.format(tmp_path) for word in words)])
    refused = taken is not None and str(channels) not in taken
    assert result.exit_code == (2 if refused else 0), result.output
    if refused:
        assert f'odd.safetensors" draws pictures of {channels} channels; allowed here: {taken}.' in result.output
        assert [*tmp_path.glob("out/*")] == []


def test_a_library_takes_any_and_a_voice_is_taught_colours(network):
    path, channels = network
    assert voice2style.load(path, device="cpu").synthesis(torch.zeros(1, 4, 8)).shape == (1, channels, 8, 8)
    with pytest.raises(ValueError, match=f'odd.safetensors" draws pictures of {channels} channels; allowed here: 3'):
        frozen_networks(path)
