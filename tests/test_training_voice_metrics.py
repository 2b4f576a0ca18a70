"""The rows that ask whether the voice mattered, on a small drawn world: deaf models score chance, tables are whole."""

import dataclasses
import json
import re
import shlex

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import calc_metrics
import dataset_tool
import train
from metrics.judges.face_id import FaceRecogniser, FaceRecogniserSettings, save_recogniser
from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, save_probe
from training import voice_evidence
from training.bench import Bench
from training.dataset import Dataset
from training.measuring import MeasureSettings
from training.model_card import BEGIN, END, update_card, with_section
from training.voice_evidence import cheek_brightness, hold_back
from training.voice_groups import known_groups, strictest, title_of
from training.voice_judges import check_independence, trained_by, trained_here
from training.voice_metrics import VOICE_METRICS, deal
from training.voice_run import evidence_of
from training.voice_rungs import build_rungs, shuffled_rows
from voice2style.demo.traits import TRAITS
from voice2style.pipeline import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A world of 100 people (10 in the test split), a recogniser of them, and a trait probe; nobody is trained."""
    folder = tmp_path_factory.mktemp("voices")
    result = CliRunner().invoke(dataset_tool.main, [
        "world", "--people=100", "--faces-per=2", "--clips-per=2", "--resolution=32", "--seconds=1.5-1.5",
        "--workers=1", f"--dest={folder / 'world.zip'}"])
    assert result.exit_code == 0, result.output
    torch.manual_seed(0)
    source = {"data": {"source": "drawn world", "seed": 7}, "people": [1, 2, 3]}
    save_recogniser(FaceRecogniser(FaceRecogniserSettings(resolution=32, width=8, embed_dim=16, num_people=6,
                                                          source=source)).eval(), folder / "judge.safetensors")
    probe = TraitProbe(TraitProbeSettings(traits=tuple(trait.name for trait in TRAITS), resolution=32, width=4))
    save_probe(probe.eval(), folder / "probe.safetensors")
    return folder


@pytest.mark.parametrize(("metric", "task", "file"), [("verification", "recogniser", "recogniser.safetensors"),
                                                      ("world_traits", "probe", "probe.safetensors")])
def test_without_a_judge_the_error_names_a_command_that_makes_one(folder, tiny_voice_model, tmp_path, monkeypatch,
                                                                   metric, task, file):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "the world.zip"  # a name that has to be quoted
    data.symlink_to(folder / "world.zip")
    asked = [f"--network={tiny_voice_model}", f"--data={data}", f"--metrics={metric}", "--device=cpu", "--limit=8"]
    refused = CliRunner().invoke(calc_metrics.main, asked)
    assert refused.exit_code == 2 and refused.output.startswith("Error: "), refused.output
    words = shlex.split(re.search(r"python (train\.py .*? --outdir runs)", refused.output)[1])
    assert words[:3] == ["train.py", "--task", task]
    trained = CliRunner().invoke(train.main, [*words[1:], "--steps=2", "--device=cpu"])  # two steps of its minutes
    assert trained.exit_code == 0, trained.output
    (judge,) = (tmp_path / "runs").glob(f"*/{file}")
    judged = CliRunner().invoke(calc_metrics.main, [*asked, f"--judge={judge}", "--split=train"])
    assert judged.exit_code == 0, judged.output


def bench_of(folder, network, *, judge="judge", model=None, split="test", **options):
    settings = MeasureSettings(verbose=False, rounds=40, batch=16, num=3000, split=split,
                               options={"recogniser": str(folder / f"{judge}.safetensors"), **options},
                               work_dir=str(folder / "work"))
    return Bench(model=model or load(network, device="cpu"), network_path=network, fakes=None,
                 data=str(folder / "world.zip"), settings=settings, device="cpu")


@pytest.fixture(scope="module")
def bench(folder, tiny_voice_model):
    return bench_of(folder, tiny_voice_model)


@pytest.fixture(scope="module")
def deaf(folder, tiny_voice_model):
    """A bench whose model draws the mean face for every voice, over the 80 training people."""
    model = load(tiny_voice_model, device="cpu")
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.zero_()
    return bench_of(folder, tiny_voice_model, model=model, split="train", clips_per="1")


def numbers(outcome):
    return {result.name: result for result in outcome.results}


ROWS = [name for name in VOICE_METRICS if name not in ("pair_list", "world_traits")]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_gives_results_a_table_and_its_protocol(bench, name):
    outcome = VOICE_METRICS[name].measure(bench)
    names = [result.name for result in outcome.results]
    assert names and len(names) == len(set(names)) and all(np.isfinite(r.value) for r in outcome.results)
    assert all(result.n > 0 and result.judge for result in outcome.results)
    assert outcome.table.startswith("|") and outcome.protocol["people"] == 10 and outcome.protocol["clips"] == 20
    assert len(outcome.protocol["judge_sha256"]) == 64 and len(outcome.protocol["data_sha256"]) == 64
    json.dumps(outcome.protocol)
    for picture in outcome.pictures.values():
        pixels = picture()
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 5


def test_the_ladder_is_printed_once_for_every_run(folder, tiny_voice_model):
    bench = bench_of(folder, tiny_voice_model, clips_per="1")
    first, second = (VOICE_METRICS[name].measure(bench).table for name in ("feature_similarity", "verification"))
    assert "**MODEL**" in first and "gender oracle" in first and "**MODEL**" not in second


def test_what_is_heard_is_drawn_once_for_all_rows(bench):
    assert evidence_of(bench) is evidence_of(bench)


@pytest.mark.parametrize("name", ["matching", "verification", "retrieval", "ladder"])
def test_a_model_that_ignores_its_voice_scores_chance(deaf, name):
    found = numbers(VOICE_METRICS[name].measure(deaf))
    levels = {"matching_v2f_all": 0.5, "matching_f2v_all": 0.5, "matching_v2f_gender": 0.5, "matching_v2f_age": 0.5,
              "matching_v2f_all_10way": 0.1, "verification_all_auc": 0.5, "verification_all_eer": 0.5,
              "verification_gender_auc": 0.5, "retrieval_v2f_r1": 1 / 80, "retrieval_v2f_r10": 10 / 80,
              "retrieval_f2v_r10": 10 / 80, "ladder_model_match_all": 0.5, "ladder_model_auc_same_gender": 0.5}
    known = [key for key in levels if key in found]
    assert known
    for key in known:
        assert found[key].value == pytest.approx(levels[key], abs=0.035), key
        assert found[key].low is None or found[key].low <= levels[key] <= found[key].high, key


def test_a_model_that_ignores_its_voice_has_no_consistency_ratio(deaf):
    with pytest.raises(ValueError, match="two clips of one of them"):
        VOICE_METRICS["consistency"].measure(deaf)


def test_the_ladder_has_its_rungs_in_order(bench):
    evidence = evidence_of(bench)
    names = [rung.name for rung in build_rungs(evidence, bench.dataset)]
    assert names == ["gender oracle", "age oracle", "gender and age oracle", "mean face of the generator",
                     "mean training face, same gender", "mean training face, same gender and age",
                     "nearest training face", "MODEL", "MODEL, shuffled voices", "another photograph", "ideal listener"]
    found = numbers(VOICE_METRICS["ladder"].measure(bench))
    assert found["ladder_ideal_listener_match_all"].value > 0.9  # he reads the truth, whatever the judge
    assert found["ladder_gender_oracle_match_same_gender"].value == 0.5
    still, moved = (found[f"ladder_model{ending}_frechet"].value for ending in ("", "_shuffled_voices"))
    assert still > 0 and moved == pytest.approx(still, rel=1e-6)  # what looks at pictures cannot hear


def test_a_speaker_recogniser_adds_the_face_of_the_nearest_voice(folder, tiny_voice_model, tmp_path):
    from test_metrics_speaker_id import write_onnx

    speaker = write_onnx(tmp_path / "speaker.onnx", ["N", "S"])
    outcome = VOICE_METRICS["ladder"].measure(bench_of(folder, tiny_voice_model, clips_per="1", speaker=str(speaker)))
    assert "face of the nearest training voice" in outcome.table
    assert outcome.protocol["speaker_judge"].startswith("speaker.onnx ")


def test_shuffling_moves_owners_and_no_picture(bench):
    evidence = evidence_of(bench)
    rows = shuffled_rows(evidence.clip_people, 4)
    assert sorted(rows.tolist()) == list(range(20))  # every clip once, so that FID cannot move
    theirs = evidence.clip_people[rows]
    assert all(len(set(theirs[evidence.clip_people == person])) == 1 for person in evidence.own_people)
    dealt = deal(evidence.clip_rows, 4)
    assert [row["path"] for row in dealt] == [row["path"] for row in evidence.clip_rows]
    assert {row["person"] for row in dealt} == set(evidence.own_people.tolist())


def test_the_ceiling_is_a_photograph_that_is_no_candidate(bench):
    evidence = evidence_of(bench)
    assert len(evidence.faces) == 10 and len(evidence.second) == 10
    faces = [{"person": p} for p in "aab"]
    assert hold_back(faces, None) == ([0, 2], [1])


def test_groups_of_a_dataset(folder):
    dataset = Dataset(folder / "world.zip")
    people = [row["person"] for row in dataset.people()]
    groups = known_groups(dataset, people)
    assert list(groups) == ["gender", "age", "gender+age"] and set(groups["gender"].values()) == {"m", "f"}
    assert set(groups["age"].values()) <= {f"{decade}s" for decade in range(10, 90, 10)}
    assert strictest(groups) == "gender+age" and title_of("gender+age+nationality") == "gender, age and nationality"
    rows = [{"person": 1, "gender": "f", "nationality": "UK", "age": 34}, {"person": 2, "gender": "m", "age": "41"},
            {"person": 3, "nationality": "USA", "gender": "f", "age": None}]
    fake = type("Fake", (), {"people": lambda self: rows})()
    groups = known_groups(fake, [1, 2, 3, 4])
    assert groups["age"] == {1: "30s", 2: "40s", 3: None, 4: None}
    assert groups["gender+nationality"] == {1: "f UK", 2: None, 3: "f USA", 4: None}


def test_the_judge_that_trained_the_model_may_not_judge_it(folder, tiny_voice_model):
    model = load(tiny_voice_model, device="cpu")
    sha256 = evidence_sha(folder)
    model.card = dataclasses.replace(model.card, source={"voice": {"recogniser": {"sha256": sha256}}})
    with pytest.raises(ValueError, match="trained this model .its card names sha256"):
        evidence_of(bench_of(folder, tiny_voice_model, model=model))
    allowed = evidence_of(bench_of(folder, tiny_voice_model, model=model, allow_training_judge="1"))
    assert "NOT INDEPENDENT" in allowed.protocol["notes"][0]
    assert trained_by({"a": [{"b": {"x": 1, "y": [2]}}]}, None, {"x": 1, "y": (2,)})
    assert not trained_by({"a": 1}, None, {}) and check_independence(None, "x", "n") == []


def evidence_sha(folder):
    from dnnlib.files import sha256_file

    return sha256_file(folder / "judge.safetensors")


def test_a_trait_probe_can_stand_in_for_a_recogniser(folder, tiny_voice_model):
    bench = bench_of(folder, tiny_voice_model, judge="probe")
    outcome = VOICE_METRICS["matching"].measure(bench)
    assert outcome.results[0].judge.startswith("traits of probe.safetensors")
    with pytest.raises(ValueError, match="needs a judge that knows people"):
        VOICE_METRICS["vggface_score"].measure(bench)


def test_a_stopped_pass_goes_on(folder, tiny_voice_model, monkeypatch):
    whole = evidence_of(bench_of(folder, tiny_voice_model, clips_per="2"))
    monkeypatch.setattr(voice_evidence, "SAVE_EVERY_S", 0.0)
    calls, original = [], voice_evidence.listen

    def stops(model, wave):
        calls.append(1)
        if len(calls) == 18:  # after the first batch of 16
            raise KeyboardInterrupt
        return original(model, wave)

    monkeypatch.setattr(voice_evidence, "listen", stops)
    with pytest.raises(KeyboardInterrupt):
        evidence_of(bench_of(folder, tiny_voice_model, clips_per="2"))
    calls.clear()
    again = evidence_of(bench_of(folder, tiny_voice_model, clips_per="2"))
    assert len(calls) == 4 and np.array_equal(again.drawn, whole.drawn) and np.array_equal(again.codes, whole.codes)


def test_public_lists_of_this_dataset(folder, tiny_voice_model, tmp_path, bench):
    evidence = evidence_of(bench)
    clips, faces = evidence.clip_rows, evidence.face_rows
    lines, pairs = [], ["id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"]
    for number, clip in enumerate(clips):
        own = next(row for row in faces if row["person"] == clip["person"])
        other = faces[(number + 5) % len(faces)]
        other = other if other["person"] != clip["person"] else faces[(number + 6) % len(faces)]
        lines.append(f"{clip['path']} {own['path']} {other['path']}")
        pairs += [f"{number},{clip['person']},{row['person']},{label},{clip['path']},{row['path']}"
                  for row, label in ((own, 1), (other, 0))]
    (tmp_path / "matching_v2f_U.csv").write_text("\n".join([*lines, "no/body/1.wav no/body/1.jpg no/one/2.jpg"]))
    (tmp_path / "veriflist.txt").write_text("\n".join(pairs))
    for name, key in (("matching_v2f_U.csv", "list_model"), ("veriflist.txt", "list_model_auc")):
        outcome = VOICE_METRICS["pair_list"].measure(bench_of(folder, tiny_voice_model, pair_list=str(tmp_path / name)))
        assert key in numbers(outcome) and f"list_another_photograph{key[10:]}" in numbers(outcome)
    assert outcome.protocol["trials"] == 40
    (tmp_path / "foreign.csv").write_text("a/b/1.wav a/b/1.jpg c/d/1.jpg\n")
    with pytest.raises(ValueError, match="not one trial of .* is in the data"):
        VOICE_METRICS["pair_list"].measure(bench_of(folder, tiny_voice_model, pair_list=str(tmp_path / "foreign.csv")))


def test_people_whom_the_model_was_trained_on_are_no_test(folder, tiny_voice_model, tmp_path):
    model = load(tiny_voice_model, device="cpu")
    assert not trained_here(model, Dataset(folder / "world.zip"))
    model.card = dataclasses.replace(model.card, source={"voice": {"data": Dataset(folder / "world.zip").card}})
    options = {"model": model, "clips_per": "1", "pair_list": str(tmp_path / "list.csv")}
    with pytest.raises(ValueError, match="was trained on the people of the split train"):
        VOICE_METRICS["pair_list"].measure(bench_of(folder, tiny_voice_model, split="train", **options))
    for split, wanted in (("train", True), ("test", False)):
        notes = evidence_of(bench_of(folder, tiny_voice_model, split=split, **options)).protocol["notes"]
        assert any("its numbers say nothing about others" in note for note in notes) == wanted


@pytest.mark.parametrize("options, message", [
    ({"recogniser": "nowhere.onnx"}, "no such recogniser"), ({"recogniser": None}, "need a face recogniser"),
    ({"clips_per": "many"}, 'clips-per is "many"'), ({"allow_training_judge": "perhaps"}, "0 and 1 are allowed")])
def test_bad_wishes(folder, tiny_voice_model, options, message):
    with pytest.raises(ValueError, match=message):
        evidence_of(bench_of(folder, tiny_voice_model, **options))


def test_cheeks_are_looked_at_where_they_are():
    images = torch.full((2, 3, 64, 64), -1.0)
    images[1, :, 36:42, 20:44] = 1.0
    assert cheek_brightness(images).tolist() == pytest.approx([0, 1], abs=0.2)


def test_the_section_of_a_model_card_is_replaced_and_nothing_else(folder, tiny_voice_model, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text("# Card\n\nWords before.\n\n## Limits\n\nWords after.\n")
    bench = bench_of(folder, tiny_voice_model, update_card=str(card), split="train", clips_per="1")
    outcome = VOICE_METRICS["fairness"].measure(bench)
    first = card.read_text()
    assert first.startswith("# Card\n\nWords before.\n\n## Limits\n\nWords after.\n") and first.count(BEGIN) == 1
    assert "| matching" in first and "at most 5%" in first and "undecided" in outcome.table or "met" in outcome.table
    assert outcome.protocol["verdicts"]["matching_gender"] in ("met", "not met", "undecided")
    VOICE_METRICS["fairness"].measure(bench)
    assert card.read_text() == first  # the same report changes nothing
    update_card(card, "| other |", {"n": 3, "judge_sha256": "a" * 64})
    second = card.read_text()
    assert "| other |" in second and "| matching" not in second and "aaaaaaaaaaaa…" in second
    assert with_section(f"a\n{BEGIN}\nold \\1\n{END}\nb", "new \\1") == f"a\n{BEGIN}\n\nnew \\1\n\n{END}\nb"


@pytest.mark.parametrize("text, message", [(f"a {BEGIN}", "1 begin and 0 end"), (f"{END} {BEGIN}", "wrong order"),
                                           (None, "no model card"), (b"\xff\xfe", "not text")])
def test_cards_that_cannot_take_the_section(tmp_path, text, message):
    path = tmp_path / "CARD.md"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        update_card(path, "| t |", {})
