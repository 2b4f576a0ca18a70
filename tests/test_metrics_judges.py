"""Judges by file: agreement with clean-fid's and lpips' own functions, checksums, no network, the drawn judge."""

import hashlib
import os
import socket

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from metric_stand_ins import inception_file, picture_folder, vgg_file, vgg_script_file

from metrics.fid import fid
from metrics.judges import drawn, weights
from metrics.judges.inception import MODES, InceptionClasses, InceptionJudge, resize_clean
from metrics.judges.lpips import LpipsJudge, VggFeatures
from metrics.judges.weights import WEIGHTS, Access
from metrics.moments import Moments
from metrics.samples import open_pictures
from torch_utils.images import to_float
from training import judge_loop
from training.judge_loop import JudgeSettings, blurred, draw_faces


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Any try to reach the network fails, and no file of this machine's caches is found."""
    def refuse(*_, **__):
        raise AssertionError("a judge reached for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", "DNNLIB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {"inception": str(inception_file(folder)), "vgg": str(vgg_file(folder)),
            "script": str(vgg_script_file(folder)), "folder": folder}


def look(judge, pictures):
    return np.asarray(judge(torch.stack([judge.prepare(pictures.picture(i)) for i in range(len(pictures))])))


@pytest.mark.parametrize("mode", ["clean", "legacy_tensorflow"])
def test_features_are_clean_fids_own(mode, files, tmp_path):
    """clean-fid 0.1.35: its loader, resizing and network class on the same stand-in, all in its own code."""
    theirs = pytest.importorskip("cleanfid.fid")
    from cleanfid.inception_torchscript import InceptionV3W

    folder = picture_folder(tmp_path / "pictures", 5)
    network = InceptionV3W(str(files["folder"]), download=False, resize_inside=mode == "legacy_tensorflow")
    expected = theirs.get_folder_features(str(folder), network, num_workers=0, batch_size=2, mode=mode, verbose=False,
                                          device=torch.device("cpu"))
    judge = InceptionJudge(mode, access=Access(inception=files["inception"], trust=True))
    found = look(judge, open_pictures(folder))
    assert np.abs(found).max() > 0.1 and np.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 48), (299, 299), (700, 512)])
def test_resizing_is_clean_fids_own_to_the_bit(size):
    theirs = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    picture = np.random.default_rng(0).integers(0, 256, [*size, 3]).astype(np.uint8)
    assert np.array_equal(resize_clean(picture), theirs(picture).transpose(2, 0, 1))


def test_the_state_dict_mode_is_clean_fids_own(tmp_path, monkeypatch):
    """pytorch-fid's network with random weights written to a file: the package's function beside our judge."""
    pytest.importorskip("cleanfid")
    from cleanfid import fid as theirs
    from cleanfid import inception_pytorch

    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    usual = inception_pytorch.load_state_dict_from_url
    with torch.random.fork_rng(), monkeypatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: torch.save(
            {name: torch.full_like(value, 0.5) if name.endswith("running_var") else torch.randn_like(value) * 0.05
             if value.is_floating_point() else value for name, value in self.state_dict().items()}, path))
        inception_pytorch.fid_inception_v3()
    judge = InceptionJudge("legacy_pytorch", access=Access(inception=str(path), trust=True))
    first = torch.load(path, weights_only=True)["Conv2d_1a_3x3.conv.weight"]
    assert torch.equal(next(judge._network.parameters()), first)
    assert inception_pytorch.load_state_dict_from_url is usual  # nothing of ours stays in the package
    folder = picture_folder(tmp_path / "pictures", 2)
    network = judge._network
    expected = theirs.get_folder_features(str(folder), lambda x: network(x / 255)[0].squeeze(-1).squeeze(-1),
                                          num_workers=0, batch_size=2, mode="legacy_pytorch", verbose=False,
                                          device=torch.device("cpu"))
    found = look(judge, open_pictures(folder))
    assert found.shape == (2, 2048) and np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_nvidias_definition_feeds_pixels_and_lets_the_network_resize(files, tmp_path):
    judge = InceptionJudge("nvidia", access=Access(inception=files["inception"], trust=True))
    pictures = open_pictures(picture_folder(tmp_path / "pictures", 3))
    pixels = torch.stack([torch.from_numpy(pictures.picture(i).transpose(2, 0, 1).copy()) for i in range(3)])
    expected = torch.jit.load(files["inception"])(pixels, return_features=True)
    assert np.allclose(look(judge, pictures), expected.detach(), rtol=1e-5, atol=1e-5)
    classes = InceptionClasses(access=Access(inception=files["inception"], trust=True))
    expected = torch.jit.load(files["inception"])(pixels, no_output_bias=True)
    assert np.allclose(look(classes, pictures), expected.detach(), rtol=1e-5, atol=1e-6)


