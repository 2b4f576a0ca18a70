"""Statistics of a run folder read again, and drawn as curves: losses, p, metrics."""

import json
import pathlib

import numpy as np

from dnnlib.files import atomic_path
from metrics.result import yardstick
from training.snapshot_names import kimg_of

_PANELS = (
    ("losses", ("Loss/G/loss", "Loss/D/loss", "Loss/voice/all")),
    ("D's answers", ("Loss/scores/real", "Loss/scores/fake", "Loss/signs/real")),
    ("regularisers", ("Loss/r1_penalty", "Loss/pl_penalty", "Loss/pl_length")),
    ("identity classifier, share right", ("Loss/accuracy/real", "Loss/accuracy/fake")),
    ("augmentation p", ("Progress/augment",)),
)


def read_stats(path):
    """Returns the lines of a stats.jsonl that count, in order of kimg.

    A run that was killed does the work after its last state again: what a line with "Progress/resumed" overtakes is
    left out, and so is a line that is not whole.
    """
    lines = []
    path = pathlib.Path(path)
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "Progress/resumed" in line:
            start = line["Progress/resumed"]["mean"]
            lines = [kept for kept in lines if kept["Progress/kimg"]["mean"] <= start + 1e-9]
        lines.append(line)
    return lines


def read_metrics(folder, like=None, *, metric="*", others=False):
    """Returns {result name: [(kimg, value), …]} of the metric-*.jsonl files; the last line of a snapshot counts.

    Only of lines that compare, by judge, n and mode, with the one of their metric in `like` {metric: line}, or without
    it with the newest one. `others`: of those that do not.
    """
    found = {}
    for path in sorted(pathlib.Path(folder).glob(f"metric-{metric}.jsonl")):
        lines = _snapshot_lines(path)
        wanted = yardstick((like or {}).get(path.stem.removeprefix("metric-")) or (lines[-1][1] if lines else {}))
        for kimg, line in lines:
            for name, value in line.get("results", {}).items():
                if isinstance(value, (int, float)) and (yardstick(line) == wanted) is not others:
                    found.setdefault(name, {})[kimg] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def _snapshot_lines(path):  # -> [(kimg, line), …]
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        kimg = kimg_of(line.get("snapshot_pkl") or "")
        if kimg is not None:
            found.append((kimg, line))
    return found


def draw_curves(folder, like=None):
    """Writes curves.png from stats.jsonl and read_metrics(folder, like); returns its path, None without anything."""
    folder = pathlib.Path(folder)
    lines, metrics = read_stats(folder / "stats.jsonl"), read_metrics(folder, like)
    terms = sorted({name for line in lines for name in line if name.startswith(("Loss/term/", "Loss/voice/"))}
                   - {"Loss/voice/all"})
    panels = []
    for title, names in (*_PANELS, ("terms, without their weights", terms)):
        kept = [name for name in names if any(name in line for line in lines)]
        flat = title == "augmentation p" and not any(line[names[0]]["mean"] for line in lines if names[0] in line)
        if kept and not flat:
            panels.append((title, kept))
    if not lines or not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(panels) + len(metrics)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (title, names) in zip(axes, panels):
        for name in names:
            points = [(line["Progress/kimg"]["mean"], line[name]["mean"], line[name]["std"]) for line in lines
                      if name in line]
            kimg, mean, std = np.array(points).T
            axis.plot(kimg, mean, label=name, marker="." if len(kimg) < 30 else None)
            axis.fill_between(kimg, mean - std, mean + std, alpha=0.15)
        axis.set_title(title)
        axis.legend(fontsize="small")
    for axis, (name, points) in zip(axes[len(panels):], metrics.items()):
        axis.plot(*np.array(points).T, marker="o", color="black")
        axis.set_title(name)
    for axis in axes[:count]:
        axis.set_xlabel("kimg")
        axis.grid(alpha=0.3)
    for axis in axes[count:]:
        axis.remove()
    with atomic_path(folder / "curves.png") as temporary:
        figure.savefig(temporary, dpi=80)
    return folder / "curves.png"
