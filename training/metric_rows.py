"""What a row of the METRICS table is, and what its function gives back. Tables of rows import this file."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Look:
    """One pass of a judge over pictures: `side` "real" or "fake", `eye` a row of training.bench.EYES, what is gathered
    ("moments", "features" or "scores"), at most so many pictures (None: all), real ones with flips where asked for.
    """

    side: str
    eye: str
    want: str
    count: int | None = None
    flips: bool = False


@dataclasses.dataclass(frozen=True)
class Metric:
    """One row of METRICS. `measure(bench) -> Outcome`; `bench` (training.bench.Bench) hands out what was given.

    `needs` names what must be there, and is opened before anything is measured: "network", "mapping" (a generator that
    draws from z), "voice" (a network with a voice path), "fakes" (a network, or pictures in its place), "data" (real
    pictures), "dataset" (a dataset of dataset_tool.py with people), "distance" (LPIPS or the drawn judge in its place).
    `looks` are the passes it makes, so that metrics share them.
    Of a bench: `model` (VoiceToFace or None), `dataset` (Dataset or None), `settings` (MeasureSettings), `device`,
    `network_sha256`, `say(line)`, `caution(line)` (a warning that goes into the protocol, too).
    """

    what: str
    measure: Callable
    needs: tuple = ()
    looks: tuple = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Results, protocol fields of its own, a Markdown table to read, pictures by file name.

    A picture is uint8 [H, W, 3], or a function without arguments that returns it.
    """

    results: list
    protocol: dict = dataclasses.field(default_factory=dict)
    table: str | None = None
    pictures: dict = dataclasses.field(default_factory=dict)
