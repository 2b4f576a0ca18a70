"""Metrics of a snapshot during a run: the same numbers as calc_metrics.py gives, one jsonl line each."""


def metric_names(text):
    """Returns the names of --metrics=a,b as a tuple; none, None or nothing is the empty one. ValueError: unknown."""
    from dnnlib.settings import did_you_mean
    from training.metrics_table import METRICS

    names = tuple(name.strip() for name in (text or "").split(",") if name.strip() and name.strip().lower() != "none")
    for name in names:
        if name not in METRICS:
            raise ValueError(f'no metric "{name}".{did_you_mean(name, METRICS)} Known: {", ".join(METRICS)}.')
    return names


def measure_snapshot(names, path, data, *, device, mirror=False, options=None, faces_from="seeds"):
    """Returns {metric: jsonl line} of a snapshot."""
    from training.measuring import MeasureSettings, measure

    settings = MeasureSettings(mirror=mirror, options=options or {}, faces_from=faces_from)
    found = measure(list(names), network=str(path), data=str(data), settings=settings, device=str(device))
    return {one.metric: {**one.line(), "snapshot_pkl": path.name} for one in found}
