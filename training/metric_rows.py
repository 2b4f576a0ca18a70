"""What a row of the METRICS table is, and what its function gives back. Tables of rows import this file."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Metric:
    """One row of METRICS. `measure(bench) -> Outcome`; `bench` (training.bench.Bench) hands out what was given.

    `needs` names what must be there: "network", "voice" (a network with a voice path), "data" (real pictures),
    "dataset" (a dataset of dataset_tool.py with people).
    Of a bench: `model` (VoiceToFace or None), `dataset` (Dataset or None), `settings` (MeasureSettings), `device`.
    """

    what: str
    measure: Callable
    needs: tuple = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Results, protocol fields of its own, a Markdown table to read, pictures (uint8 [H, W, 3]) by file name."""

    results: list
    protocol: dict = dataclasses.field(default_factory=dict)
    table: str | None = None
    pictures: dict = dataclasses.field(default_factory=dict)
