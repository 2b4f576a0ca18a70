"""Recognisers of packages: what they are fed, what comes out, and one sentence where a package is not installed."""

import sys
import types

import numpy as np
import pytest
import torch

from metrics.judges.face_id import load_recogniser
from metrics.judges.speaker_id import load_speaker


class Dlib(types.ModuleType):
    """Describes a picture by its mean colour."""

    @staticmethod
    def face_recognition_model_v1(path):
        if "bad" in path:
            raise RuntimeError("Unexpected version found")

        def describe(picture):
            assert picture.dtype == np.uint8 and picture.shape == (150, 150, 3)
            return picture.mean((0, 1)).tolist()

        return types.SimpleNamespace(compute_face_descriptor=describe)


class Facenet(types.ModuleType):
    class InceptionResnetV1(torch.nn.Module):
        def __init__(self, pretrained="vggface2"):
            super().__init__()
            assert pretrained is None  # it would download
            self.last = torch.nn.Linear(3, 4)

        def forward(self, images):
            assert images.shape[2:] == (160, 160) and images.abs().max() <= 1
            return self.last(images.mean((2, 3)))


def test_dlib_sees_rgb_bytes_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", Dlib("dlib"))
    (tmp_path / "model.dat").write_bytes(b"x")
    colours = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    found = load_recogniser(tmp_path / "model.dat")(colours[:, :, None, None].expand(-1, -1, 64, 64))
    wanted = torch.nn.functional.normalize(torch.tensor([[255.0, 0.0, 128.0], [0.0, 255.0, 128.0]]), dim=1)
    assert torch.allclose(found, wanted, atol=1e-3)
    (tmp_path / "bad.dat").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a face recogniser that dlib can read"):
        load_recogniser(tmp_path / "bad.dat")


def test_facenet_takes_its_weights_by_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "facenet_pytorch", Facenet("facenet_pytorch"))
    network = Facenet.InceptionResnetV1(None)
    torch.save({**network.state_dict(), "logits.weight": torch.zeros(9, 4)}, tmp_path / "weights.pt")
    judge = load_recogniser(tmp_path / "weights.pt")
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    judge(images).sum().backward()
    assert images.grad.abs().sum() > 0 and torch.allclose(judge(images).norm(dim=1), torch.ones(2))
    torch.save({"last.weight": torch.zeros(4, 3)}, tmp_path / "less.pt")
    with pytest.raises(ValueError, match="last.bias is missing"):
        load_recogniser(tmp_path / "less.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(ValueError, match="not a state dict that torch can load"):
        load_recogniser(tmp_path / "text.pt")


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    for module in ("dlib", "facenet_pytorch", "resemblyzer"):
        monkeypatch.setitem(sys.modules, module, None)
    for name, message in (("model.dat", "pip install dlib-bin"), ("model.pt", "pip install --no-deps facenet-pytorch")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=message):
            load_recogniser(tmp_path / name)
    with pytest.raises(ValueError, match="pip install resemblyzer"):
        load_speaker("resemblyzer")
