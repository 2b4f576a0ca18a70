"""Identity matching: which of N candidates belongs to the probe? Trials drawn evenly over people, and their accuracy.

A trial is a probe (the face drawn from a voice, or a photograph) and N candidates of N different people; candidate 0 is
the right one. Within a stratum all candidates share a group (same gender, same nationality, both), so that knowing the
group does not help. The score of a pair is the dot product of two rows; equal scores share the credit.
"""

import dataclasses

import numpy as np

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result
from torch_utils.random_streams import numpy_stream


@dataclasses.dataclass(frozen=True)
class Trials:
    """T trials: rows of the probes [T], rows of the candidates [T, N] and their people [T, N]; column 0 is right."""

    probes: np.ndarray
    candidates: np.ndarray
    people: np.ndarray

    def __len__(self):
        return len(self.probes)

    @property
    def num_people(self):
        """How many people occur as the probe."""
        return len(np.unique(self.people[:, 0]))

    @property
    def clusters(self):
        """Whom to draw again for an interval: both people of a 1:2 trial, the probe's person with more candidates."""
        return self.people if self.people.shape[1] == 2 else self.people[:, 0]

    def part(self, kept):
        """Returns the trials of a mask or of positions."""
        return Trials(self.probes[kept], self.candidates[kept], self.people[kept])


def draw_trials(probe_people, candidate_people, *, num_candidates=2, trials=10000, seed=0, groups=None):
    """Returns Trials drawn at random, every person as often the probe as any other (to within one).

    `probe_people` [P] and `candidate_people` [C] say who owns each row. With `groups` (person -> label, None unknown)
    all candidates of a trial share the label; people of unknown or too small groups take no part.
    ValueError when no group has enough people for N candidates.
    """
    if num_candidates < 2 or trials < 1:
        raise ValueError(f"{num_candidates} candidates and {trials} trials came; 2 and 1 are the least.")
    probes, candidates = rows_by_person(probe_people), rows_by_person(candidate_people)
    names = list(candidates)
    strata = {}
    for code, person in enumerate(names):
        label = "" if groups is None else groups.get(person)
        if label is not None:
            strata.setdefault(label, []).append(code)
    strata = [np.array(codes) for codes in strata.values() if len(codes) >= num_candidates]
    able = np.array([code for codes in strata for code in codes if names[code] in probes], int)
    if not len(able):
        raise ValueError(f"no {'group has' if groups else 'set of'} {num_candidates} people with faces and voices to "
                         "choose from; take fewer candidates, or more people.")
    random = numpy_stream(seed, "trials", num_candidates)
    own = able[np.concatenate([random.permutation(len(able)) for _ in range(-(-trials // len(able)))])[:trials]]
    people = np.empty((trials, num_candidates), int)
    people[:, 0] = own
    for codes in strata:
        mine = np.flatnonzero(np.isin(own, codes))
        place = np.searchsorted(codes, own[mine])
        others = distinct_rows(len(mine), num_candidates - 1, len(codes) - 1, random)
        people[mine, 1:] = codes[others + (others >= place[:, None])]
    owners = np.array(names)[people]
    return Trials(_any_rows([probes.get(name, [0]) for name in names], own[:, None], random)[:, 0],
                  _any_rows([candidates[name] for name in names], people, random), owners)


def distinct_rows(num_rows, width, count, random):  # -> int [R, W] below count
    """Returns rows of `width` different numbers below `count`, every ordered choice as likely as any other."""
    if count < 8 * width:  # few to choose from: the first of a random order
        return random.random((num_rows, count)).argsort(1)[:, :width]
    drawn = random.integers(0, count, (num_rows, width))
    while True:  # rows with a number twice are drawn again, which keeps the rest uniform
        order = np.sort(drawn, 1)
        again = np.flatnonzero((order[:, 1:] == order[:, :-1]).any(1))
        if not len(again):
            return drawn
        drawn[again] = random.integers(0, count, (len(again), width))


def _any_rows(tables, people, random):  # [P] of lists, int [T, N] -> int [T, N]
    """Returns for each person one of that person's rows at random."""
    counts = np.array([len(table) for table in tables])
    starts = np.cumsum(counts) - counts
    flat = np.concatenate([np.asarray(table, int) for table in tables])
    return flat[starts[people] + (random.random(people.shape) * counts[people]).astype(int)]


def rows_by_person(people):  # [N] -> {person: [row, ...]} in order of first sight
    """Returns the rows that belong to each person."""
    table = {}
    for row, person in enumerate(np.asarray(people).tolist()):
        table.setdefault(person, []).append(row)
    return table


def trial_scores(probes, candidates, trials):  # [P, K], [C, K] -> [T, N]
    """Returns the dot product of each trial's probe with its candidates (the cosine for rows of unit length)."""
    return np.einsum("tk,tnk->tn", probes[trials.probes], candidates[trials.candidates])


def credit(scores):  # [T, N] -> [T]
    """Returns 1 where the right candidate (column 0) scores highest, 1/m where it ties with m - 1 others, else 0."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise ValueError(f"scores of trials are [T, N] with N of 2 or more, got {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are NaN or infinite.")
    best = scores == scores.max(1, keepdims=True)
    return best[:, 0] / best.sum(1)


def matching_result(scores, trials, *, name, judge, seed=0, rounds=ROUNDS):
    """Returns the accuracy as a Result; its interval draws people again, and `n` counts the people who are probes."""
    right = credit(scores)
    low, high = clustered_interval(right, trials.clusters, seed=seed, rounds=rounds)
    return Result(name, float(right.mean()), low, high, trials.num_people, seed, judge)


def chance(num_candidates):
    """Returns the accuracy of a coin."""
    return 1 / num_candidates


def one_hot(labels):  # [N] -> float [N, G]
    """Returns rows whose dot product is 1 within a group and 0 between groups: what someone knows who knows only that.

    A person of unknown group (None) is alone: the dot product with everybody is 0.
    """
    known = sorted({label for label in labels if label is not None}, key=str)
    place = {label: number for number, label in enumerate(known)}
    table = np.zeros((len(labels), max(1, len(known))))
    for row, label in enumerate(labels):
        if label is not None:
            table[row, place[label]] = 1
    return table


def deal(rows, seed):
    """Returns the rows (or people) with their owners permuted among the people: the shuffled-voice control.

    `rows` are dicts with "person", or people [N]. All rows of one person go to one other, drawn evenly among all (now
    and then the same): the pictures stay what they are, so no measure of pictures alone can move, while everything
    that asks who spoke must fall to chance. The permutation depends on the people and the seed alone.
    """
    if len(rows) and isinstance(rows[0], dict):
        return [{**row, "person": person} for row, person in zip(rows, deal([row["person"] for row in rows], seed))]
    people = np.asarray(rows)
    names, codes = np.unique(people, return_inverse=True)
    dealt = names[numpy_stream(seed, "shuffled voices").permutation(len(names))][codes.ravel()]
    return dealt if isinstance(rows, np.ndarray) else dealt.tolist()
