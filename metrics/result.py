"""One measured number: never without its n, its seed and its judge."""

import dataclasses

_SHARED = ("mode", "n", "split", "truncation_psi")


@dataclasses.dataclass(frozen=True)
class Result:
    """A number with its 95 % interval (`low`, `high`; None where none is meaningful), n, seed and judge.

    `name` is the key in a metric line. `n` counts what the uncertainty comes from: pictures, pairs or people. `judge`
    names the network (or formula) that looked, so that numbers by different judges are never mixed up.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    seed: int
    judge: str

    def __str__(self):
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.name} {self.value:.4g}{interval} (n {self.n}, seed {self.seed}, judge {self.judge})"


def yardstick(line):
    """Returns what two metric lines (dicts) have in common if their numbers compare: judge, mode, n, split, psi.

    A judge is the same by the sha256 of its weights, whatever its file is called.
    """
    protocol = line.get("protocol") or {}
    return (protocol.get("judge_sha256") or protocol.get("judge"), *(protocol.get(name) for name in _SHARED),
            (protocol.get("fake") or {}).get("faces_from"))