def test_any_name_of_the_file_will_do(files, tmp_path):
    os.symlink(files["inception"], tmp_path / "mine.pt")
    judge = InceptionJudge("clean", access=Access(inception=str(tmp_path / "mine.pt"), trust=True))
    assert judge.sha256 == hashlib.sha256(open(files["inception"], "rb").read()).hexdigest()


def test_lpips_is_the_packages_own(files):
    """lpips 0.1.4, net vgg: its trunk rebuilt from the same state dict by the key map of the published files."""
    package = pytest.importorskip("lpips")
    import types

    from torchvision.models import vgg

    state = torch.load(files["vgg"], weights_only=True)
    trunk = vgg.make_layers(vgg.cfgs["D"])
    usual, package.pretrained_networks.tv.vgg16 = package.pretrained_networks.tv.vgg16, lambda **_: (
        types.SimpleNamespace(features=trunk))
    try:
        theirs = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    finally:
        package.pretrained_networks.tv.vgg16 = usual
    ends = (4, 9, 16, 23, 30)
    own = theirs.state_dict()
    for name, value in state.items():
        if name.startswith("features."):
            number = int(name.split(".")[1])
            own[f"net.slice{1 + sum(number >= end for end in ends)}.{number}.{name.split('.')[2]}"].copy_(value)
    first, second = torch.rand(2, 3, 3, 32, 40) * 2 - 1
    judge = LpipsJudge(access=Access(vgg=files["vgg"], trust=True))
    with torch.no_grad():
        expected = theirs(first, second).flatten()
    assert expected.min() > 1e-4 and torch.allclose(judge(first, second), expected, rtol=1e-5)
    assert torch.equal(judge(first, first), torch.zeros(3)) and "+" in judge.sha256
    with pytest.raises(ValueError, match="16 pixels a side or more, got 8x8"):
        judge(first[..., :8, :8], second[..., :8, :8])


def test_fc7_of_vgg_is_torchvisions(files):
    from torchvision.models import vgg

    state = torch.load(files["vgg"], weights_only=True)
    features = vgg.make_layers(vgg.cfgs["D"])
    features.load_state_dict({name[9:]: value for name, value in state.items() if name.startswith("features.")})
    judge = VggFeatures(access=Access(vgg=files["vgg"], trust=True))
    pixels = torch.randint(0, 256, [2, 3, 224, 224], dtype=torch.uint8)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        x = torch.nn.functional.adaptive_avg_pool2d(features((pixels / 255 - mean) / std), 7).flatten(1)
        for index in (0, 3):
            x = (x @ state[f"classifier.{index}.weight"].T + state[f"classifier.{index}.bias"]).relu()
    assert judge.dim == 8 and torch.allclose(judge(pixels), x, rtol=1e-4, atol=1e-5)


def test_nvidias_vgg_file_is_understood(files):
    access = Access(vgg=files["script"], trust=True)
    first, second = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    expected = ((first - second) / 2).square().sum((1, 2, 3))
    assert torch.allclose(LpipsJudge(access=access)(first, second), expected, rtol=1e-4)
    assert VggFeatures(access=access)(torch.zeros(2, 3, 8, 8)).shape == (2, 48)
    with pytest.raises(ValueError, match="no checksum of it was published.*--trust-weights"):
        LpipsJudge(access=Access(vgg=files["script"]))


