"""The parts of the engine by themselves: where samples come from, how phases run, what warns, what one sees."""

import dataclasses
import io
import itertools
import json
import math
import types
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from test_training_runs import QUICK, TINY, faces16, pairs16, run_gan  # noqa: F401  (fixtures)

from torch_utils.running_stats import RunningStats, single
from training import snapshot_names
from training.curves import draw_curves, read_metrics
from training.dataset import Damaged, Dataset
from training.early_warnings import EarlyWarnings
from training.feed import Feed
from training.gan_loop import build_networks
from training.gan_step import GanStep
from training.loop import iterations_of
from training.losses.path_length import path_length_loss, path_lengths
from training.phase_runner import PhaseRunner
from training.phases import Batch, Draw, Phase
from training.run_folder import append_whole
from training.settings import RunSettings, VoiceSettings
from training.sheets import sheet_size
from training.sources import Faces, Store, Voices, crop, label_table
from training.viewing import Viewing, is_higher_better
from training.voice_loop import write_pairs
from training.voice_step import rate_share
from voice2style.pipeline import load


def feed_of(source, *, size=4, first=0, last=6, say=None, **run):
    return Feed(source, size=size, first=first, last=last, run=RunSettings(**run), device=torch.device("cpu"),
                say=say or (lambda line: None))


def content(batches):
    return [{field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)
             if isinstance(getattr(batch, field.name), torch.Tensor)} for batch in batches]


def alike(a, b):
    return len(a) == len(b) and all(x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)
                                    for x, y in zip(a, b))


def test_samples_depend_on_seed_and_position_alone(faces16):  # noqa: F811
    def faces():
        return Faces(Dataset(faces16), resolution=16, seed=3, mirror=True, mirrory=True)

    whole = content(feed_of(faces()))
    assert alike(whole, content(feed_of(faces(), cache_gb=0, workers=2)))  # read by processes
    assert alike(whole[4:], content(feed_of(faces(), first=4)))  # gone on with
    assert not alike(whole[:1], content(feed_of(Faces(Dataset(faces16), resolution=16, seed=4), last=1)))
    flat = content(feed_of(Faces(Dataset(faces16), resolution=16, seed=3)))
    flipped = torch.cat([(x["images"] != y["images"]).flatten(1).any(1) for x, y in zip(whole, flat)])
    assert 8 < int(flipped.sum()) < 24  # three quarters of 24 are expected
    for one, other, turned in zip(*(torch.cat([x["images"] for x in batches]) for batches in (whole, flat)), flipped):
        ways = [other, other.flip(2), other.flip(1), other.flip(1, 2)]
        assert any(torch.equal(one, way) for way in ways) and turned == (not torch.equal(one, other))


def test_voices_come_with_faces_of_the_same_person_in_one_length_a_batch(pairs16):  # noqa: F811
    dataset = Dataset(pairs16)
    faces = Faces(dataset, resolution=16, seed=0)
    voices = Voices(dataset, crop_s=0.5, crop_most_s=1.5, seed=0, batch=4, faces=faces)
    batches = list(feed_of(voices))
    lengths = {batch.waves.shape[1] for batch in batches}
    assert len(lengths) > 2 and min(lengths) >= 8000 and max(lengths) <= 24000
    own = {row["person"]: faces.pictures([place])[0] for place, row in enumerate(faces.rows)}
    for batch in batches:
        for number, image in zip(batch.people.tolist(), batch.images):
            assert torch.equal(((image + 1) * 127.5).round().to(torch.uint8), own[voices.people[number]])
    known = {faces.rows[0]["path"]: np.ones((6, 16), np.float32)}
    few = Voices(dataset, crop_s=0.5, seed=0, batch=2, faces=faces, codes=known)
    assert few.people == [faces.rows[0]["person"]] and next(iter(feed_of(few, size=2))).codes.shape == (2, 6, 16)
    changed = Voices(dataset, crop_s=0.5, seed=0, batch=4, augment=lambda wave, rng, rate, num_samples: (
        wave[:num_samples] * np.float32(rng.random())))
    assert alike(content(feed_of(changed, last=2, workers=0)), content(feed_of(changed, last=2, workers=2)))


