"""Measures a model: names of metrics in, numbers with their protocol out. What the door and the training loop call."""

import dataclasses
import time

from dnnlib.console import format_time


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
    pictures: dict = dataclasses.field(default_factory=dict)  # file name -> uint8 [H, W, 3]
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

    `network` is a loaded VoiceToFace, the path of a checkpoint, or None; `fakes` a folder or zip of pictures instead of
    a network; `data` the real side: a dataset of dataset_tool.py, or a folder or zip of pictures.
    ValueError says in one sentence what is missing or does not fit.
    """
    raise NotImplementedError
