"""Measuring: every row of METRICS runs offline with the drawn judge; protocol, caches by content, labels, voices."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from metric_stand_ins import inception_file, picture_folder
from PIL import Image

import training.bench
from training.datasets.world import WorldSettings, write_world
from training.losses.equipment import judges_of
from training.measuring import MeasureSettings, measure
from training.metrics_table import METRICS
from training.picture_sources import Latents
from training.voice_judges import trained_by
from voice2style.pipeline import load

DRAWN = MeasureSettings(judge="drawn", num=30, batch=8, workers=1, rounds=20, verbose=False)
SETS = ("fid50k_full", "fid50k", "fid_clean", "fid_legacy_tensorflow", "fid_legacy_pytorch", "kid50k_full", "kid_clean",
        "pr50k3_full", "is50k", "lpips_diversity")
PATHS = ("ppl2_wend", "ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend", "path_length")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "world.zip"
    write_world(WorldSettings(people=30, resolution=32, min_seconds=1.5, max_seconds=1.5), path)
    return path


@pytest.fixture
def folders(tmp_path):
    return picture_folder(tmp_path / "real", 40), picture_folder(tmp_path / "fake", 30, seed=1, shift=40)


def values(measurements):
    return {result.name: result.value for measurement in measurements for result in measurement.results}


@pytest.mark.parametrize("name", ["fid50k_full", "pr50k3_full", "is50k", "ppl_wend"])
def test_the_drawn_judge_is_refused_where_it_trained_the_model(tiny_voice_model, world, name, capsys):
    model = load(tiny_voice_model, device="cpu")
    learned = judges_of({"perceptual"}, perceptual="drawn")
    model.card = dataclasses.replace(model.card, source={"joint": {"learned_from": learned}})
    settings = dataclasses.replace(DRAWN, num=12)
    with pytest.raises(ValueError, match="drawn.* trained this model.*--option allow-training-judge=1"):
        measure([name], network=model, data=world, settings=settings)
    allowed = dataclasses.replace(settings, options={"allow_training_judge": "1"})
    (found,) = measure([name], network=model, data=world, settings=allowed)
    assert sum(note.startswith("NOT INDEPENDENT: the judge drawn") for note in found.protocol["cautions"]) == 1
    assert measure(["path_length"], network=model, data=world, settings=settings)  # asks no judge
    others = dataclasses.replace(model.card, source={"joint": {"learned_from": {"probe": {"sha256": "0" * 64}}}})
    model.card = others
    assert measure([name], network=model, data=world, settings=settings)


def test_a_judge_of_two_files_is_known_by_either():
    assert trained_by({"perceptual": {"sha256": "b" * 64}}, "a" * 64 + "+" + "b" * 64)
    assert not trained_by({"perceptual": {"sha256": "c" * 64}}, "a" * 64 + "+" + "b" * 64)


def test_the_table_names_what_its_functions_are():
    assert set(SETS) | set(PATHS) | {"ssim", "ms_ssim", "lpips", "world_traits"} <= set(METRICS)
    assert all(row.what and callable(row.measure) for row in METRICS.values())


def test_two_folders_by_the_drawn_judge(folders):
    real, fake = folders
    found = measure(SETS, fakes=fake, data=real, settings=DRAWN)
    numbers = values(found)
    assert len(found) == len(SETS) and all(np.isfinite(value) for value in numbers.values())
    assert numbers["fid50k_full"] > 1 and numbers["fid_clean"] == pytest.approx(numbers["fid50k_full"], rel=0.1)
    assert {"pr50k3_full_precision", "pr50k3_full_recall", "is50k_mean", "is50k_std"} <= set(numbers)
    for measurement in found:
        assert all(r.n and r.seed == 0 and r.judge.startswith("drawn") for r in measurement.results)
        protocol = measurement.protocol
        assert protocol["mode"] and protocol["n"] and protocol["versions"]["torch"] == torch.__version__
        assert len(protocol["judge_sha256"]) == 64 and protocol["batch"] == 8 and protocol["time"].endswith("Z")
    assert any("stands for 50000" in line for line in found[0].protocol["cautions"])
    assert any("bias of FID" in line or "full rank" in line for line in found[0].protocol["cautions"])


def test_a_set_against_itself(folders):
    real, _ = folders
    numbers = values(measure(["fid50k_full", "pr50k3_full", "kid50k_full"], fakes=real, data=real,
                             settings=dataclasses.replace(DRAWN, num=None)))
    assert numbers["fid50k_full"] == pytest.approx(0, abs=1e-6)
    assert (numbers["pr50k3_full_precision"], numbers["pr50k3_full_recall"]) == (1, 1)


def test_the_line_has_what_parsers_know_and_the_protocol_beside_it(folders):
    line = measure(["pr50k3_full"], fakes=folders[1], data=folders[0], settings=DRAWN)[0].line()
    assert set(line["results"]) == {"pr50k3_full_precision", "pr50k3_full_recall"}
    assert line["metric"] == "pr50k3_full" and line["num_gpus"] == 0 and line["total_time_str"].endswith("s")
    assert line["protocol"]["real"]["files"] == 40 and line["protocol"]["fake"]["name"] == "fake"
    assert len(line["protocol"]["real"]["sha256"]) == 64 and line["protocol"]["resize"]
    assert json.loads(json.dumps(line)) == line


def test_every_path_metric_of_a_generator(tiny_voice_model):
    found = measure(PATHS, network=tiny_voice_model, settings=dataclasses.replace(DRAWN, num=12))
    numbers = values(found)
    assert all(value > 0 for value in numbers.values()) and "path_length_jacobian" in numbers
    assert numbers["ppl_wend"] != numbers["ppl2_wend"] and found[1].protocol["mode"] == "space z, sampling full"
    again = values(measure(["ppl_zend"], network=tiny_voice_model, settings=dataclasses.replace(DRAWN, num=12)))
    assert again["ppl_zend"] == numbers["ppl_zend"]


def test_a_generator_against_data_by_seeds_and_by_voices(tiny_voice_model, world):
    seeds = measure(["fid50k_full"], network=tiny_voice_model, data=world, settings=DRAWN)[0]
    voices = measure(["fid50k_full", "ssim", "ms_ssim"], network=load(tiny_voice_model, device="cpu"), data=world,
                     settings=dataclasses.replace(DRAWN, num=None, faces_from="voice", limit=10))
    assert seeds.snapshot == "tiny.safetensors" and voices[0].snapshot is None
    assert seeds.protocol["fake"]["faces_from"] == "seeds" and voices[0].protocol["fake"]["faces_from"] == "voice"
    assert [m.results[0].n for m in (seeds, *voices)] == [30, 30, 10, 10]
    assert len(voices[0].protocol["fake"]["network_sha256"]) == 64
    assert any("of 5 scales" in line for line in voices[2].protocol["cautions"])
    assert seeds.protocol["real"]["split"] == "all" and -1 <= voices[1].results[0].value <= 1


def test_a_model_that_ignores_its_voice_is_no_nearer_to_its_person(tiny_voice_model, world):
    """SSIM beside the control: with one face for everybody the mean over people cannot depend on who is who."""
    model = load(tiny_voice_model, device="cpu")
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.zero_()
    found = values(measure(["ssim", "lpips"], network=model, data=world, settings=dataclasses.replace(DRAWN, num=None)))
    assert set(found) == {"ssim", "ssim_shuffled", "lpips", "lpips_shuffled"}
    for name in ("ssim", "lpips"):
        assert found[name] == pytest.approx(found[f"{name}_shuffled"], rel=1e-6)


def test_pairs_are_files_of_the_same_name(folders):
    real, fake = folders
    found = measure(["ssim", "lpips"], fakes=fake, data=real, settings=dataclasses.replace(DRAWN, num=None))
    assert [m.results[0].n for m in found] == [30, 30]
    same = values(measure(["ssim", "lpips"], fakes=real, data=real, settings=DRAWN))
    assert same == {"ssim": pytest.approx(1), "lpips": pytest.approx(0, abs=1e-6)}
    other = picture_folder(real.parent / "other", 2)
    for name in ("0000.png", "0001.png"):
        (other / name).rename(other / f"x{name}")
    with pytest.raises(ValueError, match="no file name in common"):
        measure(["ssim"], fakes=other, data=real, settings=dataclasses.replace(DRAWN, num=None))


def test_a_picture_depends_on_its_number_alone(tiny_voice_model, tiny_conditional_model):
    latents = Latents(load(tiny_voice_model, device="cpu"), seed=5)
    whole = latents.draw([0, 1, 2, 3])
    assert torch.allclose(torch.cat([latents.draw([3]), latents.draw([1])]), whole[[3, 1]], atol=1e-5)
    assert not torch.allclose(whole, Latents(latents.model, seed=6).draw([0, 1, 2, 3]), atol=1e-3)
    model = load(tiny_conditional_model, device="cpu")
    with pytest.raises(ValueError, match="conditional, with 3 numbers in a label.*--class K"):
        Latents(model, seed=0)
    labels = Latents(model, seed=0, labels=torch.eye(3)).c(range(60))
    assert labels.sum(1).eq(1).all() and labels.sum(0).min() > 8


def test_both_ends_of_a_step_share_their_noise(tiny_voice_model):
    """The same codes twice in one batch, with the same generators: the same pictures, although the noise is fresh."""
    latents = Latents(load(tiny_voice_model, device="cpu"), seed=0)
    ws, noise = latents.generator.mapping(latents.z([0, 1]), None), latents.noise([0, 1])
    with torch.no_grad():
        images = latents.model.synthesis(torch.cat([ws, ws]), noise_mode="random", generator=[*noise, *noise])
        still = latents.model.synthesis(ws, noise_mode="const")
    assert torch.allclose(images[:2], images[2:], atol=1e-6) and not torch.allclose(images[:2], still, atol=1e-3)


def test_labels_come_from_the_data(tiny_conditional_model, folders):
    real, _ = folders
    settings = dataclasses.replace(DRAWN, num=6)
    with pytest.raises(ValueError, match="no labels to draw from"):
        measure(["fid50k_full"], network=tiny_conditional_model, data=real, settings=settings)
    (real / "dataset.json").write_text(json.dumps({"labels": [[f"{i:04d}.png", i % 3] for i in range(40)]}))
    drawn = measure(["fid50k_full"], network=tiny_conditional_model, data=real, settings=settings)[0]
    fixed = measure(["fid50k_full"], network=tiny_conditional_model, data=real,
                    settings=dataclasses.replace(settings, options={"class": 1}))[0]
    assert drawn.protocol["fake"]["labels"].startswith("40, sha256")
    assert drawn.results[0].value != fixed.results[0].value
    (real / "dataset.json").write_text(json.dumps({"labels": [["0000.png", 7]]}))
    with pytest.raises(ValueError, match="the label 7; this network takes classes 0 to 2"):
        measure(["fid50k_full"], network=tiny_conditional_model, data=real, settings=settings)
    with pytest.raises(ValueError, match="--class 3: this network has the classes 0 to 2"):
        measure(["fid50k_full"], network=tiny_conditional_model, data=real,
                settings=dataclasses.replace(settings, options={"class": 3}))


def passes(monkeypatch):
    seen = []
    original = training.bench.stream_features

    def counted(source, judge, collectors, streaming, *, desc):
        seen.append((desc.split()[0], sorted(collectors), len(source)))
        return original(source, judge, collectors, streaming, desc=desc)

    monkeypatch.setattr(training.bench, "stream_features", counted)
    return seen


def test_metrics_share_their_passes_and_real_pictures_are_looked_at_once(folders, monkeypatch):
    real, fake = folders
    seen = passes(monkeypatch)
    first = values(measure(["fid50k_full", "kid50k_full", "pr50k3_full"], fakes=fake, data=real, settings=DRAWN))
    assert seen == [("real", ["features", "moments"], 40), ("fake", ["features", "moments"], 30)]
    second = values(measure(["fid50k_full", "kid50k_full", "pr50k3_full"], fakes=fake, data=real, settings=DRAWN))
    assert seen[2:] == [("fake", ["features", "moments"], 30)] and second == first


def test_the_cache_is_keyed_by_content(folders, monkeypatch):
    real, fake = folders
    seen = passes(monkeypatch)
    before = values(measure(["fid50k_full"], fakes=fake, data=real, settings=DRAWN))
    Image.new("RGB", (20, 24)).save(real / "0007.png")  # the same path, another picture
    after = values(measure(["fid50k_full"], fakes=fake, data=real, settings=DRAWN))
    assert [side for side, _, _ in seen] == ["real", "fake"] * 2 and after != before
    values(measure(["fid50k_full"], fakes=fake, data=real, settings=dataclasses.replace(DRAWN, cache=False)))
    assert [side for side, _, _ in seen][4:] == ["real", "fake"]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-3], lambda content: b"x" * 500])
def test_a_cache_that_is_damaged_is_as_good_as_none(folders, monkeypatch, damage):
    real, fake = folders
    seen = passes(monkeypatch)
    before = values(measure(["fid50k_full", "kid50k_full"], fakes=fake, data=real, settings=DRAWN))
    for path in training.bench.cache_dir("metrics").glob("*/*.np[yz]"):
        path.write_bytes(damage(path.read_bytes()))
    assert values(measure(["fid50k_full", "kid50k_full"], fakes=fake, data=real, settings=DRAWN)) == before
    assert [(side, what) for side, what, _ in seen[2:3]] == [("real", ["features", "moments"])]


def test_flips_double_the_real_side_of_fid50k_only(folders, monkeypatch):
    real, fake = folders
    seen = passes(monkeypatch)
    found = measure(["fid50k", "fid50k_full"], fakes=fake, data=real, settings=dataclasses.replace(DRAWN, mirror=True))
    assert [(side, count) for side, _, count in seen if side == "real"] == [("real", 80), ("real", 40)]
    assert [m.protocol["flips"] for m in found] == [True, False]


def test_a_stopped_measurement_goes_on(tiny_voice_model, world, monkeypatch):
    """FID is interrupted in the middle of the generated pictures; the second call draws what is left, no more."""
    settings = dataclasses.replace(DRAWN, num=40)
    whole = values(measure(["fid50k_full"], network=tiny_voice_model, data=world, settings=settings))
    drawn, original = [], Latents.draw

    def draw(self, indices):
        if len(drawn) == 24 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        drawn.extend(indices)
        return original(self, indices)

    stopped = []
    monkeypatch.setattr(Latents, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        measure(["fid50k_full"], network=tiny_voice_model, data=world, settings=settings)
    again = values(measure(["fid50k_full"], network=tiny_voice_model, data=world, settings=settings))
    assert drawn[24:] == list(range(16, 40)) and again["fid50k_full"] == pytest.approx(whole["fid50k_full"], rel=1e-9)
    work = training.bench.cache_dir("metrics", "unfinished")
    assert not work.exists() or not list(work.iterdir())


@pytest.mark.parametrize("name", ["fid50k_full", "ppl2_wend"])
def test_what_a_stopped_measurement_kept_may_be_damaged(tiny_voice_model, world, monkeypatch, name):
    settings, asked, original = dataclasses.replace(DRAWN, num=24), [], Latents.noise

    def noise(self, indices):
        asked.append(indices)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, indices)

    whole = values(measure([name], network=tiny_voice_model, data=world, settings=settings))
    monkeypatch.setattr(Latents, "noise", noise)
    with pytest.raises(KeyboardInterrupt):
        measure([name], network=tiny_voice_model, data=world, settings=settings)
    kept = list(training.bench.cache_dir("metrics", "unfinished").rglob("*.np[yz]"))
    for path in kept:
        path.write_bytes(path.read_bytes()[:50])
    assert kept and values(measure([name], network=tiny_voice_model, data=world, settings=settings)) == whole


@pytest.mark.parametrize("name", ["ppl2_wend", "path_length"])
def test_a_stopped_path_goes_on_where_it_was(tiny_voice_model, monkeypatch, name):
    settings, asked, original = dataclasses.replace(DRAWN, num=24), [], Latents.noise
    whole = values(measure([name], network=tiny_voice_model, settings=settings))

    def noise(self, indices):
        asked.append(list(indices))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return original(self, indices)

    monkeypatch.setattr(Latents, "noise", noise)
    with pytest.raises(KeyboardInterrupt):
        measure([name], network=tiny_voice_model, settings=settings)
    again = values(measure([name], network=tiny_voice_model, settings=settings))
    assert asked[2:] == [list(range(8, 16)), list(range(16, 24))] and again == whole


def test_inception_by_file_runs_the_published_definitions(folders, tmp_path):
    """A stand-in network through the code that real weights take; 2048 features of 30 pictures have a low rank."""
    settings = MeasureSettings(inception=str(inception_file(tmp_path)), trust_weights=True, num=20, batch=16, rounds=0,
                               verbose=False)
    found = measure(["is50k", "kid50k_full"], fakes=folders[1], data=folders[0], settings=settings)
    assert found[0].results[0].judge == "inception-2015-12-05 (classes, no output bias)"
    assert found[1].protocol["mode"] == "nvidia" and found[1].results[0].value > 0
    with pytest.raises(ValueError, match="This metric needs vgg16-397923af.pth"):
        measure(["pr50k3_full"], fakes=folders[1], data=folders[0], settings=settings)


def test_a_class_of_a_network_without_classes_is_refused(tiny_voice_model):
    with pytest.raises(ValueError, match="--class 3: this network has no classes; leave --class out"):
        measure(["path_length"], network=tiny_voice_model, settings=dataclasses.replace(DRAWN, options={"class": 3}))


@pytest.mark.parametrize("names, given, message", [
    (["fid50k_ful"], {}, 'unknown metric fid50k_ful. Did you mean "fid50k_full"'),
    (["fid50k_full"], {"fakes": None}, "fid50k_full needs pictures to judge"),
    (["fid50k_full"], {"data": None}, "compares with real pictures; give --data"),
    (["ppl_wend"], {}, "ppl_wend needs a network"),
    (["world_traits"], {}, "world_traits needs a network"),
    (["fid50k_full"], {"num": 31}, "--num 31: there are only 30 pictures"),
    (["fid50k_full"], {"num": 0}, "--num 0: one picture or more"),
    (["fid50k_full"], {"judge": "inceptoin"}, 'judge "inceptoin" of pictures; inception and drawn'),
    (["fid50k_full"], {"split": "test"}, "--split is for datasets"),
    (["fid50k_full"], {"faces_from": "image"}, 'from "seeds" or from "voice", not from "image"'),
    (["is50k"], {"num": 9}, "needs 10 or more pictures, got 9"),
    (["is50k"], {"options": {"clip_per": "2"}}, 'no metric has the option "clip-per". Did you mean "clips-per"'),
])
def test_bad_wishes_are_one_sentence(names, given, message, folders):
    sides = {"fakes": folders[1], "data": folders[0], **{k: v for k, v in given.items() if k in ("fakes", "data")}}
    settings = dataclasses.replace(DRAWN, **{key: value for key, value in given.items() if key not in sides})
    with pytest.raises(ValueError, match=message):
        measure(names, settings=settings, **sides)


def test_voices_need_a_voice_path_and_people(tiny_conditional_model, tiny_voice_model, folders, world):
    voice = dataclasses.replace(DRAWN, num=None, faces_from="voice")
    with pytest.raises(ValueError, match="this network has no voice path"):
        measure(["fid50k_full"], network=tiny_conditional_model, data=world, settings=voice)
    with pytest.raises(ValueError, match="holds pictures only"):
        measure(["fid50k_full"], network=tiny_voice_model, data=folders[0], settings=voice)
    with pytest.raises(ValueError, match="there are only 30 voices"):
        measure(["fid50k_full"], network=tiny_voice_model, data=world, settings=dataclasses.replace(voice, num=31))
    with pytest.raises(ValueError, match="--judge FILE. Make one .* train.py --task probe --data"):
        measure(["world_traits"], network=tiny_voice_model, data=world, settings=DRAWN)
    with pytest.raises(ValueError, match="one of them, please"):
        measure(["is50k"], network=tiny_voice_model, fakes=folders[0], settings=DRAWN)
