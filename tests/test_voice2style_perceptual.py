"""Laws of the distances between pictures: LPIPS equals the lpips package's, and its weights are the published ones."""

import types

import pytest
import torch

from voice2style import perceptual


def random_trunk():
    """Returns the features of a VGG16 with random weights, as torchvision builds it, without the large classifier."""
    vgg = pytest.importorskip("torchvision.models.vgg")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vgg.make_layers(vgg.cfgs["D"])


@pytest.fixture(scope="module")
def trunk():
    return random_trunk()


def state_of(trunk):
    return {f"features.{name}": tensor for name, tensor in trunk.state_dict().items()}


def test_lpips_equals_the_lpips_package(trunk, monkeypatch):
    """lpips 0.1.4, net vgg, with the same random trunk: the arithmetic does not depend on what the weights are."""
    lpips = pytest.importorskip("lpips")
    monkeypatch.setattr(lpips.pretrained_networks.tv, "vgg16", lambda **_: types.SimpleNamespace(features=trunk))
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    heads = torch.load(perceptual.packaged_heads(), "cpu", weights_only=True)
    ours = perceptual.Lpips(state_of(trunk), heads)
    first, second = torch.rand(2, 2, 3, 48, 32) * 2 - 1
    with torch.no_grad():
        expected = theirs(first, second).flatten()
        found = ours.between(ours.features(first), ours.features(second))
    assert expected.min() > 1e-4
    assert torch.allclose(found, expected, rtol=1e-4)


def test_the_heads_of_the_installed_package_are_the_published_ones():
    assert perceptual.sha256_file(perceptual.packaged_heads()) == perceptual.HEADS_SHA256


@pytest.fixture(params=["lpips", "pixels"])
def distance(request, trunk):
    if request.param == "pixels":
        return perceptual.PixelDistance()
    return perceptual.Lpips(state_of(trunk), torch.load(perceptual.packaged_heads(), "cpu", weights_only=True))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 32, 32), (3, 64, 32)])
def test_a_distance_is_zero_for_the_same_picture_and_symmetric(distance, shape):
    a, b = (torch.rand(2, *shape) * 2 - 1 for _ in range(2))
    a_features, b_features = distance.features(a), distance.features(b)
    assert torch.equal(distance.between(a_features, a_features), torch.zeros(2))
    assert torch.equal(distance.between(a_features, b_features), distance.between(b_features, a_features))
    assert distance.between(a_features, b_features).min() > 0


def test_the_pixel_distance_of_flat_pictures_is_their_difference():
    distance = perceptual.PixelDistance()
    flat = [distance.features(torch.full([1, 3, 32, 32], value)) for value in (-0.25, 0.5)]
    assert distance.between(*flat).item() == pytest.approx(0.75)


def test_large_pictures_are_averaged_down():
    picture = torch.rand(1, 3, 512, 1024)
    assert torch.allclose(perceptual.PixelDistance().features(picture)[0],
                          torch.nn.functional.avg_pool2d(picture, 2))


def test_weights_are_looked_for_in_two_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("V2S_METRIC_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    assert perceptual.find_vgg() is None
    for folder in (tmp_path / "hub" / "hub" / "checkpoints", tmp_path / "own"):
        folder.mkdir(parents=True)
        (folder / perceptual.VGG_NAME).touch()
        assert perceptual.find_vgg() == folder / perceptual.VGG_NAME


def test_other_weights_than_the_published_ones(trunk, tmp_path, monkeypatch):
    path = tmp_path / "vgg.pth"
    with pytest.raises(ValueError, match="no such file.*vgg16-397923af.pth.*never downloaded"):
        perceptual.load_lpips(path)
    torch.save(state_of(trunk), path)
    with pytest.raises(ValueError, match="is not the VGG16 weights.*expected 397923af"):
        perceptual.load_lpips(path)
    monkeypatch.setattr(perceptual, "VGG_SHA256", perceptual.sha256_file(path))
    assert isinstance(perceptual.load_lpips(path), perceptual.Lpips)
    with pytest.raises(ValueError, match="is not the LPIPS heads"):
        perceptual.load_lpips(path, path)
