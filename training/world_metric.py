"""The row of METRICS that asks, on the drawn world, how much of what a voice tells reaches the face."""

from metrics.result import Result
from training.evaluate import judge_world
from training.metric_rows import Metric, Outcome


def measure_world_traits(bench):
    """Returns R² per trait with intervals over people; the table puts it beside the ceiling and the controls."""
    probe = bench.settings.options.get("probe")
    if probe is None:
        raise ValueError("world_traits needs --judge PATH: a trait probe, trained by train.py --task probe on other "
                         "people and seed.")
    report = judge_world(bench.model, data=bench.data_path, judge_path=probe, split=bench.settings.split or "test",
                         psi=bench.settings.truncation_psi, most=bench.settings.limit, seed=bench.settings.seed,
                         network_sha256=bench.network_sha256)
    results = [Result(f"world_r2_{score.name}", score.value, score.low, score.high, score.n, bench.settings.seed,
                      "trait probe") for score in report.model]
    return Outcome(results, {**report.protocol, "interval": "bootstrap over people"}, table=report.table(),
                   pictures={"world_traits.png": report.sheet})


WORLD_METRICS = {"world_traits": Metric("R² per trait on the drawn world, heard and unheard, beside its ceiling",
                                        measure_world_traits, ("voice", "dataset"))}
