"""The metrics of image quality that compare sets of pictures: FID, KID, precision and recall, Inception Score."""

import numpy as np
from PIL import Image

from metrics.fid import fid_with_interval, small_n_warning
from metrics.inception_score import mean_and_std
from metrics.kid import SUBSET_SIZE, SUBSETS, kid
from metrics.precision_recall import neighbour_radii, share_inside, wilson_interval
from metrics.result import Result
from metrics.samples import Drawn, as_pixels
from training.metric_rows import Look, Metric, Outcome

_FAKES = 50000
_MOST_REAL_KID, _MOST_REAL_PR = 1_000_000, 200_000
_SHOWN, _SHOWN_SIDE = 10, 96
_FOR_PAIR = ("fakes", "data")


def measure_fid(bench, *, name, eye, ddof, real_count=None, flips=False):
    """Returns the FID of one definition: `eye` resizes and looks, `ddof` is what the covariance lacks of n."""
    real, fake = _looks(eye, "moments", real_count, flips)
    judge, reference, generated = bench.eye(eye), bench.look(real).whole(), bench.look(fake)
    count = sum(part.count for part in generated.parts)
    _check_n(bench, name, count, fake)
    for side, number in (("generated", count), ("real", reference.count)):
        if line := small_n_warning(number, judge.dim):
            bench.caution(f"{side} side: {line}")
    value, low, high = fid_with_interval(reference, generated, ddof=ddof, interval=bench.settings.rounds > 0)
    how = "delete-one-of-ten-groups jackknife over generated pictures, Student's t, the real set as it is"
    return Outcome([Result(name, value, low, high, count, bench.settings.seed, judge.name)],
                   {**_protocol(bench, real, fake, eye), "covariance_divided_by": f"n - {ddof}" if ddof else "n",
                    "interval": how if low is not None else None},
                   pictures={f"{name}-real-above-generated.png": lambda: _sheet(bench, real, fake)})


def measure_kid(bench, *, name, eye):
    """Returns KID over 100 seeded subsets of at most 1000 pictures."""
    real, fake = _looks(eye, "features", _MOST_REAL_KID)
    judge, reference, generated = bench.eye(eye), bench.look(real), bench.look(fake)
    _check_n(bench, name, len(generated), fake)
    if min(len(generated), len(reference)) < SUBSET_SIZE:
        bench.caution(f"KID of {len(generated)} generated and {len(reference)} real pictures: the subsets are smaller "
                      f"than the usual {SUBSET_SIZE}; the value has no bias, but its interval is wide.")
    value, low, high = kid(reference, generated, seed=bench.settings.seed)
    return Outcome([Result(name, value, low, high, len(generated), bench.settings.seed, judge.name)],
                   {**_protocol(bench, real, fake, eye), "kernel": "(x·y/K + 1)³, unbiased",
                    "subsets": SUBSETS, "subset_size": min(len(generated), len(reference), SUBSET_SIZE),
                    "interval": "spread of the subsets · √(subset size / n)"})


def measure_precision_recall(bench, *, k=3):
    """Returns precision and recall with balls around the k-th nearest neighbours."""
    real, fake = _looks("vgg", "features", _MOST_REAL_PR)
    judge, reference, generated = bench.eye("vgg"), bench.look(real), bench.look(fake)
    _check_n(bench, "pr50k3_full", len(generated), fake)
    if min(len(generated), len(reference)) < 1000:
        bench.caution(f"precision and recall of {len(generated)} generated and {len(reference)} real pictures: with so "
                      "few the balls are large and both numbers too high; compare runs of equal n only.")
    device, results = bench.device, []
    for name, points, centres in (("precision", generated, reference), ("recall", reference, generated)):
        share = share_inside(points, centres, neighbour_radii(centres, k, device=device), device=device)
        low, high = wilson_interval(share, len(points))
        results.append(Result(f"pr50k3_full_{name}", share, low, high, len(points), bench.settings.seed, judge.name))
    return Outcome(results, {**_protocol(bench, real, fake, "vgg"), "k": k, "distances": "float32 or better",
                             "interval": "Wilson, over the counted pictures, the balls as they are"})


