"""Craniofacial measures: do widths and heights of the drawn face go with those of the person?

Every measure is a length, ratio or area free of the picture's scale, from 6 points (the drawn world), or the 68 of the
common annotation (iBUG). Correlations are over people (pictures of one person are averaged), pooled and within groups:
a pooled r is mostly the difference between women and men. p is corrected for the number of measures
(Benjamini, Hochberg 1995), and the same faces dealt to other people give the baseline.
"""

import dataclasses

import numpy as np
from scipy import stats

from metrics.bootstrap import ROUNDS, clustered_interval
from metrics.matching import deal
from metrics.retrieval import mean_by_person


def _distance(points, a, b):
    return np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)


def _middle(points, *rows):
    return points[..., rows, :].mean(-2)


def _between(first, second):
    return np.linalg.norm(first - second, axis=-1)


def _six(points):  # left eye, right eye, nose tip, left and right mouth corner, chin
    eyes, mouth = _middle(points, 0, 1), _middle(points, 3, 4)
    unit, nose, chin = _distance(points, 0, 1), points[..., 2, :], points[..., 5, :]
    return {"mouth_width": _distance(points, 3, 4) / unit, "nose_height": _between(eyes, nose) / unit,
            "upper_lip_region": _between(nose, mouth) / unit, "lower_face": _between(mouth, chin) / unit,
            "face_height": _between(eyes, chin) / unit, "nose_share": _between(eyes, nose) / _between(eyes, chin)}


def _five(points):
    return {name: value for name, value in _six(np.concatenate([points, points[..., 4:5, :]], -2)).items()
            if name in ("mouth_width", "nose_height", "upper_lip_region")}


def _sixty_eight(points):
    unit = _between(_middle(points, *range(36, 42)), _middle(points, *range(42, 48)))
    face, jaw, nose_w = _distance(points, 0, 16), _distance(points, 4, 12), _distance(points, 31, 35)
    nose_h, lower_jaw = _distance(points, 27, 33), _distance(points, 57, 8)
    across, along = points[..., 35, :] - points[..., 31, :], points[..., 27, :] - points[..., 31, :]
    area = np.abs(across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0]) / 2
    return {"upper_lip_height": _distance(points, 33, 62) / unit,
            "lateral_upper_lip": (_distance(points, 31, 50) + _distance(points, 35, 52)) / 2 / unit,
            "jaw_width": jaw / unit, "nose_height": nose_h / unit, "nose_width": nose_w / unit,
            "philtrum_width": _distance(points, 50, 52) / unit, "mandibular_index": lower_jaw / jaw,
            "intercanthal_index": _distance(points, 39, 42) / _distance(points, 36, 45), "nasal_index": nose_w / nose_h,
            "vermilion_index": _distance(points, 51, 62) / np.maximum(_distance(points, 57, 66), 1e-9),
            "mouth_face_index": _distance(points, 48, 54) / face, "nose_area": area / unit**2}


MEASURES = {5: _five, 6: _six, 68: _sixty_eight}


def measure_faces(points):  # [N, P, 2] -> name -> [N]
    """Returns the measures of each face; ValueError for another number of points, or points that coincide."""
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1] not in MEASURES or points.shape[2] != 2:
        raise ValueError(f"landmarks are [N, P, 2] with P of {', '.join(map(str, MEASURES))}, got {points.shape}.")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = MEASURES[points.shape[1]](points)
    if bad := [name for name, values in found.items() if not np.isfinite(values).all()]:
        raise ValueError(f"{', '.join(bad)} cannot be measured: landmarks are missing, or eyes or jaws coincide.")
    return found


@dataclasses.dataclass(frozen=True)
class Correlation:
    """r of one measure between drawn and real faces, over n people, with p (corrected), interval and baseline."""

    name: str
    r: float
    low: float | None
    high: float | None
    p: float
    p_corrected: float
    r_within: float | None  # within groups; None without groups
    p_within: float | None
    p_within_corrected: float | None
    r_random: float  # root mean square of r when faces are dealt to other people: what chance gives
    n: int


def landmark_correlations(drawn, drawn_people, real, real_people, *, groups=None, seed=0, rounds=ROUNDS, deals=20):
    """Returns a Correlation a measure of landmarks [N, P, 2] and [M, P, 2] of the faces of these people.

    `groups` maps a person to a label; p within groups has as many degrees of freedom less as there are groups.
    """
    first, second = ((measure_faces(points), np.asarray(people)) for points, people in
                     ((drawn, drawn_people), (real, real_people)))
    if first[0].keys() != second[0].keys():
        raise ValueError("drawn and real faces have different numbers of landmarks.")
    shared = np.intersect1d(first[1], second[1])
    if len(shared) < 4:
        raise ValueError(f"{len(shared)} people have landmarks on both sides; a correlation needs 4 or more.")
    labels = None if groups is None else np.array([str(groups.get(person)) for person in shared.tolist()])
    rows = []
    for name in first[0]:
        x, y = (_by_person(values[name], people, shared) for values, people in (first, second))
        r = pearson(x, y)
        low, high = clustered_interval((x, y), np.arange(len(x)), pearson, seed, rounds)
        chance = np.sqrt(np.mean([pearson(x, y[deal(np.arange(len(y)), seed + k)]) ** 2 for k in range(deals)]))
        within = (None, None)
        if labels is not None and len(x) - len(set(labels)) > 2:
            within = _within(x, y, labels)
        rows.append([name, r, low, high, p_of(r, len(x) - 2), *within, float(chance)])
    corrected, corrected_within = (corrected_p([row[k] for row in rows]) for k in (4, 6))
    return [Correlation(name, r, low, high, p, corrected[k], r_within, p_within, corrected_within[k], chance,
                        len(shared))
            for k, (name, r, low, high, p, r_within, p_within, chance) in enumerate(rows)]


def pearson(x, y):  # [N], [N] -> float
    """Returns Pearson's r, NaN where one side does not vary."""
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / size) if size > 0 else float("nan")


def p_of(r, freedom):
    """Returns the two-sided p of r with `freedom` degrees of freedom (n - 2, less the number of groups - 1)."""
    if not np.isfinite(r) or freedom < 1:
        return 1.0
    t = abs(r) * np.sqrt(freedom / max(1 - r * r, 1e-300))
    return float(2 * stats.t.sf(t, freedom))


def corrected_p(values):  # [M] of p or None -> [M]
    """Returns p corrected so that the share of false discoveries stays below the level (Benjamini, Hochberg)."""
    known = np.array([k for k, value in enumerate(values) if value is not None], int)
    result = [None] * len(values)
    if len(known):
        p = np.array([values[k] for k in known])
        order = np.argsort(p)
        raised = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
        for place, value in zip(known[order], np.minimum(raised, 1)):
            result[place] = float(value)
    return result


def _by_person(values, people, shared):
    means, names = mean_by_person(values[:, None], people, unit=False)
    return means[np.searchsorted(names, shared), 0]


def _within(x, y, labels):
    codes = np.unique(labels, return_inverse=True)[1].ravel()
    sizes = np.bincount(codes)
    x, y = (values - (np.bincount(codes, values) / sizes)[codes] for values in (x, y))
    r = pearson(x, y)
    return (None, None) if not np.isfinite(r) else (r, p_of(r, len(x) - 1 - len(sizes)))
