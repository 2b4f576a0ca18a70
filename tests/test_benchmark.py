"""The benchmark: contestants answer, rows and plots hold what was measured; the opponent is in test_equality.py."""

import dataclasses
import importlib.util
import json
import pathlib
import re

import pytest
import torch
from click.testing import CliRunner

import benchmark
from benchmarks import plots
from benchmarks.contestant import Contestant, Spec, networks, runner
from benchmarks.iteration import Iteration
from benchmarks.measuring import interleaved, race, row
from benchmarks.suites.infer import flop
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

CHANNELS = (8, 8, 6, 4)
SMALL = Spec("small", "ours", resolution=16, channel_base=64, channel_max=8, batch=2)


def build():
    torch.manual_seed(0)
    G = Generator(GeneratorSettings(img_resolution=32, channels=CHANNELS, z_dim=8, w_dim=8, mapping_layers=2))
    D = Discriminator(DiscriminatorSettings(img_resolution=32, channels=CHANNELS))
    for name, parameter in G.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            parameter.data += 0.2 * torch.randn(parameter.shape)
    return G, D


def test_an_iteration_measures_all_four_phases_and_moves_the_weights():
    G, D = build()
    before = [p.clone() for p in (*G.parameters(), *D.parameters())]
    iteration = Iteration(G, D, mapping=G.mapping, synthesis=lambda ws: G.synthesis(ws, noise_mode="random"), score=D,
                          batch=4)
    same = iteration.period(step=False)["gradient"], iteration.period(step=False)["gradient"]
    assert torch.equal(*same)
    assert all(torch.equal(a, b) for a, b in zip(before, (*G.parameters(), *D.parameters())))
    found = iteration.period()
    assert set(found["phases"]) == {"G", "path", "D", "R1"} and found["seconds"] > 0
    assert sum(not torch.equal(a, b) for a, b in zip(before, (*G.parameters(), *D.parameters()))) > 20


def test_contestants_in_processes_of_their_own_agree_and_answer():
    specs = [dataclasses.replace(SMALL, name="published", kind="ref", allocator=False), SMALL]
    seconds, facts = race(specs, 2, limit={"fp32": 1e-4})
    assert {name: len(values) for name, values in seconds.items()} == {"published": 2, "small": 2}
    assert facts["published"]["deviation"] == 0 < facts["small"]["peak_beyond_torch_gb"] < facts["small"]["peak_gb"]


def test_a_contestant_that_computes_something_else_stops_the_race():
    other = dataclasses.replace(SMALL, channel_base=128, channel_max=12)
    with pytest.raises(RuntimeError, match="small deviates from published .* nothing was timed"):
        race([dataclasses.replace(SMALL, name="published", kind="ref"), other], 1, limit={"fp32": 1e-4})


def test_a_contestant_that_dies_says_why():
    with pytest.raises(RuntimeError, match="(?s)odd ended: .*img_resolution is 12"):
        Contestant(dataclasses.replace(SMALL, name="odd", resolution=12))


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    from benchmarks.contestant import export

    path = tmp_path_factory.mktemp("graph") / "small.onnx"
    export(SMALL, path)
    return str(path)


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_rivals_draw_the_same_pictures(kind, graph):
    pytest.importorskip(kind)
    rival = dataclasses.replace(SMALL, name=kind, kind=kind, onnx=graph)
    with torch.inference_mode():
        torch.testing.assert_close(torch.as_tensor(runner(rival)()), runner(SMALL)(), rtol=0, atol=1e-4)


def test_both_tasks_have_the_same_weights():
    first, second = networks(SMALL)[0], networks(dataclasses.replace(SMALL, task="train"))[0]
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_arithmetic_is_that_of_the_published_sizes():
    from voice2style.generators.stylegan2 import channel_table

    assert round(flop(1024, channel_table(1024)) / 1e9) == 151
    assert round(flop(256, channel_table(256, 16384)) / 1e9) == 30
    assert round(flop(256, channel_table(256)) / 1e9) == 91


