"""Speaker recognisers by ONNX file: any length, any batch, and what is no speaker recogniser."""

import numpy as np
import pytest
import torch

from metrics.judges.speaker_id import fitted, load_speaker


def write_onnx(path, shape, *, told=None):
    """Writes a graph whose embedding of a wave is (mean of squares, mean): louder waves point elsewhere."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    axes = onnx.numpy_helper.from_array(np.arange(1, len(shape), dtype=np.int64), "axes")
    last = onnx.numpy_helper.from_array(np.array([1], np.int64), "last")
    nodes = [node("Mul", ["waves", "waves"], ["squares"]), node("ReduceMean", ["squares", "axes"], ["a"], keepdims=0),
             node("ReduceMean", ["waves", "axes"], ["b"], keepdims=0), node("Unsqueeze", ["a", "last"], ["c"]),
             node("Unsqueeze", ["b", "last"], ["d"]), node("Concat", ["c", "d"], ["embedding"], axis=1)]
    graph = onnx.helper.make_graph(nodes, "loudness", [info("waves", onnx.TensorProto.FLOAT, shape)],
                                   [info("embedding", onnx.TensorProto.FLOAT, [shape[0], 2])], [axes, last])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    for key, value in (told or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [["N", "S"], [1, "S"], [4, 1, 800], ["N", 1, "S"]])
def test_waves_become_directions(tmp_path, shape):
    judge = load_speaker(write_onnx(tmp_path / "speaker.onnx", shape))
    waves = torch.linspace(0.1, 0.9, 5)[:, None].expand(-1, 1600)
    wanted = torch.nn.functional.normalize(torch.stack([waves[:, 0] ** 2, waves[:, 0]], 1), dim=1)
    assert torch.allclose(judge(waves), wanted, atol=1e-5)
    assert judge.sample_rate_hz == 16000 and len(judge.sha256) == 64 and not judge.differentiable


def test_lengths_that_the_graph_wants():
    wave = torch.arange(10.0)[None]
    assert fitted(wave, 4).tolist() == [[3, 4, 5, 6]] and fitted(wave, None) is wave
    assert fitted(wave, 13)[0, 10:].tolist() == [0, 1, 2]


def test_what_cannot_judge(tmp_path):
    judge = load_speaker(write_onnx(tmp_path / "speaker.onnx", ["N", "S"], told={"sample_rate_hz": "8000"}))
    assert judge.sample_rate_hz == 8000
    for waves, message in ((torch.zeros(1600), r"float waves \[N, S\]"), (torch.zeros(1, 30), "S of 400 or more"),
                           (torch.zeros(1, 1600, requires_grad=True), "no gradient reaches")):
        with pytest.raises(ValueError, match=message):
            judge(waves)
    with pytest.raises(ValueError, match="takes one input, waves"):
        load_speaker(write_onnx(tmp_path / "planes.onnx", ["N", 3, "S"]))
    with pytest.raises(ValueError, match='sample_rate_hz = "fast"'):
        load_speaker(write_onnx(tmp_path / "rate.onnx", ["N", "S"], told={"sample_rate_hz": "fast"}))
    with pytest.raises(ValueError, match="no such speaker recogniser"):
        load_speaker(tmp_path / "nowhere.onnx")
    (tmp_path / "speaker.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match="not an .onnx file"):
        load_speaker(tmp_path / "speaker.pt")
