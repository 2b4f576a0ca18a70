"""Recognisers by file: our own survives its file and lets gradients through, an ONNX file says what it is."""

import sys

import numpy as np
import pytest
import torch

from metrics.judges.face_id import FaceRecogniser, FaceRecogniserSettings, load_recogniser, save_recogniser
from torch_utils.checkpoint import save_checkpoint


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return FaceRecogniser(FaceRecogniserSettings(resolution=32, width=4, embed_dim=8, num_people=5)).eval()


def test_ours_survives_its_file(ours, tmp_path):
    save_recogniser(ours, tmp_path / "face.safetensors")
    again, images = load_recogniser(tmp_path / "face.safetensors"), torch.rand(3, 3, 32, 32) * 2 - 1
    assert torch.equal(again(images), ours(images)) and again.name == "face.safetensors" and len(again.sha256) == 64
    assert again(images).norm(dim=1).numpy() == pytest.approx(np.ones(3), abs=1e-6)
    assert again(torch.rand(2, 3, 48, 80)).shape == (2, 8)  # other sizes are resized
    assert torch.equal(again(images[:, :1]), again(images[:, :1].repeat(1, 3, 1, 1)))  # grey is three equal channels
    assert again.probabilities(images).sum(1).numpy() == pytest.approx(np.ones(3), abs=1e-6)
    assert not any(parameter.requires_grad for parameter in again.parameters()) and not again.training


def test_gradients_reach_the_pictures(ours):
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    target = torch.nn.functional.normalize(torch.randn(2, 8), dim=1)
    (ours(images) * target).sum().backward()
    assert ours.differentiable and torch.isfinite(images.grad).all() and images.grad.abs().sum() > 0


def test_embeddings_do_not_depend_on_the_batch(ours):
    images = torch.rand(4, 3, 32, 32)
    assert torch.allclose(ours(images)[1:2], ours(images[1:2]), atol=1e-6)


def test_files_that_are_something_else(ours, tmp_path):
    with pytest.raises(ValueError, match="no such recogniser"):
        load_recogniser(tmp_path / "nowhere.safetensors")
    save_checkpoint(tmp_path / "other.safetensors", {"a": torch.ones(1)}, {"format": "x"})
    with pytest.raises(ValueError, match="not a face recogniser"):
        load_recogniser(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="multiple of 16"):
        FaceRecogniser(FaceRecogniserSettings(resolution=40))
    with pytest.raises(ValueError, match=r"takes pictures \[N, 3, H, W\]"):
        ours(torch.rand(3, 32, 32))


def write_onnx(path, shape, *, told=None, channels_last=False):
    """Writes a graph that averages a picture over its pixels: the embedding is the mean colour."""
    onnx = pytest.importorskip("onnx")
    axes = onnx.numpy_helper.from_array(np.array([1, 2] if channels_last else [2, 3], np.int64), "axes")
    node = onnx.helper.make_node("ReduceMean", ["images", "axes"], ["embedding"], keepdims=0)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "mean colour", [info("images", onnx.TensorProto.FLOAT, shape)],
                                   [info("embedding", onnx.TensorProto.FLOAT, [shape[0], 3])], [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    for key, value in (told or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_onnx_files(tmp_path, batch, channels_last):
    pytest.importorskip("onnxruntime")
    shape = [batch, 16, 24, 3] if channels_last else [batch, 3, 16, 24]
    judge = load_recogniser(write_onnx(tmp_path / "mean.onnx", shape, channels_last=channels_last))
    colours = torch.tensor([[0.5, -0.25, 0.1], [0.3, 0.9, 0.0], [-1.0, 1.0, 0.5]])
    images = colours[:, :, None, None].expand(-1, -1, 40, 40)
    assert torch.allclose(judge(images), torch.nn.functional.normalize(colours, dim=1), atol=1e-5)
    assert judge.size == (16, 24) and judge.name == "mean.onnx" and not judge.differentiable


def test_onnx_metadata_says_what_pictures_it_wants(tmp_path):
    pytest.importorskip("onnxruntime")
    told = {"input_range": "0..255", "channel_order": "bgr"}
    judge = load_recogniser(write_onnx(tmp_path / "mean.onnx", ["N", 3, 16, 16], told=told))
    images = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 16, 16)
    assert torch.allclose(judge(images), torch.nn.functional.normalize(torch.tensor([[0, 127.5, 255.0]]), dim=1))
    with pytest.raises(ValueError, match='input_range = "0..7"'):
        load_recogniser(write_onnx(tmp_path / "odd.onnx", ["N", 3, 16, 16], told={"input_range": "0..7"}))


def test_onnx_files_that_cannot_judge(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    judge = load_recogniser(write_onnx(tmp_path / "mean.onnx", ["N", 3, 16, 16]))
    with pytest.raises(ValueError, match="no gradient reaches its input; for a loss take"):
        judge(torch.rand(1, 3, 16, 16, requires_grad=True))
    with pytest.raises(ValueError, match="does not fix the size"):
        load_recogniser(write_onnx(tmp_path / "free.onnx", ["N", 3, "H", "W"]))
    with pytest.raises(ValueError, match="a recogniser takes one input"):
        load_recogniser(write_onnx(tmp_path / "four.onnx", ["N", 4, 16, 16]))
    (tmp_path / "text.onnx").write_text("this is not a graph")
    with pytest.raises(ValueError, match="not an ONNX file that can be run"):
        load_recogniser(tmp_path / "text.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"needs onnxruntime: pip install .voice2style\[onnx\]"):
        load_recogniser(tmp_path / "mean.onnx")
