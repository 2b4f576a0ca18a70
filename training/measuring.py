"""Measures a model: names of metrics in, numbers with their protocol out. What the door and the training loop call."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time

from dnnlib.console import format_time
from dnnlib.settings import did_you_mean
from torch_utils import distributed


@dataclasses.dataclass(frozen=True)
class MeasureSettings:
    """How to measure; every field ends up in the protocol of the numbers it touches.

    `num` None: the n that the metric's name states. `judge` "inception" (weights by file) or "drawn" (shipped).
    `faces_from` "seeds" (z of the generator) or "voice" (the faces that a voice model draws for the dataset's clips).
    `options` holds what rows of other tables want (--judge PATH of a probe: "probe", a recogniser: "recogniser", ...).
    """

    num: int | None = None
    seed: int = 0
    judge: str = "inception"
    faces_from: str = "seeds"
    split: str | None = None
    limit: int | None = None
    truncation_psi: float = 1.0
    mirror: bool = False
    inception: str | None = None
    vgg: str | None = None
    lpips_weights: str | None = None
    download: bool = False
    trust_weights: bool = False
    batch: int = 32
    workers: int | None = None
    rounds: int = 200
    work_dir: str | None = None
    cache: bool = True
    verbose: bool = True
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one metric gave: Results, the protocol that makes them comparable, and a table to read when it has one."""

    metric: str
    results: tuple  # of metrics.result.Result
    protocol: dict
    total_time_s: float
    snapshot: str | None = None
    num_gpus: int = 0
    table: str | None = None
    pictures: dict = dataclasses.field(default_factory=dict)  # file name -> uint8 [H, W, 3], or what returns it
    timestamp: float = dataclasses.field(default_factory=time.time)

    def line(self):
        """Returns the jsonl line: the keys that parsers of StyleGAN2 runs know, and "protocol" beside them."""
        return {"results": {result.name: result.value for result in self.results}, "metric": self.metric,
                "total_time": self.total_time_s, "total_time_str": format_time(self.total_time_s),
                "num_gpus": self.num_gpus, "snapshot_pkl": self.snapshot, "timestamp": self.timestamp,
                "intervals": {result.name: [result.low, result.high] for result in self.results
                              if result.low is not None}, "protocol": self.protocol}


def measure(names, *, network=None, data=None, fakes=None, settings=None, device="cpu"):
    """Returns one Measurement a name of the METRICS table, in the order given.

    `network` is a loaded VoiceToFace, the path or address of a checkpoint, or None; `fakes` a folder or zip of pictures
    instead of a network; `data` the real side: a dataset of dataset_tool.py, or a folder or zip of pictures.
    ValueError says in one sentence what is missing or does not fit. Under torchrun the ranks share the work, and every
    rank gets the results.
    """
    return list(measured(names, network=network, data=data, fakes=fakes, settings=settings, device=device))


def measured(names, *, network=None, data=None, fakes=None, settings=None, device="cpu", failed=None):
    """Yields what `measure` returns, each as soon as it is known.

    With `failed`, a metric that cannot be measured is left out and `failed(name, error)` hears of it.
    """
    from training.bench import Bench

    settings = settings or MeasureSettings()
    rows = rows_of(names)
    _check(settings, network, fakes)
    model, path = _opened(network, device)
    bench = Bench(model=model, network_path=path, fakes=fakes, data=data, settings=settings, device=str(device))
    for check in (_check_needs, _open_early):
        rows = {name: rows[name] for name, _ in _done(check, rows, bench, failed)}
    bench.planned = tuple(look for row in rows.values() for look in row.looks)
    for _, measurement in _done(_measured, rows, bench, failed):
        yield measurement
    bench.finish()


def _done(work, rows, bench, failed):
    """Yields (name, work(name, row, bench)) of each row that it worked for."""
    for name, row in rows.items():
        try:
            found = work(name, row, bench)
        except (ValueError, OSError) as error:
            if failed is None:
                raise
            failed(name, error)
            continue
        yield name, found


def rows_of(names):
    """Returns name -> row of METRICS; ValueError for an unknown name, with the likely one."""
    from training.metrics_table import METRICS

    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name}.{did_you_mean(name, METRICS)} Known: {', '.join(METRICS)}.")
    return {name: METRICS[name] for name in names}


