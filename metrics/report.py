"""A report of measured numbers: a Markdown page with its table, and plots as PNG files beside it."""

import json
import pathlib
import re

import numpy as np

from dnnlib.console import table
from dnnlib.files import atomic_path
from metrics.result import yardstick

_INK, _ACCENT, _GRID = "#333333", "#2a6f97", "#dddddd"


def results_table(results):  # list of Result -> str
    """Returns a Markdown table, one row a Result."""
    rows = [(r.name, f"{r.value:.4g}", "" if r.low is None else f"{r.low:.4g} … {r.high:.4g}", r.n, r.seed, r.judge)
            for r in results]
    return table(rows, ["metric", "value", "95 % interval", "n", "seed", "judge"])


def write_report(folder, sections, *, title, history=()):
    """Writes report.md and its pictures into a folder.

    `sections` are dicts: metric, results (list of Result), protocol, table (str or None), pictures (file name ->
    uint8 [H, W, 3] or a function that returns it). `history` are earlier metric lines of the same run, for curves.
    """
    from torch_utils.images import write_png

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = [result for section in sections for result in section["results"]]
    lines = [f"# {title}", "", results_table(results), "",
             "Numbers of different judges, n or modes do not compare.", ""]
    write_png(folder / "results.png", interval_plot([part["results"][0] for part in sections if part["results"]]))
    lines += ["![results](results.png)", ""]
    for name, curve in curves(history).items():
        write_png(folder / f"history-{name}.png", line_plot(*curve, title=name))
        lines += [f"![{name}](history-{name}.png)", ""]
    for section in sections:
        lines += [f"## {section['metric']}", ""]
        if len(section["results"]) > 1:
            write_png(folder / f"{section['metric']}-results.png", interval_plot(section["results"]))
            lines += [f"![all of {section['metric']}]({section['metric']}-results.png)", ""]
        if section["table"]:
            lines += [section["table"], ""]
        for name, picture in section["pictures"].items():
            write_png(folder / name, picture() if callable(picture) else picture)
            lines += [f"![{name}]({name})", ""]
        lines += [f"* {caution}" for caution in section["protocol"].get("cautions", [])]
        lines += ["", "```json", json.dumps(section["protocol"], indent=2, ensure_ascii=False), "```", ""]
    with atomic_path(folder / "report.md") as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return folder / "report.md"


def curves(history):  # list of metric lines -> name -> (steps, values)
    """Returns the values of every result over the snapshots of a run, where there are two or more.

    Only of lines that compare with the newest one of their metric.
    """
    found, newest = {}, {line.get("metric"): yardstick(line) for line in history}
    for line in history:
        if yardstick(line) != newest[line.get("metric")]:
            continue
        steps = re.findall(r"\d+(?:\.\d+)?", pathlib.PurePath(line.get("snapshot_pkl") or "").stem)
        for name, value in line.get("results", {}).items():
            if steps:
                found.setdefault(name, {})[float(steps[-1])] = value
    return {name: (sorted(points), [points[step] for step in sorted(points)]) for name, points in found.items()
            if len(points) > 1}


def interval_plot(results):  # list of Result -> uint8 [H, W, 3]
    """Returns a picture with one line a Result: its value and interval, each on a scale of its own."""
    figure, axes = _figure(len(results), height=0.62 * len(results) + 0.3)
    for axis, result in zip(axes, results):
        low, high = (result.value, result.value) if result.low is None else (result.low, result.high)
        reach = max(high - low, abs(result.value) * 0.1, 1e-12)
        axis.plot([low, high], [0, 0], color=_ACCENT, linewidth=3, solid_capstyle="butt")
        axis.plot([result.value], [0], "o", color=_ACCENT, markersize=7)
        axis.set_xlim(low - reach * 0.5, high + reach * 0.5)
        axis.set_ylim(-1, 1)
        axis.set_yticks([0], [f"{result.name}  {result.value:.4g}"])
        axis.locator_params(axis="x", nbins=6)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    return _pixels(figure)


def line_plot(steps, values, *, title):  # -> uint8 [H, W, 3]
    """Returns a picture of a metric over the snapshots of a run."""
    figure, (axis,) = _figure(1, height=3.2)
    axis.plot(steps, values, "o-", color=_ACCENT)
    axis.set_title(title, loc="left", color=_INK)
    axis.set_xlabel("snapshot")
    axis.grid(color=_GRID)
    return _pixels(figure)


def histogram(values, *, title, label):  # [N] -> uint8 [H, W, 3]
    """Returns a picture of how values are distributed, from the 0.5th to the 99.5th percentile, and their mean."""
    values = np.asarray(values, np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    inside = values[(values >= low) & (values <= high)]
    figure, (axis,) = _figure(1, height=3.2)
    axis.hist(inside, bins=min(60, max(5, len(inside) // 10)), color=_ACCENT)
    axis.axvline(inside.mean(), color=_INK, linewidth=1, linestyle="--")
    axis.set_title(f"{title}: {len(values)} values, dashed: the mean", loc="left", color=_INK)
    axis.set_xlabel(label)
    axis.set_ylabel("count")
    return _pixels(figure)


def _figure(rows, *, height):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, max(height, 1.2)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, 1)))


def _pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
