"""The ladder: a model's number between what chance and group knowledge reach and what another photograph reaches.

76 % of 1:2 trials sounds like hearing who it is; knowing only the gender gives 74 %. So every run prints all rungs on
the same trials: chance, oracles of the groups, mean faces, the nearest training face, the MODEL, its voices shuffled,
another photograph of the person; all intervals draw people again.
"""

import dataclasses

import numpy as np

from dnnlib.console import table
from metrics.bootstrap import ROUNDS
from metrics.matching import draw_trials, matching_result, trial_scores
from metrics.result import Result
from metrics.retrieval import mean_by_person, retrieval_results
from metrics.verification import verification_results

CHANCE, ORACLE, BASELINE, MODEL, CONTROL, CEILING = "chance", "oracle", "baseline", "model", "control", "ceiling"
_COLOURS = {CHANCE: "#8a8a8a", ORACLE: "#4c78a8", BASELINE: "#72a17a", MODEL: "#d1495b", CONTROL: "#b8a1c9",
            CEILING: "#2f2f2f"}


@dataclasses.dataclass(frozen=True)
class Rung:
    """One way to answer: a row a clip [V, K] and a row a face [F, K]; the dot product is the score of a pair.

    A group oracle is one-hot rows, a mean face the same row for everybody. NaN rows of probes answer nothing: such
    clips take no part in this rung. `unit` False: rows are no directions and are not brought to unit length.
    """

    name: str
    kind: str
    probes: np.ndarray
    candidates: np.ndarray
    unit: bool = True


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Rows of (rung, Results by column) and the columns' titles."""

    rungs: list
    numbers: list  # of {column: Result or None}
    columns: dict  # column -> title
    chance: dict  # column -> float

    def markdown(self):
        """Returns the table, one line a rung, with intervals."""
        rows = [["chance", *(f"{self.chance[column]:.3f}" for column in self.columns)]]
        for rung, numbers in zip(self.rungs, self.numbers):
            name = f"**{rung.name}**" if rung.kind == MODEL else rung.name
            rows.append([name, *(_cell(numbers.get(column)) for column in self.columns)])
        return table(rows, ["", *self.columns.values()])

    def results(self):
        """Returns the Results of all rungs, named ladder_<rung>_<column>."""
        return [dataclasses.replace(result, name=f"ladder_{_word(rung.name)}_{column}")
                for rung, numbers in zip(self.rungs, self.numbers) for column, result in numbers.items()
                if result is not None]


def climb(rungs, clip_people, face_people, *, strata, judge, trials=10000, seed=0, rounds=ROUNDS, ranks=(1, 10)):
    """Returns the Ladder of rungs on the same trials: 1:2 matching by strata, AUC by strata, R@k of all people.

    `clip_people` [V] and `face_people` [F] own the rows; `strata` maps a title ("all", "same gender") to groups
    (person -> label) or None for all people together. A stratum without two people of a group has no column.
    """
    clip_people, face_people = np.asarray(clip_people), np.asarray(face_people)
    columns, levels, drawn = {}, {}, {}
    for title, groups in strata.items():
        try:
            drawn[title] = draw_trials(clip_people, face_people, trials=trials, seed=seed, groups=groups)
        except ValueError:
            continue  # nobody shares a group with anybody: the column would be empty
        for key, words in ((f"match_{_word(title)}", f"1:2, {title}"), (f"auc_{_word(title)}", f"AUC, {title}")):
            columns[key], levels[key] = words, 0.5
    count = len(np.unique(face_people))
    for k in [k for k in ranks if k <= count]:
        columns[f"r{k}"], levels[f"r{k}"] = f"R@{k} of {count}", k / count
    numbers = [_numbers(rung, drawn, clip_people, face_people, judge=judge, seed=seed, rounds=rounds, ranks=ranks)
               for rung in rungs]
    order = sorted(columns, key=lambda key: ("match", "auc_", "r").index(next(
        start for start in ("match", "auc_", "r") if key.startswith(start))))
    return Ladder(list(rungs), numbers, {key: columns[key] for key in order}, levels)


def pair_people(trials):
    """Returns the people of the pairs of 1:2 trials [2T, 2]: first the true pairs, then the impostors."""
    right, wrong = trials.people[:, 0], trials.people[:, 1]
    return np.concatenate([np.stack([right, right], 1), np.stack([right, wrong], 1)])


def _numbers(rung, drawn, clip_people, face_people, *, judge, seed, rounds, ranks):
    able = np.isfinite(rung.probes).all(1)
    found = {}
    for title, trials in drawn.items():
        kept = trials.part(able[trials.probes])
        if not len(kept):
            continue
        scores = trial_scores(rung.probes, rung.candidates, kept)
        word = _word(title)
        found[f"match_{word}"] = matching_result(scores, kept, name=f"match_{word}", judge=judge, seed=seed,
                                                 rounds=rounds)
        found[f"auc_{word}"] = verification_results(
            scores.T.ravel(), np.repeat([1, 0], len(kept)), pair_people(kept), judge=judge, seed=seed, rounds=rounds)[0]
    gallery, owners = mean_by_person(rung.candidates, face_people, unit=rung.unit)
    asked = able & np.isin(clip_people, owners)
    if asked.any():
        results = retrieval_results(rung.probes[asked], clip_people[asked], gallery, owners, judge=judge, seed=seed,
                                    rounds=rounds, ranks=ranks)
        found |= {key: result for result in results for key in [result.name.removeprefix("retrieval_")]
                  if key in {f"r{k}" for k in ranks}}
    return found


def plot(ladder, path_or_file, *, columns=None, title=""):
    """Draws the ladder, a panel a column, each rung a dot with its interval; PNG. Needs matplotlib."""
    from matplotlib.figure import Figure

    columns = [column for column in (columns or list(ladder.columns)) if column in ladder.columns]
    names = ["chance", *(rung.name for rung in ladder.rungs)]
    figure = Figure(figsize=(2.2 + 2.3 * len(columns), 1.0 + 0.34 * len(names)), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, column in zip(axes, columns):
        axis.axvline(ladder.chance[column], color=_COLOURS[CHANCE], linewidth=1, linestyle=":")
        axis.plot(ladder.chance[column], 0, "o", color=_COLOURS[CHANCE], markersize=6)
        for place, (rung, numbers) in enumerate(zip(ladder.rungs, ladder.numbers), 1):
            if (result := numbers.get(column)) is None:
                continue
            if result.low is not None:
                axis.plot([result.low, result.high], [place, place], color=_COLOURS[rung.kind], linewidth=2)
            axis.plot(result.value, place, "D" if rung.kind == MODEL else "o", color=_COLOURS[rung.kind], markersize=6)
        axis.set_title(ladder.columns[column], fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis() if axis is axes[0] else None
        for label, kind in zip(axis.get_yticklabels(), [CHANCE, *(rung.kind for rung in ladder.rungs)]):
            label.set_fontweight("bold" if kind == MODEL else "normal")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path_or_file, format="png")


def _cell(result: Result | None):
    if result is None:
        return ""
    interval = "" if result.low is None else f" ({result.low:.3f} … {result.high:.3f})"
    return f"{result.value:.3f}{interval}"


def _word(title):
    return "".join(letter if letter.isalnum() else "_" for letter in title.lower()).strip("_")
