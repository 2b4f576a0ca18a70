"""Laws of projection: a network's own picture is found again, the network stays as it was, same seed same code."""

import numpy as np
import pytest
import torch
from conftest import build_tiny_model
from PIL import Image

from torch_utils.images import to_uint8
from voice2style import faces, projection
from voice2style.perceptual import PixelDistance
from voice2style.projection import ProjectionSettings, project
from voice2style.target import read_target


@pytest.fixture(scope="module")
def model():
    model = build_tiny_model().requires_grad_(False)
    for name, parameter in model.generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.02)
    return model


@pytest.fixture(scope="module")
def target(model):
    return to_uint8(faces.draw(model, faces.seed_codes(model, 1, psi=1)))[0]


def psnr(first, second):
    return -10 * ((first.float() - second.float()) / 255).square().mean().log10().item()


def drawn(model, ws):
    return to_uint8(faces.draw(model, ws))[0]


@pytest.mark.parametrize("space", projection.SPACES)
def test_a_picture_of_the_network_itself_is_found_again(model, target, space):
    seen = []
    found = project(model, target, PixelDistance(), ProjectionSettings(num_steps=80, space=space, num_for_mean=1000),
                    watch=lambda step, apart, ws: seen.append((step, apart, ws.shape)))
    assert [step for step, _, _ in seen] == list(range(1, 81)) and {shape for *_, shape in seen} == {(1, 6, 16)}
    assert found.first_distance == seen[0][1] and found.last_distance == seen[-1][1] < 0.6 * seen[0][1]
    mean_face = psnr(drawn(model, found.ws_mean), target)
    assert psnr(drawn(model, found.ws), target) > mean_face + 5
    spread = (found.ws - found.ws[:, :1]).abs().max()
    assert spread == 0 if space == "w" else spread > 0.01


def test_the_same_seed_gives_the_same_code_and_the_network_is_left_alone(model, target):
    before = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
    codes = [project(model, target, PixelDistance(), ProjectionSettings(num_steps=5, num_for_mean=100, seed=seed)).ws
             for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1]) and not torch.equal(codes[0], codes[2])

    def stop(step, apart, ws):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project(model, target, PixelDistance(), ProjectionSettings(num_steps=5, num_for_mean=100), watch=stop)
    after = model.generator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mean_is_that_of_the_class():
    model = build_tiny_model(c_dim=3)
    settings = ProjectionSettings(num_for_mean=500)
    means = [projection.code_statistics(model, settings, label=label)[0] for label in (0, 1)]
    assert means[0].shape == (1, 1, 16) and not torch.allclose(means[0], means[1])
    with pytest.raises(ValueError, match="--class with a number from 0 to 2"):
        projection.code_statistics(model, settings)


def test_the_penalty_of_noise_maps_in_closed_form():
    checkerboard = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert projection.noise_map_penalty([checkerboard.repeat(4, 4)]).item() == 2  # each neighbour: (-1)^2
    assert projection.noise_map_penalty([checkerboard.repeat(8, 8)]).item() == 2  # averaged away at 8x8
    assert projection.noise_map_penalty([torch.ones(16, 16)]).item() == 2 + 2 * 2**4  # 1s, then 2s at 8x8
    white = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert projection.noise_map_penalty([white]).item() < 0.1
    assert projection.noise_map_penalty([]) == 0


def test_the_learning_rate_rises_and_falls():
    settings = ProjectionSettings()
    expected = {0.0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.5: 1.0, 0.75: 1.0, 0.875: 0.5, 1.0: 0.0}
    for t, factor in expected.items():
        assert projection.learning_rate_ramp(t, settings) == pytest.approx(factor)


@pytest.mark.parametrize("wrong, told", [({"num_steps": 0}, "1 or more"), ({"space": "z"}, "allowed: w, w+")])
def test_settings_that_make_no_sense(wrong, told):
    with pytest.raises(ValueError, match=told.replace("+", r"\+")):
        ProjectionSettings(**wrong)


def test_a_damaged_network_says_so(target):
    model = build_tiny_model().requires_grad_(False)
    model.generator.synthesis.b8.conv0.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="broke down at step 1"):
        project(model, target, PixelDistance(), ProjectionSettings(num_steps=2, num_for_mean=10))


# ---- targets -----------------------------------------------------------------------------------------------------

def saved(tmp_path, picture, name="a.png", **wishes):
    picture.save(tmp_path / name, **wishes)
    return tmp_path / name


def test_a_target_of_the_right_size_is_taken_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [16, 16, 3], dtype=np.uint8)
    target = read_target(saved(tmp_path, Image.fromarray(pixels)), 16, 16)
    assert target.dtype == torch.uint8 and np.array_equal(target.permute(1, 2, 0), pixels)


def test_a_target_is_cropped_in_its_middle(tmp_path):
    pixels = np.zeros([32, 96, 3], np.uint8)
    pixels[:, 32:64] = 200
    target = read_target(saved(tmp_path, Image.fromarray(pixels)), 16, 16)
    assert (target[:, 2:-2, 4:-4] == 200).all() and target.min() > 150
    assert read_target(tmp_path / "a.png", 32, 16).shape == (3, 32, 16)


def test_the_orientation_tag_is_obeyed(tmp_path):
    pixels = np.zeros([16, 16, 3], np.uint8)
    pixels[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    target = read_target(saved(tmp_path, Image.fromarray(pixels), exif=exif), 16, 16)
    assert (target[:, :8] == 0).all() and (target[:, 8:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture(tmp_path, mode, channels):
    name = "a.tif" if mode in ("CMYK", "F", "I") else "a.png"
    if mode == "I;16":
        picture = Image.fromarray(np.full([16, 16], 65535, np.uint16))
    elif mode in ("I", "F"):
        picture = Image.new(mode, (16, 16), 65535 if mode == "I" else 1.0)
    else:
        picture = Image.new("RGB", (16, 16), "white").convert(mode)
    assert read_target(saved(tmp_path, picture, name), 16, 16, channels=channels).shape == (channels, 16, 16)
    assert (read_target(tmp_path / name, 16, 16, channels=channels) == 255).all()


def test_transparent_parts_become_white(tmp_path):
    assert (read_target(saved(tmp_path, Image.new("RGBA", (16, 16), (0, 0, 0, 0))), 16, 16) == 255).all()


@pytest.mark.parametrize("content, told", [(None, "no such file"), (b"text", "not a picture"),
                                           ("cut", "cannot read the picture")])
def test_files_that_are_no_pictures(tmp_path, content, told):
    path = tmp_path / "a.png"
    if content == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, [64, 64, 3], dtype=np.uint8)).save(path)
        content = path.read_bytes()[:2000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_target(path, 16, 16)
    with pytest.raises(ValueError, match="channels cannot be compared"):
        read_target(path, 16, 16, channels=4)
