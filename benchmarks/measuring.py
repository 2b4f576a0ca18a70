"""Interleaved measuring (A B A B), medians and ranges, and rows that carry what was compared with what."""

import dataclasses
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import numpy as np

from benchmarks.contestant import Contestant

HERE = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the command line asked of a suite."""

    rounds: int = 5
    threads: int = 1
    against: tuple = ("ref",)
    sweep: bool = False


PAUSE_S = 0.1  # the threads of a library that has ended its work spin for some milliseconds more


def interleaved(contestants, rounds, *, settle=False):
    """Returns name -> seconds of every round; contestants take turns (A B A B), after one unmeasured round.

    settle: for contestants that share a process and take milliseconds: each turn begins with a pause and an
    unmeasured run, so that nobody pays for the threads and the caches that the one before has left.
    """
    seconds = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            if settle:
                time.sleep(PAUSE_S)
                run()
            begin = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def row(work, seconds, ours, reference, target, **more):
    """Returns one result: medians, ranges, and the ratio reference / ours."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {"work": work, "ours_s": middle[ours], "ours_range_s": [min(seconds[ours]), max(seconds[ours])],
            "reference": reference, "reference_s": middle[reference], "rounds": len(seconds[ours]),
            "reference_range_s": [min(seconds[reference]), max(seconds[reference])],
            "ratio": middle[reference] / middle[ours], "target": target, **more}


def race(specs, rounds, *, limit, check=None):
    """Returns (name -> seconds of every round, name -> facts) of contestants in processes of their own, interleaved.

    The processor time of a round (cpu_s, of all threads) stands beside its wall time: on a busy machine trust that one.
    Before anything is timed every output is held against that of the first spec: the largest deviation as a share of
    its standard deviation must not exceed `limit` of the spec's precision (RuntimeError). A contestant that cannot
    start is left out with a line.
    """
    runners, seconds, facts = {}, {}, {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            wanted = None
            for spec in specs:
                runners[spec.name] = Contestant(spec)
                if spec.kind in ("convolution", "copy"):
                    continue
                runners[spec.name].ask(f"save {folder}/out.npy")
                came = np.load(f"{folder}/out.npy")
                wanted = came if wanted is None else wanted
                deviation = float(np.sqrt(np.mean((came - wanted) ** 2)) / wanted.std())
                facts[spec.name] = {"deviation": deviation}
                if not deviation <= limit[spec.precision]:
                    raise RuntimeError(f"{spec.name} deviates from {specs[0].name} by {deviation:.3g} of the standard "
                                       f"deviation, more than {limit[spec.precision]:g}: nothing was timed.")
        seconds = {name: [] for name in runners}
        for turn in range(rounds + 1):
            for name, runner in runners.items():
                answer = runner.ask("run")
                facts.setdefault(name, {}).update({key: answer[key] for key in ("peak_gb", "peak_beyond_torch_gb")})
                if "phases" in answer:
                    facts[name]["phases_s"] = answer["phases"]
                if turn:
                    seconds[name].append(answer["seconds"])
                    facts[name].setdefault("cpu_rounds_s", []).append(answer["cpu_seconds"])
        for fact in facts.values():
            fact["cpu_s"] = statistics.median(fact.pop("cpu_rounds_s"))
    finally:
        for runner in runners.values():
            runner.close()
    return seconds, facts


def machine(threads=None):
    """Returns what the numbers were measured on."""
    import torch

    from torch_utils.threads import free_cores

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE)
    model = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    versions = {name: _version(name) for name in ("numpy", "onnxruntime", "openvino", "librosa")}
    return {"cpu": model, "cores": free_cores(), "threads": threads or torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "python": platform.python_version(), "torch": torch.__version__, **versions,
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "commit": commit.stdout.strip() or None, "date": time.strftime("%Y-%m-%d")}


def _version(name):
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_lines():
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
