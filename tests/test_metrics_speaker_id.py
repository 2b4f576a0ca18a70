"""Speaker recognisers by ONNX file: any length, any batch, and what is no speaker recogniser."""

import numpy as np
import pytest
import torch

from metrics.judges.face_id import load_recogniser
from metrics.judges.people_sphere import save_recogniser
from metrics.judges.speaker_id import load_speaker
from metrics.judges.speaker_network import SpeakerRecogniser, SpeakerRecogniserSettings, fitted, mel_triangles


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
    with pytest.raises(ValueError, match="not a checkpoint|speaker.pt"):
        load_speaker(tmp_path / "speaker.pt")


def test_our_own_ignores_loudness_and_comes_back_from_its_file(tmp_path):
    torch.manual_seed(0)
    judge = SpeakerRecogniser(SpeakerRecogniserSettings(width=8, embed_dim=16, num_people=3)).eval()
    waves = 0.1 * torch.randn(2, 8000)
    assert torch.allclose(judge(waves).norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(judge(waves), judge(4 * waves), atol=1e-4)
    assert torch.allclose(judge(waves)[:1], judge(waves[:1]), atol=1e-5)  # not a matter of the batch
    assert judge(torch.zeros(1, 400)).isfinite().all()
    save_recogniser(judge, tmp_path / "speaker.safetensors")
    again = load_speaker(tmp_path / "speaker.safetensors")
    assert torch.equal(again(waves), judge(waves)) and len(again.sha256) == 64 and again.sample_rate_hz == 16000
    with pytest.raises(ValueError, match="S of 400 or more"):
        judge(torch.zeros(1, 30))
    with pytest.raises(ValueError, match="is not a face recogniser"):
        load_recogniser(tmp_path / "speaker.safetensors")


def test_a_tone_falls_into_the_band_of_its_mel():
    """Filters are triangles of height 1 whose neighbours sum to 1 between the first and the last peak."""
    triangles = mel_triangles(24, 512, 16000)
    bins = torch.arange(257) * 16000 / 512
    mel = 2595 * torch.log10(1 + bins / 700)
    step = (2595 * np.log10(1 + 8000 / 700) - 2595 * np.log10(1 + 20 / 700)) / 25
    place = (mel - 2595 * np.log10(1 + 20 / 700)) / step - 1  # 0 at the first peak
    inner = (place > 0) & (place < 23)
    assert torch.allclose(triangles.sum(0)[inner], torch.ones(int(inner.sum())), atol=1e-5)
    assert (triangles.argmax(0)[inner].float() - place[inner]).abs().max() <= 0.62