def measure_inception_score(bench):
    """Returns mean and standard deviation of the Inception Score over 10 splits."""
    look = Look("fake", "classes", "scores", _FAKES)
    sums, judge = bench.look(look), bench.eye("classes")
    _check_n(bench, "is50k", sums.num_pictures, look)
    classes = sums.total.shape[1]
    if sums.num_pictures < 10 * classes:
        bench.caution(f"an Inception Score of {sums.num_pictures} pictures and {classes} classes is biased; "
                      f"use {10 * classes} or more.")
    mean, std, low, high = mean_and_std(sums.scores())
    n, seed = sums.num_pictures, bench.settings.seed
    return Outcome([Result("is50k_mean", mean, low, high, n, seed, judge.name),
                    Result("is50k_std", std, None, None, n, seed, judge.name)],
                   {**_protocol(bench, None, look, "classes"), "splits": len(sums.counts), "classes": classes,
                    "interval": "Student's t over the splits"})


def _sheet(bench, real, fake):  # -> uint8 [H, W, 3]
    """Returns two rows of what was compared: the first real pictures, the first generated ones below."""
    rows = []
    for look in (real, fake):
        source = bench.pictures_of(look)
        places = list(range(min(_SHOWN, source.count)))
        found = list(as_pixels(source.draw(places))) if isinstance(source, Drawn) else [
            source.picture(i) for i in places]
        rows += [np.asarray(Image.fromarray(pixels).resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC))
                 for pixels in found] + [np.full([_SHOWN_SIDE, _SHOWN_SIDE, 3], 255, np.uint8)] * (_SHOWN - len(found))
    return np.concatenate([np.concatenate(rows[:_SHOWN], 1), np.concatenate(rows[_SHOWN:], 1)])


def _looks(eye, want, real_count, flips=False):
    return Look("real", eye, want, real_count, flips), Look("fake", eye, want, _FAKES)


def _check_n(bench, name, count, look):
    """Says so when n is not the one in the metric's name."""
    if count != look.count:
        bench.caution(f"{name} stands for {look.count} generated pictures; this one is of {count}: it compares only "
                      "with numbers of the same n.")


def _protocol(bench, real, fake, eye):
    """Returns the fields that say what was compared, by which judge."""
    judge, settings = bench.eye(eye), bench.settings
    sides = {side: bench.facts_of(look) for side, look in (("real", real), ("fake", fake)) if look is not None}
    return {"mode": eye if settings.judge == "inception" else "drawn", "n": bench.count_of(fake),
            "judge": judge.name, "judge_sha256": judge.sha256, "resize": judge.resize,
            "flips": bool(real and real.flips), **sides}


def _fid_row(name, what, eye, *, ddof, real_count=None, mirrored=False):
    def measure(bench):
        return measure_fid(bench, name=name, eye=eye, ddof=ddof, real_count=real_count,
                           flips=mirrored and bench.settings.mirror)

    return Metric(what, measure, _FOR_PAIR, _looks(eye, "moments", real_count))


IMAGE_METRICS = {
    "fid50k_full": _fid_row("fid50k_full", "FID as NVIDIA defines it: 50k generated against all real pictures",
                            "nvidia", ddof=0),
    "fid50k": _fid_row("fid50k", "the same against 50k real pictures, flipped too with --mirror", "nvidia", ddof=0,
                       real_count=_FAKES, mirrored=True),
    "fid_clean": _fid_row("fid_clean", "FID of clean-fid, mode clean", "clean", ddof=1),
    "fid_legacy_tensorflow": _fid_row("fid_legacy_tensorflow", "FID of clean-fid, mode legacy_tensorflow",
                                      "legacy_tensorflow", ddof=1),
    "fid_legacy_pytorch": _fid_row("fid_legacy_pytorch", "FID of clean-fid, mode legacy_pytorch (pytorch-fid)",
                                   "legacy_pytorch", ddof=1),
    "kid50k_full": Metric("KID, unbiased: 100 subsets of 1000", lambda bench: measure_kid(
        bench, name="kid50k_full", eye="nvidia"), _FOR_PAIR, _looks("nvidia", "features", _MOST_REAL_KID)),
    "kid_clean": Metric("KID with the features of clean-fid, mode clean", lambda bench: measure_kid(
        bench, name="kid_clean", eye="clean"), _FOR_PAIR, _looks("clean", "features", _MOST_REAL_KID)),
    "pr50k3_full": Metric("improved precision and recall, k = 3", measure_precision_recall, _FOR_PAIR,
                          _looks("vgg", "features", _MOST_REAL_PR)),
    "is50k": Metric("Inception Score: mean and std over 10 splits", measure_inception_score, ("fakes",),
                    (Look("fake", "classes", "scores", _FAKES),)),
}