def _measured(name, row, bench):
    begin, bench.cautions = time.time(), []
    outcome = row.measure(bench)
    protocol = {**outcome.protocol, "seed": bench.settings.seed, "batch": bench.settings.batch,
                "cautions": list(bench.cautions), "versions": versions(), "git_revision": git_revision(),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    protocol.setdefault("truncation_psi", bench.settings.truncation_psi if bench.model is not None else None)
    num_gpus = distributed.world_size() if bench.device.startswith("cuda") else 0
    return Measurement(name, tuple(outcome.results), protocol, time.time() - begin, bench.network_name, num_gpus,
                       outcome.table, outcome.pictures)


def _opened(network, device):  # -> (VoiceToFace or None, path or None)
    if network is None or not isinstance(network, (str, os.PathLike)):
        return network, None
    from voice2style.pipeline import load, network_file

    path = network_file(network)
    return load(path, device=device), pathlib.Path(path)


def _check(settings, network, fakes):
    from training.bench import JUDGES
    from training.voice_wishes import check_wishes

    check_wishes(settings.options)
    if settings.judge not in JUDGES:
        raise ValueError(f'judge "{settings.judge}" of pictures; {" and ".join(JUDGES)} are known.')
    if settings.faces_from not in ("seeds", "voice"):
        raise ValueError(f'faces are drawn from "seeds" or from "voice", not from "{settings.faces_from}".')
    if settings.num is not None and settings.num < 1:
        raise ValueError(f"--num {settings.num}: one picture or more is needed.")
    if network is not None and fakes is not None:
        raise ValueError("--network draws the pictures that --fakes would give: one of them, please.")


def _check_needs(name, row, bench):
    """Raises ValueError, before anything is computed, when a metric lacks what it needs."""
    from voice2style.pipeline import check_channels

    needs, model = set(row.needs), bench.model
    if model is None and needs & {"network", "mapping", "voice"}:
        raise ValueError(f"{name} needs a network; give --network.")
    if model is not None and needs & {"fakes", "distance", "voice"}:
        check_channels(model, (1, 3), name=bench.network_name or "the network")
    if "fakes" in needs and model is None and bench.fakes_path is None:
        raise ValueError(f"{name} needs pictures to judge: give --network, or --fakes with a folder or zip.")
    by_voice = "voice" in needs or (bench.settings.faces_from == "voice" and "fakes" in needs and model is not None)
    if by_voice and not model.hears:
        raise ValueError(f"{name} asks about voices, but this network has no voice path; give a checkpoint that was "
                         "trained with a voice encoder, or --faces-from seeds.")
    if needs & {"data", "dataset"} and bench.data_path is None:
        raise ValueError(f"{name} compares with real pictures; give --data with a dataset, a folder or a zip.")
    if ("dataset" in needs or by_voice) and bench.dataset is None:
        raise ValueError(f"{name} needs people and voices: give --data a dataset made by dataset_tool.py"
                         + (f', "{bench.data_path}" holds pictures only.' if bench.data_path else "."))


def _open_early(name, row, bench):
    """Opens what a row will want, so that a missing file is said before an hour of other metrics, not after it."""
    for look in row.looks:
        bench.count_of(look)
        bench.eye(look.eye)
    if "data" in row.needs:
        bench.reals()
    if "distance" in row.needs:
        bench.distance()
    if "mapping" in row.needs:
        bench.latents()


def versions():
    """Returns the versions of the packages that numbers may depend on."""
    import torch

    import voice2style

    found = {"voice2style": voice2style.__version__, "python": platform.python_version()}
    found["torch"] = str(torch.__version__)  # names the build, which the package's metadata does not
    for package in ("numpy", "scipy", "pillow", "clean-fid", "lpips"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_revision():
    """Returns the commit of this program when it runs from a checkout, with "+" when files were changed, else None."""
    root = pathlib.Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True,
                                 check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
