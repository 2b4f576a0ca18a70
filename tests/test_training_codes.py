"""Known codes: written, found by face and by person, refused in one sentence; and faces projected to make them."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import build_tiny_model
from PIL import Image
from safetensors.torch import save_file

from training.codes import load_codes, save_codes
from training.dataset import Dataset
from training.project_faces import main, project_dataset
from voice2style.latents import write_codes
from voice2style.perceptual import PixelDistance
from voice2style.projection import ProjectionSettings


def code(seed):
    return np.random.default_rng(seed).standard_normal((6, 16)).astype(np.float32)


ROWS = [{"path": "faces/ann/1.png", "person": "ann"}, {"path": "faces/bob/1.png", "person": "bob"},
        {"path": "faces/cid/1.png", "person": "cid"}]


def test_codes_are_found_by_face_then_by_person(tmp_path):
    path = tmp_path / "codes.safetensors"
    save_codes(path, {"faces/ann/1.png": code(1), "ann": code(2), "bob": code(3)}, info={"space": "w+"})
    codes = load_codes(path)
    assert len(codes) == 3 and (codes.num_ws, codes.w_dim) == (6, 16) and codes.info["space"] == "w+"
    found = codes.of_faces(ROWS)
    assert list(found) == ["faces/ann/1.png", "faces/bob/1.png"] and "faces/cid/1.png" not in found
    assert np.array_equal(found["faces/ann/1.png"], code(1)) and np.array_equal(found["faces/bob/1.png"], code(3))
    again = pickle.loads(pickle.dumps(codes))  # as a loader's worker gets it
    assert np.array_equal(again["ann"], code(2))
    with pytest.raises(ValueError, match="has codes of 3 faces or people, but of none of the 1 that are wanted"):
        codes.of_faces(ROWS[2:])


def test_a_folder_of_the_projectors_files_is_known_codes(tmp_path):
    (tmp_path / "faces" / "ann").mkdir(parents=True)
    write_codes(tmp_path / "faces" / "ann" / "1.npz", code(1)[None])
    write_codes(tmp_path / "bob" / "projected_w.npz", code(2)[None])
    codes = load_codes(tmp_path)
    assert np.array_equal(codes["faces/ann/1.png"], code(1)) and "faces/ann/2.png" not in codes
    assert np.array_equal(codes.of_faces(ROWS)["faces/bob/1.png"], code(2))


def test_codes_that_cannot_be_used(tmp_path):
    path = tmp_path / "codes.safetensors"
    save_codes(path, {"ann": code(1)})
    with pytest.raises(ValueError, match=r"holds codes \[6, 16\], the generator takes \[10, 16\]; project the faces"):
        load_codes(path).fit(10, 16)
    with pytest.raises(ValueError, match="no such file: .*known codes are a .safetensors file"):
        load_codes(tmp_path / "none.safetensors")
    save_file({"ann": torch.zeros(6, 16)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no file of known codes"):
        load_codes(tmp_path / "other.safetensors")
    metadata = {"voice2style_codes": json.dumps({"format": "voice2style-codes/1"})}
    save_file({"ann": torch.zeros(6, 16), "bob": torch.zeros(2, 16)}, tmp_path / "mixed.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=r"must hold codes of one shape \[L, D\]"):
        load_codes(tmp_path / "mixed.safetensors")
    save_file({"ann": torch.full((6, 16), float("nan"))}, tmp_path / "nan.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match='the codes of "ann" are .* or hold NaN'):
        load_codes(tmp_path / "nan.safetensors")["ann"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no .npz files with known codes"):
        load_codes(tmp_path / "empty")
    write_codes(tmp_path / "one.npz", code(1)[None])
    with pytest.raises(ValueError, match="holds codes without the names of their faces"):
        load_codes(tmp_path / "one.npz")
    write_codes(tmp_path / "two" / "a.npz", np.stack([code(1), code(2)]))
    with pytest.raises(ValueError, match=r"the known code of one face is \[1, L, D\]"):
        load_codes(tmp_path / "two")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="is not a .safetensors file"):
        load_codes(tmp_path / "text.safetensors")


def make_dataset(folder, model, num=2):
    """A dataset of faces that the tiny model itself drew."""
    (folder / "faces").mkdir(parents=True)
    lines = []
    for k in range(num):
        with torch.no_grad():
            ws = model.generator.mapping(torch.randn(1, 16, generator=torch.Generator().manual_seed(k)))
            pixels = (model.synthesis(ws)[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).byte().numpy()
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        (folder / "faces" / f"{k}.png").write_bytes(content.getvalue())
        lines += [{"kind": "person", "person": f"p{k}", "split": "train"},
                  {"kind": "face", "path": f"faces/{k}.png", "person": f"p{k}", "split": "train"}]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "card.json").write_text(json.dumps({"format": "voice2style-dataset/1"}))
    return folder


def test_faces_of_a_dataset_are_projected_and_a_stopped_run_goes_on(tmp_path, tiny_voice_model, monkeypatch):
    model = build_tiny_model().requires_grad_(False)
    dataset = Dataset(make_dataset(tmp_path / "data", model))
    wishes = {"distance": PixelDistance(), "settings": ProjectionSettings(num_steps=20, space="w+")}
    dest = tmp_path / "codes.safetensors"
    assert project_dataset(model, dataset, dest, most=1, info={"seed": 1}, **wishes) == 1
    first = load_codes(dest)["faces/0.png"]
    assert project_dataset(model, dataset, dest, info={"seed": 1}, **wishes) == 2
    codes = load_codes(dest).fit(6, 16)
    assert np.array_equal(codes["faces/0.png"], first)
    with torch.no_grad():
        target = torch.from_numpy(dataset.read_face(dataset.faces("train")[1]).copy()).permute(2, 0, 1) / 127.5 - 1
        apart = [(model.synthesis(ws) - target).abs().mean().item() for ws in (
            torch.from_numpy(codes["faces/1.png"])[None], model.mean_codes())]
    assert apart[0] < apart[1]
    with pytest.raises(ValueError, match="made with other settings or another network; give another --dest"):
        project_dataset(model, dataset, dest, info={"seed": 2}, **wishes)
    result = CliRunner().invoke(main, ["--data", str(tmp_path / "data"), "--network", str(tiny_voice_model), "--dest",
                                       str(tmp_path / "cli.safetensors"), "--num_steps", "2", "--device", "cpu"])
    assert result.exit_code == 0 and "codes of 2 faces, 2 steps each in W+" in result.output
    monkeypatch.setattr("training.project_faces.project_dataset", lambda *_, **__: pytest.fail("projected"))
    result = CliRunner().invoke(main, ["--data", str(tmp_path / "data"), "--network", str(tiny_voice_model), "--dest",
                                       str(tmp_path / "cli.safetensors" / "x"), "--device", "cpu"])
    assert result.exit_code == 2 and "cannot be written (Not a directory)" in result.output
    result = CliRunner().invoke(main, ["--data", str(tmp_path / "none"), "--network", str(tiny_voice_model), "--dest",
                                       str(tmp_path / "x.safetensors")])
    assert result.exit_code == 2 and "no dataset at" in result.output and "Traceback" not in result.output
