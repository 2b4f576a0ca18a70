"""Do the drawn faces show the attributes of the people? Agreement, never without what makes it readable.

Agreement alone misleads: 94 % of 62 % men is much, 48 % of 50 % whites is nothing. So it stands beside the balanced
accuracy, the majority baseline (the best constant answer) and the mutual information in bits.
"""

import dataclasses

import numpy as np

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.result import Result

_RIDGE = 1e-2


def confusion(truth, answers, classes):  # [N], [N] -> float [C, C]
    """Returns counts, rows by the truth, columns by the answer; ValueError for a label that is no class."""
    place = {label: number for number, label in enumerate(classes)}
    if unknown := sorted({str(label) for label in [*truth, *answers] if label not in place}):
        raise ValueError(f"{', '.join(unknown[:3])} are no classes; these are: {', '.join(map(str, classes))}.")
    if len(truth) != len(answers) or not len(truth):
        raise ValueError(f"{len(truth)} truths and {len(answers)} answers came; as many of both are needed, 1 or more.")
    table = np.zeros((len(classes), len(classes)))
    np.add.at(table, ([place[label] for label in truth], [place[label] for label in answers]), 1)
    return table


def joint(rows, prevalence):  # [C, C] rows that add up to 1, [C] -> [C, C] that adds up to 1
    """Returns the joint distribution of a published confusion matrix whose rows were normalised (and rounded)."""
    rows, prevalence = np.asarray(rows, np.float64), np.asarray(prevalence, np.float64)
    return rows / rows.sum(1, keepdims=True) * (prevalence / prevalence.sum())[:, None]


def agreement(table):  # [C, C] -> float
    """Returns the share of answers that equal the truth."""
    return float(np.trace(table) / table.sum())


def near_agreement(table, within=1):  # [C, C] of ordered classes -> float
    """Returns the share of answers at most `within` classes off (decades of age, for example)."""
    place = np.arange(len(table))
    return float(table[np.abs(place[:, None] - place) <= within].sum() / table.sum())


def balanced_accuracy(table):  # [C, C] -> float
    """Returns the mean of the classes' own accuracies, over classes that occur; chance is 1 / their number."""
    sizes = table.sum(1)
    return float((np.diag(table)[sizes > 0] / sizes[sizes > 0]).mean())


def majority(table, within=0):  # [C, C] -> float
    """Returns what the best constant answer reaches (within so many classes)."""
    sizes, place = table.sum(1), np.arange(len(table))
    near = np.abs(place[:, None] - place) <= within
    return float((near * sizes[:, None]).sum(0).max() / sizes.sum())


def mutual_information(table):  # [C, C] -> float, bits
    """Returns the mutual information of truth and answer in bits."""
    share = table / table.sum()
    expected = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    known = share > 0
    return float(max(0.0, (share[known] * np.log2(share[known] / expected[known])).sum()))


def macro_f1(table):  # [C, C] -> float
    """Returns the mean F1 = 2·right/(in truth + in answers) of the classes that occur in the truth."""
    sizes = table.sum(1)
    return float((2 * np.diag(table) / np.maximum(sizes + table.sum(0), 1e-300))[sizes > 0].mean())


@dataclasses.dataclass(frozen=True)
class AttributeReport:
    """Results of one attribute and the confusion they come from."""

    name: str
    classes: tuple
    table: np.ndarray
    results: tuple


def attribute_report(truth, answers, people, *, name, judge, seed=0, rounds=ROUNDS, ordered=False):
    """Returns the AttributeReport of one attribute; `people` [N] are drawn again for the intervals.

    Mutual information is at least 0 by nature, so with few people even noise has some: the shuffled control shows how
    much. `ordered` adds the share within one class.
    """
    classes = tuple(sorted(set(truth) | set(answers), key=lambda label: (str(type(label)), label)))
    table = confusion(truth, answers, classes)
    place = {label: number for number, label in enumerate(classes)}
    codes = tuple(np.array([place[label] for label in labels]) for labels in (truth, answers))
    measures = {"agreement": agreement, "balanced_accuracy": balanced_accuracy, "majority": majority,
                "information_bits": mutual_information, "f1": macro_f1}
    if ordered:
        measures |= {"within_one": near_agreement, "majority_within_one": lambda counts: majority(counts, 1)}
    found = []
    for key, measure in measures.items():
        low, high = clustered_interval(codes, people, _of_counts(measure, len(classes)), seed, rounds, weighted=True)
        found.append(Result(f"{name}_{key}", measure(table), low, high, len(np.unique(people)), seed, judge))
    return AttributeReport(name, classes, table, tuple(found))


def _of_counts(measure, num_classes):
    def of(truth, answers, weights):
        counts = np.bincount(truth * num_classes + answers, weights, num_classes**2).reshape(num_classes, num_classes)
        return measure(counts) if counts.any() else np.nan
    return of


class LinearReader:
    """Reads a label or a number from a recogniser's embedding: ridge regression fitted on real faces.

    With `labels` of text the answer is the class of the highest of one-against-all scores, every class weighing the
    same, so that a frequent class is not preferred; with numbers [N, T] it is the numbers.
    """

    def __init__(self, embeddings, labels, *, ridge=_RIDGE):
        embeddings = np.asarray(embeddings, np.float64)
        self.classes, weights = None, np.full(len(embeddings), 1 / len(embeddings))
        targets = np.asarray(labels)
        if targets.ndim == 1 and targets.dtype.kind not in "f":
            self.classes, codes = np.unique(targets, return_inverse=True)
            if len(self.classes) < 2:
                raise ValueError(f'all {len(targets)} faces have the label "{targets[0]}"; a reader needs two classes.')
            sizes = np.bincount(codes.ravel())
            weights = 1 / (len(sizes) * sizes[codes.ravel()])
            targets = np.eye(len(sizes))[codes.ravel()]
        targets = targets.astype(np.float64).reshape(len(embeddings), -1)
        self.mean, self.offset = weights @ embeddings, weights @ targets
        centred = embeddings - self.mean
        gram = (centred * weights[:, None]).T @ centred
        strength = ridge * np.trace(gram) / len(gram)
        self.slope = np.linalg.solve(gram + strength * np.eye(len(gram)),
                                     (centred * weights[:, None]).T @ (targets - self.offset))

    def values(self, embeddings):  # [N, K] -> [N, T]
        """Returns the numbers, or the scores of the classes."""
        return (np.asarray(embeddings, np.float64) - self.mean) @ self.slope + self.offset

    def labels(self, embeddings):  # [N, K] -> [N]
        """Returns the class of each row."""
        return self.classes[self.values(embeddings).argmax(1)]