@pytest.mark.parametrize("make", [
    lambda access: InceptionJudge("clean", access=access), lambda access: InceptionClasses(access=access),
    lambda access: InceptionJudge("legacy_pytorch", access=access), lambda access: LpipsJudge(access=access),
    lambda access: VggFeatures(access=access)])
def test_without_weights_the_error_says_where_to_get_them(make, tmp_path):
    with pytest.raises(ValueError, match=r"sha256 [0-9a-f]{64}.* from https://.* give it with --.*--judge drawn"):
        make(Access())
    with pytest.raises(ValueError, match="no such file"):
        make(Access(inception=str(tmp_path / "no"), vgg=str(tmp_path / "no")))


def test_a_file_of_another_content_is_not_loaded(files, tmp_path):
    with pytest.raises(ValueError, match="its sha256 is .*, published is f58cb9b6ec.*--trust-weights"):
        InceptionJudge("clean", access=Access(inception=files["inception"]))
    for name in ("junk.pt", "junk.pth"):
        (tmp_path / name).write_bytes(b"junk")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    for path in (tmp_path / "junk.pt", files["vgg"]):
        with pytest.raises(ValueError, match="TorchScript"):
            InceptionJudge("clean", access=Access(inception=str(path), trust=True))
    with pytest.raises(ValueError, match="not a state dict"):
        LpipsJudge(access=Access(vgg=str(tmp_path / "junk.pth"), trust=True))
    with pytest.raises(ValueError, match="has no tensor features"):
        LpipsJudge(access=Access(vgg=str(tmp_path / "other.pth"), trust=True))


def test_files_are_found_by_name_in_the_folder_of_the_environment(files, monkeypatch):
    monkeypatch.setenv(weights.ENVIRONMENT, str(files["folder"]))
    path, sha256 = weights.obtain("inception", access=Access(trust=True))
    assert str(path) == files["inception"] and len(sha256) == 64
    with pytest.raises(ValueError, match="published is"):
        weights.obtain("inception", access=Access())


def test_a_download_is_only_made_when_asked_for_and_is_checked(monkeypatch, tmp_path):
    asked = []

    def fetch(url, *, sha256):
        asked.append((url, sha256))
        raise ValueError("offline")

    monkeypatch.setattr(weights, "fetch", fetch)
    with pytest.raises(ValueError, match="This metric needs"):
        weights.obtain("vgg", access=Access())
    assert asked == []
    with pytest.raises(ValueError, match="offline"):
        weights.obtain("vgg", access=Access(download=True))
    assert asked == [(WEIGHTS["vgg"].url, WEIGHTS["vgg"].sha256)]


def test_cache_names_are_those_of_the_stylegan2_programs():
    """File names measured in a cache folder that NVIDIA's program filled (a866..., 5982...)."""
    assert weights.cached_name(WEIGHTS["inception"].url) == "a866f8d678872dcf6fcf60ddd09807ab"
    assert weights.cached_name(WEIGHTS["vgg_torchscript"].url) == "5982b9427714baaab6e0a48ef3b1dbfd"


def test_modes_have_their_resize_filters(files):
    access = Access(inception=files["inception"], trust=True)
    filters = {mode: InceptionJudge(mode, access=access).resize for mode in MODES if mode != "legacy_pytorch"}
    assert "bicubic" in filters["clean"] and "inside the network" in filters["nvidia"]
    with pytest.raises(ValueError, match='mode "cleen"'):
        InceptionJudge("cleen", access=access)


@pytest.fixture(scope="module")
def judge():
    return drawn.load_drawn()[0]


