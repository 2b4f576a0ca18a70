"""Metrics of a snapshot during a run: the same numbers as calc_metrics.py gives, one jsonl line each."""

_JUDGES = ("inception", "drawn")


def metric_names(text):
    """Returns the names of --metrics=a,b as a tuple; none, None or nothing is the empty one. ValueError: unknown."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip() and name.strip().lower() != "none")
    if names:
        from dnnlib.settings import did_you_mean
        from training.metrics_table import METRICS

        for name in names:
            if name not in METRICS:
                raise ValueError(f'no metric "{name}".{did_you_mean(name, METRICS)} Known: {", ".join(METRICS)}.')
    return names


def measuring_options(options):
    """Returns the fields of MeasureSettings that --judge, --inception, --vgg and --num stand for."""
    judge, found = options["judge"], {name: options[name] for name in ("inception", "vgg", "num") if options[name]}
    if judge in _JUDGES:
        found["judge"] = judge
    elif judge is not None:
        found["options"] = {"probe": judge}
    return found


def measure_snapshot(run, path, data, *, device, warn, mirror=False, faces_from="seeds"):
    """Returns {metric: jsonl line} of a snapshot, by what RunSettings want; every rank must call it.

    A metric that cannot be measured is left out, and `warn(key, line)` hears why.
    """
    from training.measuring import MeasureSettings, measured

    settings = MeasureSettings(mirror=mirror, faces_from=faces_from, **run.measuring)
    found = measured(list(run.metrics), network=str(path), data=str(data), settings=settings, device=str(device),
                     failed=lambda name, error: warn(f"measure {name} {error}", f"{name} was not measured: {error}"))
    return {one.metric: {**one.line(), "snapshot_pkl": path.name} for one in found}