def test_short_clips_are_repeated_and_crops_stay_inside():
    clip = np.arange(1, 6, dtype=np.int16)
    assert (crop(clip, 3, 1.0, scale=1.0) == [3, 4, 5]).all() and (crop(clip, 3, 0.0, scale=1.0) == [1, 2, 3]).all()
    assert (crop(clip, 7, 0.0, scale=1.0) == [1, 2, 3, 4, 5, 1, 2]).all()


def damaged(path, source, names):
    """Writes a copy of a dataset in which some items are damaged."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"not a picture" if name in names else old.read(name))
    return path


@pytest.mark.parametrize("how", [{"cache_gb": 1}, {"cache_gb": 0, "workers": 2}, {"cache_gb": 0, "workers": 0}])
def test_damaged_items_are_named_and_replaced_alike_however_they_are_read(tmp_path, faces16, how):  # noqa: F811
    rows = Dataset(faces16).faces("train")
    names = [rows[3]["path"], rows[7]["path"]]
    path, lines = damaged(tmp_path / "bad.zip", faces16, names), []
    source = Faces(Dataset(path), resolution=16, seed=0)
    batches = content(feed_of(source, last=12, say=lines.append, **how))
    again = Faces(Dataset(path), resolution=16, seed=0)
    assert alike(batches, content(feed_of(again, last=12)))
    warnings = [line for line in lines if line.startswith("Warning")]
    assert len(warnings) == 2 and all(any(name in line for line in warnings) for name in names)
    strict = Faces(Dataset(path), resolution=16, seed=0, skip_corrupt=1)
    with pytest.raises(ValueError, match=r"2 items of the dataset are damaged, 1 may be passed over \(--skip-"):
        list(feed_of(strict, last=12, skip_corrupt=1, **how))


@pytest.mark.parametrize("how", [{"cache_gb": 1}, {"cache_gb": 0, "workers": 0}])
def test_a_damaged_face_is_never_replaced_by_that_of_another_person(tmp_path, pairs16, how):  # noqa: F811
    rows = Dataset(pairs16).faces("train")
    path = damaged(tmp_path / "bad.zip", pairs16, [rows[3]["path"], rows[7]["path"]])

    def voices(rows):
        faces = Faces(Dataset(path), resolution=16, seed=0)
        codes = {row["path"]: np.ones((6, 16), np.float32) for row in rows}
        return Voices(Dataset(path), crop_s=0.5, seed=0, batch=4, faces=faces, codes=codes)

    source = voices(rows[:12])
    own = {row["person"]: Dataset(pairs16).read_face(row) for row in rows}
    batches = list(feed_of(source, last=8, **how))
    for batch in batches:
        for number, image in zip(batch.people.tolist(), batch.images):
            pixels = ((image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(pixels, own[source.people[number]])
    assert alike(content(batches), content(feed_of(voices(rows[:12]), last=8)))
    with pytest.raises(ValueError, match="may be passed over"):
        list(feed_of(voices([rows[3], rows[7]]), **how))


def test_the_sheet_of_pairs_leaves_damaged_faces_out(tmp_path, pairs16):  # noqa: F811
    path = damaged(tmp_path / "bad.zip", pairs16, [Dataset(pairs16).faces("train")[0]["path"]])
    model = types.SimpleNamespace(codes=lambda wave: wave, synthesis=lambda codes: torch.zeros(1, 3, 16, 16))
    voices = Voices(Dataset(path), crop_s=0.5, seed=0)
    write_pairs(model, voices, None, types.SimpleNamespace(path=tmp_path), number="1")
    width, height = Image.open(tmp_path / "pairs.png").size
    assert width // 16 * (height // 16) == 48 and len(Dataset(path).faces("train")) == 24  # 23 pairs, two cells white


def test_a_replacement_is_never_damaged_itself():
    def read(k):
        if k % 2:
            raise Damaged(f"item {k} is damaged.")
        return k

    store = Store(20, read, seed=1, skip_corrupt=10)
    found = {k: store.get(k) for k in range(20)}
    assert all(used % 2 == 0 == content % 2 for used, content in found.values())
    assert all(found[k] == (k, k) for k in range(0, 20, 2))
    assert {k: Store(20, read, seed=1, skip_corrupt=10).get(k) for k in reversed(range(20))} == found
    with pytest.raises(ValueError, match="item 1 is damaged"):
        Store(2, lambda k: read(1), seed=1, skip_corrupt=0).get(1)


@pytest.mark.parametrize("how", [{"cache_gb": 1}, {"cache_gb": 0, "workers": 2}, {"cache_gb": 0, "workers": 0}])
@pytest.mark.parametrize("place", ["torch_utils.images.eight_bits", "training.sources.np.ascontiguousarray"])
def test_an_error_that_is_no_files_fault_is_not_recorded_as_damage(monkeypatch, faces16, place, how):  # noqa: F811
    source, lines = Faces(Dataset(faces16), resolution=16, seed=0), []

    def broken(*_):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(place, broken)
    with pytest.raises(ValueError, match="^operands could not be broadcast together$"):
        list(feed_of(source, say=lines.append, skip_corrupt=1000, **how))
    assert not [line for line in lines if "damaged" in line] and source.stores["faces"].bad == {}


def test_every_way_for_an_item_to_be_damaged(tmp_path, faces16, pairs16):  # noqa: F811
    """Missing, cut, of another content, of another kind, of another size or rate; a file of the system that fails."""
    faces, voices = Dataset(faces16), Dataset(pairs16)
    row, clip = dict(faces.faces("train")[0]), dict(voices.voices("train")[0])
    bad = {name: value for name, value in row.items() if name != "sha256"}
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps({"format": "voice2style-dataset/1"}))
    (folder / "manifest.jsonl").write_text("")
    (folder / "cut.png").write_bytes(picture.getvalue()[:45])
    (folder / "cut.npy").write_bytes(b"\x93NUMPY")
    loose = Dataset(folder)
    for read, told in ((lambda: faces.read_face({**row, "sha256": "0" * 64}), "its sha256 is not"),
                       (lambda: faces.read_face({**bad, "path": "nowhere.png"}), "is not whole: it has no nowhere"),
                       (lambda: faces.read_face({**bad, "path": "card.json"}), "is not a picture"),
                       (lambda: loose.read_face({"path": "cut.png"}), "is not a picture"),
                       (lambda: loose.read_features({"path": "cut.npy", "features": "logmel64"}), "not an array"),
                       (lambda: voices.read_voice({"path": "card.json"}), "is not sound"),
                       (lambda: voices.read_voice({**clip, "sample_rate_hz": 7}), "its manifest row says 7"),
                       (lambda: Faces._read(types.SimpleNamespace(dataset=faces, rows=[row], resolution=8), 0),
                        "is 16x16 with 3 channels")):
        with pytest.raises(Damaged, match=told):
            read()
    store = Store(3, lambda k: open(tmp_path / "gone"), seed=0, skip_corrupt=2)
    assert store.load(0) is None and "No such file" in store.bad[0]


def labelled(path, source, label):
    """Writes a copy of a dataset whose face rows have labels."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            lines = old.read(name)
            if name == "manifest.jsonl":
                rows = [json.loads(line) for line in lines.splitlines()]
                for number, row in enumerate(row for row in rows if row["kind"] == "face"):
                    row["label"] = label(number)
                lines = "\n".join(map(json.dumps, rows)).encode()
            new.writestr(name, lines)
    return path