def test_the_shipped_judge_is_small_and_says_what_it_can_read(judge):
    """On people of its own held-out split, half of the pictures degraded: what its card records."""
    assert drawn.SHIPPED.stat().st_size <= 3 * 2**20
    source = judge.settings.source
    assert source["held_out_people"] >= 1000 and source["settings"]["steps"] > 1000
    assert "judge_loop" in source["command"]
    assert min(source["held_out"][name] for name in ("masc", "face_width", "skin", "yaw", "blur", "noise")) > 0.8


def test_the_shipped_judge_reads_people_of_another_world(judge):

    data = draw_faces(JudgeSettings(world=99), range(96))
    with torch.no_grad():
        values, logits = judge(to_float(data.images))
    mean, std = (torch.tensor(getattr(judge.settings, name)) for name in ("mean", "std"))
    read = (values * std + mean)[:, :data.values.shape[1]]
    left = (read - data.values).square().sum(0) / (data.values - data.values.mean(0)).square().sum(0)
    r2 = dict(zip(judge.settings.targets, (1 - left).tolist()))
    assert min(r2[name] for name in ("face_width", "skin", "yaw", "light", "background_r")) > 0.8
    assert (logits.argmax(1) == data.classes).float().mean() > 0.5  # of 16 classes


def test_the_fid_of_the_drawn_judge_orders_damage(judge):
    """Same law: small. Blur, noise and shifted colours: larger, and larger the stronger they are."""
    data = draw_faces(JudgeSettings(world=99), range(400))
    images = to_float(data.images)
    random = torch.randn(images[200:].shape, generator=torch.Generator().manual_seed(0))

    def distance(changed):
        real, fake = Moments(judge.settings.hidden), Moments(judge.settings.hidden)
        with torch.no_grad():
            real.add(judge.features(images[:200]))
            fake.add(judge.features(changed))
        return fid(real, fake)

    other = images[200:]
    same = distance(other)
    for damage in (lambda s: blurred(other, torch.full([200], s)), lambda s: other + s / 4 * random,
                   lambda s: other + s / 4 * torch.tensor([1.0, 0, -1]).reshape(1, 3, 1, 1)):
        values = [distance(damage(strength)) for strength in (0.5, 1.0, 2.0)]
        assert same < values[0] < values[1] < values[2] and values[2] > 1.5 * same


def test_drawn_distance_is_a_distance_that_keeps_gradients(judge):
    first, second = torch.rand(2, 2, 3, 48, 48) * 2 - 1
    first.requires_grad_(True)
    found = judge.distance(first, second)
    found.sum().backward()
    assert found.min() > 0 and first.grad.abs().sum() > 0
    assert torch.equal(judge.distance(second, second), torch.zeros(2))
    assert torch.allclose(judge.distance(second, first.detach()), found.detach(), rtol=1e-5)


def test_the_drawn_judge_survives_its_file_and_refuses_others(judge, tmp_path):
    small = drawn.DrawnJudge(drawn.DrawnSettings(targets=("a",), mean=(0.0,), std=(1.0,), bits=("a",),
                                                 widths=(4, 4, 4, 8), hidden=8)).eval()
    drawn.save_drawn(small, tmp_path / "judge.safetensors")
    again, sha256 = drawn.load_drawn(tmp_path / "judge.safetensors")
    images = torch.rand(3, 3, 64, 64)
    assert torch.equal(again.features(images), small.features(images)) and len(sha256) == 64
    assert torch.allclose(again.probabilities(images).sum(1), torch.ones(3))
    with pytest.raises(ValueError, match="not there"):
        drawn.load_drawn(tmp_path / "no.safetensors")
    from torch_utils.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "other.safetensors", {"a": torch.ones(1)}, {"format": "x"})
    with pytest.raises(ValueError, match="not a drawn judge"):
        drawn.load_drawn(tmp_path / "other.safetensors")


def test_a_judge_that_could_not_be_written_is_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_loop, "train_judge", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").touch()
    result = CliRunner().invoke(judge_loop.main, [f"--dest={tmp_path / 'file' / 'judge.safetensors'}"])
    assert result.exit_code == 2 and "cannot be written (Not a directory); give another place" in result.output
