"""One run of voice metrics: its evidence, gathered once for all of them, and what every outcome carries."""

import weakref

from training.metric_rows import Outcome
from training.voice_evidence import gather

_last = (None, None, {})  # the bench (weakly), its evidence, and what metrics keep for each other


def evidence_of(bench):
    """Returns the Evidence of a bench; all metrics of one bench share it."""
    global _last
    if _last[0] is None or _last[0]() is not bench:
        found = gather(bench)
        _last = (weakref.ref(bench), found, {})
    return _last[1]


def kept_of(bench):
    """Returns what the metrics of a bench keep for each other, a dict."""
    evidence_of(bench)
    return _last[2]


def interval(result):
    """Returns a Result as text with its interval."""
    return f"{result.value:.3f}" + ("" if result.low is None else f" ({result.low:.3f} … {result.high:.3f})")


def outcome(evidence, results, words, *, pictures=None, **protocol):
    """Returns an Outcome with the protocol of the evidence beside what the metric adds."""
    notes = "".join(f"\n\n{note}" for note in evidence.protocol["notes"])
    return Outcome(results=list(results), protocol={**evidence.protocol, **protocol}, table=words + notes,
                   pictures=pictures or {})