def test_a_conditional_run_learns_with_the_labels_of_the_dataset(tmp_path, faces16):  # noqa: F811
    path = labelled(tmp_path / "labels.zip", faces16, lambda number: number % 3)
    snapshot = run_gan(tmp_path, path, dataclasses.replace(TINY, total_kimg=0.008, cond=True))
    generator = load(snapshot, device="cpu").generator
    assert generator.c_dim == 3 and "Label shape: [3]" in (snapshot.parent / "log.txt").read_text()
    z, c = torch.randn(1, 8), torch.eye(3)
    assert not torch.equal(generator(z, c[:1], noise_mode="const"), generator(z, c[1:2], noise_mode="const"))
    faces = Faces(Dataset(path), resolution=16, cond=True)
    shown = faces.sheet(5, 4)
    kinds = faces.labels[shown].argmax(1).reshape(4, 5)
    assert (kinds == kinds[:, :1]).all() and kinds[:, 0].tolist() == [0, 1, 2, 0]  # rows by class
    assert len(set(shown[:5] + shown[15:])) > 5  # the second row of a class goes on
    batch = next(iter(feed_of(faces)))
    assert torch.equal(batch.labels.sum(1), torch.ones(4))


def test_labels_are_numbers_or_vectors_and_all_there(tmp_path, faces16):  # noqa: F811
    dataset = Dataset(faces16)
    rows = dataset.faces("train")
    assert label_table(dataset, rows) is None
    assert label_table(dataset, [{**row, "label": [0.5, k]} for k, row in enumerate(rows)]).shape == (len(rows), 2)
    with pytest.raises(ValueError, match="23 of 24 faces have no label"):
        label_table(dataset, [{**rows[0], "label": 1}, *rows[1:]])
    with pytest.raises(ValueError, match="neither all whole numbers nor vectors"):
        label_table(dataset, [{**rows[0], "label": 1}, {**rows[1], "label": [1.0]}])
    with pytest.raises(ValueError, match="has the label 1000000000; classes are numbered from 0, without gaps"):
        label_table(dataset, [{**row, "label": 10**9} for row in rows])
    with pytest.raises(ValueError, match="labels with numbers that are not finite"):
        label_table(dataset, [{**row, "label": [math.nan]} for row in rows])
    with pytest.raises(ValueError, match="has no labels; --cond=1 needs rows"):
        Faces(dataset, resolution=16, cond=True)
    assert len(Faces(dataset, resolution=16, subset=5)) == 5
    assert {row["path"] for row in Faces(dataset, resolution=16, subset=5).rows} < {
        row["path"] for row in Faces(dataset, resolution=16, subset=9).rows}


