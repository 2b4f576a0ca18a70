"""Plots of a benchmark's rows: cost against resolution, batch and clip length."""

AXES = {"resolution": ("infer", "batch", "pixels on a side", "milliseconds a picture"),
        "batch": ("infer", "resolution", "pictures in a batch", "milliseconds a picture"),
        "clip_s": ("audio", "batch", "seconds of a clip", "milliseconds a clip")}


def write_plots(results, stem):
    """Writes <stem>-resolution.png, -batch.png, -clip_s.png where the rows hold two or more points; returns paths."""
    paths = []
    for key, (suite, fixed, x_title, y_title) in AXES.items():
        lines = _lines(results, suite, key, fixed)
        if lines:
            paths.append(stem.with_name(f"{stem.name}-{key}.png"))
            _draw(lines, paths[-1], x_title, y_title)
    return paths


def _lines(results, suite, key, fixed):
    """Returns name -> [(x, milliseconds)] of contestants with two or more points."""
    points = {}
    rows = [row for row in results if row.get("suite") == suite and key in row and fixed in row]
    if not rows:
        return {}
    reach = {value: len({row[key] for row in rows if row[fixed] == value}) for value in {row[fixed] for row in rows}}
    usual = 1 if fixed == "batch" else max(reach, key=reach.get)  # the value of the other axis with the longest line
    for row in rows:
        if row[fixed] != usual:
            continue
        share = row.get("batch", 1)
        points.setdefault(row.get("contestant", "ours"), {})[row[key]] = 1000 * row["ours_s"] / share
        points.setdefault(row["reference"], {})[row[key]] = 1000 * row["reference_s"] / share
    return {name: sorted(line.items()) for name, line in points.items() if len(line) > 1}


def _draw(lines, path, x_title, y_title):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    from dnnlib.files import atomic_path

    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=120, layout="constrained")
    for name, line in lines.items():
        axes.plot(*zip(*line), marker="o", label=name)
    ticks = sorted({x for line in lines.values() for x, _ in line})
    axes.set(xscale="log", yscale="log", xlabel=x_title, ylabel=y_title)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))  # two numbers at least, however short the axis
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    pyplot.close(figure)
