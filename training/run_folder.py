"""The folder of a run: found again or made new, with its log, statistics, states and pictures."""

import json
import os
import pathlib
import re
import resource
import sys
import time

import torch

from dnnlib.console import format_time, say
from dnnlib.files import atomic_path
from torch_utils.checkpoint import write_archive


class RunFolder:
    """`<outdir>/00000-<desc>/`. The same options on the same outdir go on in the folder they made before."""

    def __init__(self, outdir, desc, options):
        outdir = pathlib.Path(outdir)
        outdir.mkdir(parents=True, exist_ok=True)
        plain = json.loads(json.dumps(options))
        ids = {int(match[1]): path for path in outdir.iterdir() if (match := re.match(r"(\d+)-", path.name))}
        same = [path for _, path in sorted(ids.items()) if _options_of(path) == plain]
        self.path = same[-1] if same else outdir / f"{max(ids, default=-1) + 1:05d}-{desc}"
        self.path.mkdir(exist_ok=True)
        with atomic_path(self.path / "training_options.json") as temporary:
            temporary.write_text(json.dumps(plain, indent=2))
        self._log = open(self.path / "log.txt", "a", encoding="utf-8")
        self.started = time.time()

    def say(self, line):
        """Prints a line and appends it to log.txt."""
        say(line)
        print(line, file=self._log, flush=True)

    def append_stats(self, stats):
        """Appends one line to stats.jsonl: {"name": {"num", "mean", "std"}, …, "timestamp"}."""
        with open(self.path / "stats.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({**stats, "timestamp": time.time()}) + "\n")

    def save_state(self, state):
        """Writes the state of the run; the one before stays until the new one is whole."""
        with atomic_path(self.path / "state.pt") as temporary:
            write_archive(temporary, state)

    def load_state(self):
        """Returns the last state, or None in a new folder."""
        path = self.path / "state.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def _options_of(path):
    try:
        return json.loads((path / "training_options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Averages:
    """Means of named scalars over a tick, in the form of stats.jsonl."""

    def __init__(self):
        self._values = {}

    def add(self, values):
        """Takes a dict of numbers or 0-d tensors."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def take(self):
        """Returns {"name": {"num", "mean", "std"}} and starts afresh."""
        result = {}
        for name, values in self._values.items():
            numbers = torch.tensor([float(value) for value in values], dtype=torch.float64)
            result[name] = {"num": len(values), "mean": numbers.mean().item(),
                            "std": numbers.std(correction=0).item()}
        self._values = {}
        return result


def memory_gb():
    """Returns this process's resident memory in GB (its peak where the present value cannot be read)."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**30 if sys.platform == "darwin" else 2**20)


def tick_line(*, tick, kimg, total_s, tick_s, tick_kimg, maintenance_s, eta_s, images_per_s, augment=0.0):
    """Returns the console line of a tick: the fields that log parsers know, then ETA and img/s."""
    gpu = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return " ".join([
        f"tick {tick:<5d}", f"kimg {kimg:<8.1f}", f"time {format_time(total_s):<12s}", f"sec/tick {tick_s:<7.1f}",
        f"sec/kimg {tick_s / max(tick_kimg, 1e-9):<7.2f}", f"maintenance {maintenance_s:<6.1f}",
        f"cpumem {memory_gb():<6.2f}", f"gpumem {gpu:<6.2f}", f"augment {augment:.3f}",
        f"eta {format_time(eta_s):<12s}", f"img/s {images_per_s:.1f}"])