def a_step(**changes):
    settings = dataclasses.replace(TINY, style_mixing=0.9, mbstd_group=2, **changes)
    generator, discriminator = build_networks(settings)
    return GanStep(generator, discriminator, build_networks(settings)[0], settings)


def a_batch(size=8):
    images = torch.rand(size, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Batch(size, torch.arange(size), images=images)


def test_parts_of_a_batch_draw_what_the_whole_batch_draws():
    step, batch, draw = a_step(), a_batch(), Draw(0, "Gmain", 3)
    step.G.requires_grad_(False)
    for layer in step.G.modules():
        if hasattr(layer, "noise_strength"):
            layer.noise_strength.fill_(1.0)
    whole = step.fakes(batch, draw, None)[0]
    for k in range(4):
        torch.testing.assert_close(step.fakes(batch.part(k, 4), draw, None)[0], whole[k::4], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole, step.fakes(batch, Draw(0, "Gmain", 4), None)[0])


def test_the_path_length_of_parts_is_that_of_the_batch():
    step, batch, draw = a_step(), a_batch(), Draw(0, "Greg", 0)
    step.pl_mean = torch.tensor(0.3)
    runner = PhaseRunner(seed=0, batch_gpu=None, stats=RunningStats(), device=torch.device("cpu"), say=print)
    found, said = {}, {}
    for batch_gpu in (None, 2):
        step.G.zero_grad()
        runner.batch_gpu = batch_gpu
        phase = next(phase for phase in step.phases(0) if phase.name == "Greg")
        for values, share in runner._gradients(phase, batch.first(0.5), draw):
            for name, value in values.items():
                said[batch_gpu, name] = said.get((batch_gpu, name), 0) + value * share
        found[batch_gpu] = [p.grad.clone() for p in step.G.parameters() if p.grad is not None], step._next_pl_mean
        step._lengths_mean = None
    assert len(found[None][0]) > 10
    torch.testing.assert_close(found[2], found[None], rtol=1e-4, atol=1e-6)
    half = batch.first(0.5)
    images, ws, _ = step.fakes(half, draw, None)  # the published form: one batch, gradient through the mean
    noise = torch.stack([torch.randn(3, 16, 16, generator=draw("path", place)) for place in range(4)])
    lengths = path_lengths(images, ws, noise)
    loss, moved = path_length_loss(lengths, torch.tensor(0.3))
    wanted = torch.autograd.grad(loss * step.settings.pl_interval, list(step.G.parameters()), allow_unused=True)
    torch.testing.assert_close(found[None][0], [g for g in wanted if g is not None], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[None][1], moved)
    penalty = (lengths - moved).square().mean()  # what the published names stand for
    for batch_gpu in (None, 2):
        torch.testing.assert_close(said[batch_gpu, "Loss/pl_penalty"], penalty.detach())
        torch.testing.assert_close(said[batch_gpu, "Loss/G/reg"], 2 * penalty.detach())


def test_a_mapping_that_is_held_still_has_a_path_length():
    step, batch = a_step(), a_batch()
    step.G.requires_grad_(False)
    step.G.synthesis.requires_grad_(True)  # --freezeM with all layers
    assert step._lengths(batch, Draw(0, "Greg", 0)).requires_grad


def test_out_of_memory_halves_the_pieces_once_aloud_and_changes_no_number():
    found, lines = {}, []
    for fails in (False, True):
        step, left = a_step(), [1 if fails else 0]
        original = step._d_main

        def short_of_memory(batch, draw, original=original, left=left):
            if left[0] and len(batch) == 8:
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(batch, draw)

        step._d_main = short_of_memory
        stats = RunningStats()
        runner = PhaseRunner(seed=0, batch_gpu=None, stats=stats, device=torch.device("cpu"), say=lines.append, group=2)
        for network in step.networks.values():
            network.requires_grad_(False)
        for index in range(2):
            runner.run(step, a_batch(), index)
        found[fails] = step.G.mapping.w_avg, step.D.state_dict(), stats.take()["Loss/D/loss"]["mean"]
    assert len(lines) == 1 and "from here on 4 (--batch-gpu=4)" in lines[0] and runner.batch_gpu == 4
    torch.testing.assert_close(found[True], found[False], rtol=1e-4, atol=1e-5)

    def always(batch, draw):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    phase = Phase("Dmain", "D", ("D",), always)
    with pytest.raises(ValueError, match=r"does not suffice for 4 samples .* with --batch-gpu=2"):
        runner._phase(step, phase, a_batch(), 0)


def test_statistics_are_means_over_iterations_and_count_what_is_not_finite():
    stats = RunningStats()
    for value in (1.0, 3.0, math.nan):
        stats.add({"a": torch.tensor(value)}, 0.25)
        stats.add({"a": torch.tensor(value)}, 0.75)
        stats.next_iteration()
    half = RunningStats()
    half.restore(stats.state())  # a state in the middle of a tick
    assert stats.take()["a"] == half.take()["a"] == {"num": 2, "mean": 2.0, "std": 1.0, "nonfinite": 1}
    assert stats.take() == {}


def quiet_tick(**more):
    usual = {"Loss/signs/real": 0.4, "Loss/signs/fake": -0.3, "Gradients/Gmain": 1.0, "Loss/pl_length": 0.5}
    return {name: single(value) for name, value in {**usual, **more}.items()}


@pytest.mark.parametrize("ticks, at_bound, message", [
    ([{"Loss/G/loss": math.nan}], False, "NaN or infinite values in Loss/G/loss"),
    ([{"Loss/signs/real": 0.99, "Loss/signs/fake": -0.99}] * 3, False, "D tells real from generated faces"),
    ([{"Gradients/Gmain": 50.0}], False, "the gradient of Gmain is 50 times its usual size"),
    ([{"Loss/pl_length": 8.0}], False, "the path length runs away: 8, usually 0.5"),
    ([{}] * 3, True, "the augmentation's p has stood at its bound"),
])
def test_each_early_warning_comes_once_and_only_when_it_is_true(ticks, at_bound, message):
    warnings = EarlyWarnings()
    assert [warnings.look(quiet_tick()) for _ in range(5)] == [[]] * 5
    found = [line for tick in ticks for line in warnings.look(quiet_tick(**tick), at_bound=at_bound)]
    assert len(found) == 1 and message in found[0]
    copy = EarlyWarnings()
    copy.restore(warnings.state())
    assert copy.look(quiet_tick(**ticks[-1]), at_bound=at_bound) == []  # said already, also after a resume
    assert warnings.look(quiet_tick()) == []
    again = [line for tick in ticks for line in warnings.look(quiet_tick(**tick), at_bound=at_bound)]
    assert len(again) == 1  # it was over, and came back


def test_the_learning_rate_follows_its_schedule():
    cycles = VoiceSettings(steps=100, warmup_steps=0, schedule="cycles", cycles=4)
    assert [round(rate_share(step, cycles), 3) for step in (0, 25, 50, 75)] == [1.0] * 4
    assert rate_share(24, cycles) < 0.02 and rate_share(12, cycles) == pytest.approx(0.5, abs=0.05)
    constant = VoiceSettings(steps=100, warmup_steps=10, schedule="constant")
    assert [rate_share(step, constant) for step in (0, 9, 50)] == [0.1, 1.0, 1.0]
    assert rate_share(99, VoiceSettings(steps=100, warmup_steps=10)) < 0.001


def test_sheets_have_the_published_size():
    assert sheet_size(1024, 1024) == (7, 4) and sheet_size(256, 256) == (30, 16) and sheet_size(16, 16) == (32, 32)
    assert sheet_size(1024, 1024, "1080p") == (3, 2) and sheet_size(16, 16, "1080p") == (16, 16)
    assert [iterations_of(kimg, 32) for kimg in (0.001, 0.032, 0.033, 25000)] == [1, 1, 2, 781250]


def test_curves_show_losses_and_metrics_and_the_best_snapshot_stays(tmp_path):
    from PIL import Image

    folder_of = tmp_path / "00000-tiny"
    folder_of.mkdir()
    lines = [{name: single(kimg) for name in ("Progress/kimg", "Loss/G/loss", "Loss/D/loss", "Loss/scores/real",
                                              "Loss/pl_penalty", "Progress/augment")} for kimg in range(4)]
    (folder_of / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for kimg in (0, 1, 2, 3):
        (folder_of / f"network-snapshot-{kimg:06d}.safetensors").write_bytes(b"%d" % kimg)
    for kimg, value in ((0, 50.0), (1, 20.0), (2, 30.0), (3, 40.0), (3, 41.0)):
        with open(folder_of / "metric-fid50k_full.jsonl", "a") as file:
            file.write(json.dumps({"results": {"fid50k_full": value}, "metric": "fid50k_full",
                                   "snapshot_pkl": f"network-snapshot-{kimg:06d}.safetensors"}) + "\n")
    assert read_metrics(folder_of) == {"fid50k_full": [(0, 50.0), (1, 20.0), (2, 30.0), (3, 41.0)]}

    class Folder:
        path = folder_of
        say = staticmethod(print)

    viewing = Viewing(Folder, RunSettings(metrics=("fid50k_full",), keep_snapshots=1))
    last = folder_of / "network-snapshot-000003.safetensors"
    viewing.measured({"fid50k_full": {"results": {"fid50k_full": 41.0}}}, last)
    viewing.curves()
    kept = sorted(path.name for path in folder_of.glob("network-*"))
    assert kept == ["network-best.safetensors", "network-snapshot-000001.safetensors",
                    "network-snapshot-000003.safetensors"]
    assert (folder_of / "network-best.safetensors").read_bytes() == b"1"
    assert not viewing.unmeasured(last)
    assert viewing.unmeasured(folder_of / "network-snapshot-000004.safetensors")
    with Image.open(draw_curves(folder_of)) as picture:
        assert picture.width == 1200 and len(picture.convert("L").histogram()) > 50  # five panels in two rows
        assert picture.height > 400
    assert draw_curves(tmp_path) is None
    assert [is_higher_better(name) for name in ("fid50k_full", "kid50k_full", "pr50k3_full_recall", "ppl2_wend")] == [
        False, False, True, False]


def test_snapshots_are_compared_by_lines_of_the_judge_that_the_run_uses(tmp_path):
    """Lines by another judge or of another n stand beside them, in a folder where calc_metrics.py wrote, too."""
    drawn = {"judge": "drawn", "judge_sha256": "a" * 64, "n": 50000}
    other, less = {**drawn, "judge": "inception", "judge_sha256": "b" * 64}, {**drawn, "n": 100}
    for kimg, value, protocol in ((0, 9.0, drawn), (1, 1.0, other), (2, 8.0, {**drawn, "judge": "moved.pt"}),
                                  (3, 0.5, less), (0, 2.0, other)):
        (tmp_path / f"network-snapshot-{kimg:06d}.safetensors").write_bytes(b"%d" % kimg)
        line = {"results": {"fid50k": value}, "snapshot_pkl": f"network-snapshot-{kimg:06d}.safetensors",
                "protocol": protocol}
        append_whole(tmp_path / "metric-fid50k.jsonl", json.dumps(line).encode() + b"\n")
    assert read_metrics(tmp_path) == {"fid50k": [(0, 2.0), (1, 1.0)]}  # that compare with the newest one
    full = {"results": {"fid50k_full": 0.1}, "snapshot_pkl": "network-snapshot-000003.safetensors", "protocol": drawn}
    append_whole(tmp_path / "metric-fid50k_full.jsonl", json.dumps(full).encode() + b"\n")
    said = []

    class Folder:
        path = tmp_path
        say = staticmethod(print)
        warn_once = staticmethod(lambda key, text: said.append(text))

    viewing = Viewing(Folder, RunSettings(metrics=("fid50k",), keep_snapshots=1, curves=False))
    viewing.measured({"fid50k": {"results": {"fid50k": 8.0}, "protocol": drawn}},
                     tmp_path / "network-snapshot-000002.safetensors")
    assert (tmp_path / "network-best.safetensors").read_bytes() == b"2"
    assert said == ["2 snapshots have fid50k by another judge, n or mode only; network-best.safetensors is the best of "
                    "the 2 others."]
    viewing.curves()
    assert sorted(path.read_bytes() for path in tmp_path.glob("network-snapshot-*")) == [b"2", b"3"]


@pytest.mark.parametrize(("every", "last", "names"), [
    (4000, 12000, ["000004", "000008", "000012"]),
    (4000, 8300, ["000004", "000008", "000008.300"]),
    (4000, 4000, ["000004"]),
    (9984, 29999, ["000010", "000020", "000029.952", "000030"]),
    (9984, 30000, ["000010", "000020", "000029.952", "000030"]),
    (3900, 8100, ["000004", "000007.800", "000008"]),
    (4200, 8600, ["000004", "000008", "000009"]),
    (4100, 8400, ["000004", "000008", "000008.400"]),
    (8, 8, ["000000"]),
    (8, 20, ["000000.008", "000000.016", "000000.020"]),
    (500, 1500, ["000000.500", "000001.000", "000001.500"]),
    (50000, 150000, ["000050", "000100", "000150"])])
def test_the_numbers_of_snapshots_are_kimg_and_no_two_are_the_same(every, last, names):
    images = [*range(every, last, every), last]
    assert [snapshot_names.number(one, every=every, last=last) for one in images] == names
    kimg = [snapshot_names.kimg_of(f"network-snapshot-{name}.safetensors") for name in names]
    assert kimg == sorted(set(kimg)) and all(abs(1000 * one - n) <= 500 for one, n in zip(kimg, images))


def test_every_period_and_length_gives_names_of_their_own():
    for every, last in itertools.product((1, 7, 333, 999, 1000, 1001, 1500, 2500), (1, 999, 1000, 5000, 5001, 12345)):
        images = [*range(every, last, every), last][-40:]
        assert len({snapshot_names.number(one, every=every, last=last) for one in images}) == len(images), (every, last)


def test_a_metric_that_cannot_be_measured_leaves_the_others(tmp_path, faces16, capsys):  # noqa: F811
    run = dataclasses.replace(QUICK, metrics=("ssim", "fid50k_full", "world_traits"),
                              measuring={"judge": "drawn", "num": 12})
    folder = run_gan(tmp_path, faces16, dataclasses.replace(TINY, total_kimg=0.016), run=run).parent
    assert sorted(read_metrics(folder)["fid50k_full"])[-1][0] == 0.016
    assert [path.name for path in folder.glob("metric-*.jsonl")] == ["metric-fid50k_full.jsonl"]
    said = capsys.readouterr().out
    assert said.count("Warning: ssim was not measured: ") == said.count("Warning: world_traits was not measured") == 1


def test_the_board_gets_what_the_statistics_say(tmp_path, faces16):  # noqa: F811
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = dataclasses.replace(QUICK, tensorboard=True)
    folder = run_gan(tmp_path, faces16, dataclasses.replace(TINY, total_kimg=0.008), run=run).parent
    board = EventAccumulator(str(folder))
    board.Reload()
    assert {"Loss/G/loss", "Progress/tick", "Timing/sec_per_kimg"} <= set(board.Tags()["scalars"])
