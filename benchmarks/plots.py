"""Plots of a benchmark's rows: cost against resolution, batch and clip length."""

import textwrap

AXES = {"resolution": ("infer", "batch", "pixels on a side", "milliseconds a picture",
                       "Drawing pictures of given codes, {} at a time"),
        "batch": ("infer", "resolution", "pictures in a batch", "milliseconds a picture",
                  "Drawing pictures of given codes, {0}x{0}"),
        "clip_s": ("audio", "batch", "seconds of a clip", "milliseconds a clip",
                   "MFCC with first and second differences, {} clip at a time")}


def write_plots(results, stem, facts):
    """Writes <stem>-resolution.png, -batch.png, -clip_s.png where the rows hold two or more points; returns paths.

    facts: `measuring.machine()`, of which processor, threads, PyTorch and date stand in the title.
    """
    paths = []
    where = (f"{facts['cpu']}, {facts['threads']} thread{'s' if facts['threads'] > 1 else ''}, "
             f"PyTorch {facts['torch']}, {facts['date']}")
    for key, (suite, fixed, x_title, y_title, what) in AXES.items():
        lines, usual = _lines(results, suite, key, fixed)
        if lines:
            paths.append(stem.with_name(f"{stem.name}-{key}.png"))
            _draw(lines, paths[-1], x_title, y_title, f"{what.format(usual)}\n{textwrap.fill(where, 80)}")
    return paths


def _lines(results, suite, key, fixed):
    """Returns name -> [(x, milliseconds)] of contestants with two or more points, and the value of the other axis."""
    points = {}
    rows = [row for row in results if row.get("suite") == suite and key in row and fixed in row]
    if not rows:
        return {}, None
    reach = {value: len({row[key] for row in rows if row[fixed] == value}) for value in {row[fixed] for row in rows}}
    usual = 1 if fixed == "batch" else max(reach, key=reach.get)  # the value of the other axis with the longest line
    for row in rows:
        if row[fixed] != usual:
            continue
        share = row.get("batch", 1)
        points.setdefault(row.get("contestant", "ours"), {})[row[key]] = 1000 * row["ours_s"] / share
        points.setdefault(row["reference"], {})[row[key]] = 1000 * row["reference_s"] / share
    return {name: sorted(line.items()) for name, line in points.items() if len(line) > 1}, usual


def _draw(lines, path, x_title, y_title, title):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    from dnnlib.files import atomic_path

    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=120, layout="constrained")
    for name, line in lines.items():
        axes.plot(*zip(*line), marker="o", label=name)
    ticks = sorted({x for line in lines.values() for x, _ in line})
    axes.set(xscale="log", yscale="log", xlabel=x_title, ylabel=y_title)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))  # two numbers at least, however short the axis
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")  # beside the lines, none of which it may hide
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    pyplot.close(figure)
