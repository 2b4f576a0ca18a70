"""Laws of the one file form of codes: what is written comes back, one w fills all layers, other files are refused."""

import numpy as np
import pytest
import torch

from voice2style import latents


def test_codes_come_back_as_they_were_written(tmp_path):
    ws = torch.randn(3, 6, 16)
    latents.write_codes(tmp_path / "codes.npz", ws)
    with np.load(tmp_path / "codes.npz") as stored:
        assert stored.files == ["w"] and stored["w"].dtype == np.float32
    back = latents.read_codes(tmp_path / "codes.npz")
    assert np.array_equal(back, ws.numpy())
    assert np.array_equal(latents.fitted(back, 6, 16), ws.numpy())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_w_for_each_picture_fills_every_layer(tmp_path, dtype):
    w = np.random.default_rng(0).standard_normal([2, 16]).astype(dtype)
    for shape in ([2, 16], [2, 1, 16]):
        np.savez(tmp_path / "codes.npz", w=w.reshape(shape), other=np.zeros(3))
        codes = latents.fitted(latents.read_codes(tmp_path / "codes.npz"), 6, 16)
        assert codes.shape == (2, 6, 16) and codes.dtype == np.float32
        assert all(np.array_equal(codes[:, layer], w.astype(np.float32)) for layer in range(6))
        codes[0, 0] = 0  # the layers are not views of one row
        assert codes[0, 1].any()


@pytest.mark.parametrize("shape, told", [
    ((6, 16), "one picture or 6"), ((1, 5, 16), r"takes \[N, 6, 16\]"), ((1, 6, 8), r"holds codes \[1, 6, 8\]"),
    ((3, 8), r"holds codes \[3, 8\]"),
])
def test_codes_of_another_network(shape, told):
    with pytest.raises(ValueError, match=told):
        latents.fitted(np.zeros(shape, np.float32), 6, 16, where='"a.npz"')


@pytest.mark.parametrize("content, told", [
    (None, "no such file"), (b"text", "it holds Python objects, or is no file of numpy"),
    (b"PK\x03\x04 broken", "damaged"), ({"v": np.zeros(3)}, "key w"),
    ({"w": np.zeros(16)}, r"floats \[N, L, D\]"), ({"w": np.zeros([1, 6, 16], int)}, "floats"),
    ({"w": np.full([1, 6, 16], np.inf)}, "finite"), ({"w": np.full([1, 6, 16], 1e300)}, "too large"),
    ({"w": np.array([{}])}, "not an .npz file of codes"), ({"w": np.zeros([0, 6, 16])}, r"\[0, 6, 16\]"),
])
def test_files_that_hold_no_codes(tmp_path, content, told):
    path = tmp_path / "codes.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        latents.read_codes(path)


def test_an_npy_file_is_not_taken_for_codes(tmp_path):
    np.save(tmp_path / "codes.npy", np.zeros([1, 6, 16]))
    with pytest.raises(ValueError, match="not an .npz file"):
        latents.read_codes(tmp_path / "codes.npy")


def test_bad_codes_leave_no_file(tmp_path):
    for ws in (torch.zeros(6, 16), torch.full([1, 6, 16], float("nan"))):
        with pytest.raises(ValueError, match="finite floats"):
            latents.write_codes(tmp_path / "codes.npz", ws)
    assert not list(tmp_path.iterdir())
