"""Every layout from its stand-in corpus to a checked dataset: what is broken is set aside, the rest is built."""

import csv
import io

import pytest
from corpora import WRITERS, plain_name, write_corpus

from training.dataset import Dataset
from training.datasets.builder import BuildSettings, build_dataset
from training.datasets.checking import find_damage
from training.datasets.face_build import FaceSettings
from training.datasets.face_quality import FaceGates
from training.datasets.plan import make_plan
from training.datasets.voice_build import VoiceSettings

SETTINGS = BuildSettings(FaceSettings(resolution=16, gates=FaceGates(min_face=8)), VoiceSettings(min_seconds=0.5),
                         unpaired="keep")


def rejected(dataset):
    text = dataset.read_file("rejected.csv").decode()
    return {row["path"]: row["reason"] for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("end", ["", ".zip"], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_is_built(layout, end, tmp_path):
    truth = write_corpus(layout, tmp_path / f"corpus{end}", people=4)
    roots = {f"{kind}s": truth.root if kind in truth.kinds else [] for kind in ("voice", "face")}
    plan = make_plan(**{"voices": [], "faces": [], **roots}, unpaired="keep")
    build_dataset(plan, tmp_path / f"data{end}", SETTINGS)
    dataset = Dataset(tmp_path / f"data{end}")
    assert not list(find_damage(dataset))
    rows = [*dataset.faces(), *dataset.voices()]
    reasons = rejected(dataset)
    assert {row["source"] for row in rows} | reasons.keys() == truth.items.keys() | truth.rejected.keys()
    assert len(rows) + len(reasons) == len(truth.items) + len(truth.rejected)
    for path in truth.broken:
        assert path in reasons, (path, truth.broken[path])


def test_hq_voxceleb_with_the_recordings_of_voxceleb(tmp_path):
    faces = write_corpus("hq_voxceleb", tmp_path / "hq", people=4)
    voices = write_corpus("voxceleb1", tmp_path / "vox1.zip", people=4)
    plan = make_plan(voices=voices.root, faces=faces.root, split="file:split.json")
    build_dataset(plan, tmp_path / "data", SETTINGS)
    dataset = Dataset(tmp_path / "data")
    assert not list(find_damage(dataset))
    assert {row["person"]: row["split"] for row in dataset.people()} == {
        "Freya_K._Lund": "train", "Zoë_Märker": "train", "Ham_Conrad_Jr.": "val", "Ada_B._Quill": "test"}
    assert {len(row["ids"]) >= 2 for row in dataset.people()} == {True}  # the id of the voice, the name of the face
    for row in dataset.people():
        assert any(face["person"] == row["person"] for face in dataset.faces(row["split"]))
        assert any(voice["person"] == row["person"] for voice in dataset.voices(row["split"]))
    assert plain_name(2) in dataset.faces("val")[0]["source"]
    assert dataset.read_voice(dataset.voices("val")[0]).size >= 8000
