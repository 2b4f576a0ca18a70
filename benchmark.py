"""Measures speed and memory as ratios within one run, against the published recipe and the rivals installed here."""

import importlib.util
import inspect
import json
import pathlib

import click

from benchmarks.measuring import Wishes, machine
from dnnlib.command_line import Door
from dnnlib.console import say, table
from dnnlib.files import atomic_path, check_writable

SUITES = ("start", "infer", "train", "ops", "audio", "load", "data", "metrics", "long", "world")
RIVALS = ("ref", "onnxruntime", "openvino", "compile", "librosa")
NEEDS = {"onnxruntime": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}
EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino,onnx"}


class Names(click.ParamType):
    """A list of names out of those allowed: infer,train or all."""

    name = "names"

    def __init__(self, allowed):
        self.allowed = allowed

    def convert(self, value, param, ctx):
        names = tuple(value) if isinstance(value, (list, tuple)) else tuple(str(value).split(","))
        names = self.allowed if names == ("all",) else tuple(name.strip() for name in names)
        unknown = [name for name in names if name not in self.allowed]
        if unknown:
            self.fail(f'"{unknown[0]}" is not known; allowed: {", ".join(self.allowed)}, all.', param, ctx)
        return names


def results_of(name, wishes):
    """Returns the rows of one suite; none, with a line, where this copy has no such suite."""
    try:
        module = importlib.import_module(f"benchmarks.suites.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"benchmarks.suites.{name}":
            raise
        say(f"{name}: there is no benchmarks/suites/{name}.py in this copy; left out.")
        return []
    suite = getattr(module, f"suite_{name}")
    say(f"{name}: {suite.__doc__.strip().splitlines()[0]}")
    more = {"wishes": wishes} if "wishes" in inspect.signature(suite).parameters else {}
    return [{"suite": name, **result} for result in suite(wishes.rounds, **more)]


def table_of(results):
    """Returns the rows as a Markdown table."""
    heads = ["work", "ours", "reference", "reference time", "reference / ours", "by processor time",
             "both with allocator", "target", "met", "peak (reference)", "GFLOP/s or GB/s (share of best)"]
    return table([_cells(item) for item in results], heads)


def _cells(item):
    both = item.get("ratio_both_with_allocator")
    peak = f"{item['peak_gb']:.2f} GB" if "peak_gb" in item else ""
    peak += f" ({item['reference_peak_gb']:.2f})" if "reference_peak_gb" in item else ""
    rate = ""
    if "gflops" in item:
        rate = f"{item['gflops']:.0f} ({100 * item['share_of_best_convolution']:.0f} %)"
    elif "gbytes_per_s" in item:
        rate = f"{item['gbytes_per_s']:.1f} ({100 * item['share_of_copy']:.0f} %)"
    return (item["work"], f"{item['ours_s']:.4g} s", item["reference"], f"{item['reference_s']:.4g} s",
            f"{item['ratio']:.2f}", f"{item['ratio_cpu']:.2f}" if "ratio_cpu" in item else "",
            f"{both:.2f}" if both else "", item.get("target") or "",
            {True: "yes", False: "NO"}.get(item.get("met"), ""), peak, rate)


@click.command(cls=Door)
@click.option("--suite", type=Names(SUITES), default="all", show_default=True,
              help=f"One or several of {', '.join(SUITES)}, a comma between.")
@click.option("--against", type=Names(RIVALS), default="ref", show_default=True,
              help="Opponents of infer beside ref, the published recipe: onnxruntime, openvino, compile; all: those "
                   "that are installed. The opponent of audio is librosa.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Measured rounds of each.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every contestant.  [default: the free cores]")
@click.option("--sweep", is_flag=True, help="More sizes, for the plots of cost against resolution, batch and length.")
@click.option("--out", "--dest", "out", metavar="FILE.json",
              help="Write results as JSON, a Markdown table (.md) and plots (.png) beside it.")
def main(suite, against, rounds, threads, sweep, out):
    """Measure speed and memory on this machine; ratios are taken within the run, contestants take turns (A B A B)."""
    _check(suite, against, out)
    from torch_utils.process import prepare_process

    _, cores = prepare_process()  # as the doors do it; contestants of infer and train have settings of their own
    wishes = Wishes(rounds=rounds, threads=threads or cores, against=against, sweep=sweep)
    facts = machine(wishes.threads)
    say("  ".join(f"{name}: {value}" for name, value in facts.items() if value is not None))
    results = []
    for name in suite:
        results += results_of(name, wishes)
        if out:  # kept after every suite: a long run that is cut short leaves what it had
            _write(pathlib.Path(out), facts, wishes, results)
    say(table_of(results))
    if out:
        say(f"Written to {out}")


def _check(suite, against, out):
    """Raises a usage error for what could not be met in the end, before anything is measured."""
    rivals = [name for name in against if name not in ("ref", "librosa")]
    if against != RIVALS and rivals:
        if "infer" not in suite:
            raise click.UsageError(f"--against {rivals[0]} is an opponent of infer, and --suite is {','.join(suite)}; "
                                   "add infer, or leave --against out.")
        for name in rivals:
            if absent := [part for part in NEEDS.get(name, ()) if importlib.util.find_spec(part) is None]:
                raise click.UsageError(f"--against {name} needs {' and '.join(absent)}, not installed here: "
                                       f'pip install "voice2style[{EXTRAS[name]}]", or leave it out.')
    if out:
        path = pathlib.Path(out)
        if path.suffix != ".json" or path.is_dir():
            raise click.UsageError(f'--out "{out}": give a file whose name ends in .json; its table and plots '
                                   "lie beside it.")
        check_writable(path, option="--out")


def _write(out, facts, wishes, results):
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps({"machine": facts, "rounds": wishes.rounds, "results": results}, indent=2))
    with atomic_path(out.with_suffix(".md")) as temporary:
        line = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        temporary.write_text(f"{line}\n\n{table_of(results)}\n")
    from benchmarks.plots import write_plots

    write_plots(results, out.with_suffix(""), facts)


if __name__ == "__main__":
    main()
