"""Craniofacial correlations of a run: landmarks read in drawn faces against those of the photographs."""

import numpy as np

from dnnlib.console import table
from metrics.landmark_ratios import landmark_correlations
from metrics.result import Result
from training.voice_groups import strictest, title_of
from training.voice_readers import landmarks_of
from training.voice_run import evidence_of, outcome


def measure_landmarks(bench):
    """r per measure between drawn faces and photographs, pooled and within groups, beside the reader's own limit."""
    evidence, settings = evidence_of(bench), bench.settings
    marks = [landmarks_of(row) for row in evidence.face_rows]
    known = [k for k, mark in enumerate(marks) if mark is not None]
    if evidence.marks is None or not known:
        raise ValueError("landmark ratios need a dataset whose faces have landmarks (50 training faces or more), and a "
                         ".safetensors recogniser, whose feature maps the landmarks of drawn faces are read from.")
    real, people = np.stack([marks[k] for k in known]), evidence.face_people[known]
    grouping = "gender" if "gender" in evidence.groups else strictest(evidence.groups)
    groups = evidence.groups.get(grouping)
    found = landmark_correlations(evidence.marks, evidence.clip_people, real, people, groups=groups, seed=settings.seed,
                                  rounds=settings.rounds)
    limit = {c.name: c.r for c in landmark_correlations(evidence.face_marks[known], people, real, people, rounds=2)}
    results, rows = [], []
    for c in found:
        results.append(Result(f"landmark_{c.name}_r", c.r, c.low, c.high, c.n, settings.seed, evidence.label))
        if c.r_within is not None:
            results.append(Result(f"landmark_{c.name}_r_within", c.r_within, None, None, c.n, settings.seed,
                                  evidence.label))
        rows.append([c.name, f"{c.r:.2f} ({c.low:.2f} … {c.high:.2f})" if c.low is not None else f"{c.r:.2f}",
                     f"{c.p_corrected:.1g}", "" if c.r_within is None else f"{c.r_within:.2f}",
                     "" if c.r_within is None else f"{c.p_within_corrected:.1g}", f"{c.r_random:.2f}",
                     f"{limit[c.name]:.2f}"])
    within = title_of(grouping) if grouping else "group"
    words = table(rows, ["measure", "r, MODEL", "p", f"r within {within}", "p within", "faces dealt to others",
                         "reader's limit (photographs)"])
    words += f"\n\nn = {found[0].n} people; p corrected for {len(found)} measures (Benjamini, Hochberg)."
    return outcome(evidence, results, words, landmarks=int(real.shape[1]), measures=len(found),
                   landmark_reader="ridge on the judge's feature maps of training faces")