def test_contestants_take_turns():
    order = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3 and {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    result = row("work", {"ours": [1.0, 3.0, 2.0], "theirs": [8.0, 6.0, 4.0]}, "ours", "theirs", None)
    assert (result["ratio"], result["ours_range_s"], result["rounds"]) == (3.0, [1.0, 3.0], 3)


def test_plots_of_cost(tmp_path, monkeypatch):
    rows = [{"suite": "infer", "contestant": name, "resolution": r, "batch": 1, "ours_s": r * k, "reference_s": r,
             "reference": "published"} for name, k in (("fp32", 0.2), ("bf16", 0.1)) for r in (64, 128, 256)]
    lines, batch = plots._lines(rows, "infer", "resolution", "batch")
    assert batch == 1
    assert lines["bf16"] == [(64, 6400.0), (128, 12800.0), (256, 25600.0)] and lines["published"][0] == (64, 64000.0)
    facts, titles = {"cpu": "Abacus", "threads": 2, "torch": "2.0", "date": "2026-01-02"}, []
    draw = plots._draw
    monkeypatch.setattr(plots, "_draw", lambda *given: titles.append(given[-1]) or draw(*given))
    assert [path.name for path in plots.write_plots(rows, tmp_path / "run", facts)] == ["run-resolution.png"]
    assert titles == ["Drawing pictures of given codes, 1 at a time\nAbacus, 2 threads, PyTorch 2.0, 2026-01-02"]
    assert (tmp_path / "run-resolution.png").read_bytes()[:4] == b"\x89PNG"
    assert plots.write_plots([], tmp_path / "run", facts) == []


def test_the_door(tmp_path, monkeypatch):
    made = [{"work": "w", "ours_s": 1.0, "reference": "r", "reference_s": 2.0, "ratio": 2.0, "target": None}]
    monkeypatch.setattr(benchmark, "results_of", lambda name, wishes: [{"suite": name, **made[0]}])
    path = tmp_path / "out.json"
    result = CliRunner().invoke(benchmark.main, ["--suite", "ops,audio", "--rounds", "2", "--out", str(path)])
    assert result.exit_code == 0, result.output
    found = json.loads(path.read_text())
    assert [row["suite"] for row in found["results"]] == ["ops", "audio"] and found["rounds"] == 2
    assert "reference / ours" in (tmp_path / "out.md").read_text()


@pytest.mark.parametrize(("options", "message"), [
    (["--suite=speed"], '"speed" is not known; allowed: start, infer'),
    (["--suite=infer", "--against=tpu"], '"tpu" is not known; allowed: ref, onnxruntime'),
    (["--suite=infer", "--against=openvino,ref"], "--against openvino needs openvino.*, not installed here: pip"),
    (["--suite=ops", "--against=compile"], "--against compile is an opponent of infer, and --suite is ops"),
    (["--suite=ops", "--out=table.md"], '--out "table.md": give a file whose name ends in .json'),
    (["--suite=ops", "--out={}/file/x.json"], "--out .*file/x.json. cannot be written [(]Not a directory"),
    *(([f"--suite={name}", "--rounds=0"], "0 is not in the range") for name in benchmark.SUITES),
    *(([f"--suite={name}", "--speed=3"], "No such option '--speed'") for name in benchmark.SUITES)])
def test_bad_wishes_are_one_sentence_before_anything_is_measured(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(benchmark, "results_of", lambda name, wishes: pytest.fail("measured"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *more: None if name == "openvino" else find(name, *more))
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(benchmark.main, [option.format(tmp_path) for option in options])
    assert result.exit_code == 2 and re.search(message, " ".join(result.output.split())), result.output


def test_every_option_and_suite_is_in_the_help():
    text = " ".join(CliRunner().invoke(benchmark.main, ["--help"]).output.split())
    assert all(option in text for parameter in benchmark.main.params for option in parameter.opts)
    assert all(name in text for name in (*benchmark.RIVALS, *benchmark.SUITES))
    for name in benchmark.SUITES:
        path = pathlib.Path(benchmark.__file__).parent / "benchmarks" / "suites" / f"{name}.py"
        assert f"def suite_{name}(" in path.read_text()
