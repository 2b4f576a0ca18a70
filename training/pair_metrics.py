"""The metrics of pairs of pictures: SSIM, MS-SSIM, LPIPS, and how different generated pictures are from each other."""

import dataclasses
import pathlib

import numpy as np
import torch
from tqdm import tqdm

from metrics.features import summed
from metrics.lpips_distance import bootstrap_mean, random_pairs
from metrics.matching import deal
from metrics.result import Result
from metrics.samples import Drawn, as_floats, as_pixels
from metrics.ssim import ms_ssim, scales_that_fit, ssim
from torch_utils import distributed
from training.metric_rows import Metric, Outcome
from training.picture_sources import face_of

_DIVERSITY_PICTURES = 2000


@dataclasses.dataclass(frozen=True)
class Pairs:
    """`pair(i)` -> (real, generated), uint8 [H, W, 3] each; `facts` say how they were paired.

    Where voices made the pairs, `stranger(i, generated)` is the face of the person who was dealt voice i: the control.
    """

    count: int
    pair: object
    facts: dict
    stranger: object = None


def pairs_of(bench):
    """Returns the pairs: files of the same name on both sides, or each person's face and the face from their voice."""
    if bench.fakes_path is not None:
        pairs = _pairs_by_name(bench)
    elif bench.dataset is not None and bench.model is not None and bench.model.hears:
        pairs = _pairs_by_voice(bench)
    else:
        raise ValueError("pairs are needed: a voice model with a dataset of voices and faces, or --fakes and --data "
                         "with files of the same names.")
    limit = min(pairs.count, bench.settings.limit or pairs.count, bench.settings.num or pairs.count)
    return dataclasses.replace(pairs, count=limit)


def measure_ssim(bench):
    """Returns the mean SSIM of the pairs."""
    return _measure(bench, "ssim", lambda real, fake: ssim(real, fake), "formula")


def measure_ms_ssim(bench):
    """Returns the mean MS-SSIM of the pairs, over as many of the five scales as the pictures have room for."""
    pairs = pairs_of(bench)
    scales = scales_that_fit(min(pairs.pair(0)[0].shape[:2]))
    if scales == 0:
        raise ValueError("pictures below 11 pixels a side are too small for SSIM.")
    if scales < 5:
        bench.caution(f"MS-SSIM over {scales} of 5 scales, for pictures below 176 pixels a side have no room for more; "
                      "it compares only with numbers of as many scales.")
    return _measure(bench, "ms_ssim", lambda real, fake: ms_ssim(real, fake, scales=scales),
                    f"formula, {scales} scales")


def measure_lpips(bench):
    """Returns the mean LPIPS of the pairs."""
    judge = bench.distance()
    return _measure(bench, "lpips", judge, judge.name, sha256=judge.sha256)


def measure_diversity(bench):
    """Returns the mean LPIPS of random pairs of generated pictures, and of real ones where there are any."""
    judge, seed, results, facts = bench.distance(), bench.settings.seed, [], {}
    sides = [("lpips_diversity", bench.fakes(_DIVERSITY_PICTURES))]
    if bench.data_path is not None:
        sides.append(("lpips_diversity_real", bench.reals()))
    for name, source in sides:
        pairs = random_pairs(source.count, min(source.count, bench.settings.num or _DIVERSITY_PICTURES), seed=seed)

        def distances(part, source=source, pairs=pairs):
            first, second = (as_floats(_pixels(source, pairs[part][:, side])) for side in (0, 1))
            return judge(first, second)

        values = _shared(bench, name, (len(pairs),), distances)
        value, low, high = bootstrap_mean(values, seed=seed, rounds=bench.settings.rounds)
        results.append(Result(name, value, low, high, len(pairs), seed, judge.name))
        facts["fake" if name == "lpips_diversity" else "real"] = source.facts
    return Outcome(results, {"mode": "disjoint random pairs", "n": results[0].n, "judge": judge.name,
                             "judge_sha256": judge.sha256, "interval": "bootstrap over pairs", **facts})


def _measure(bench, name, distance, judge_name, sha256=None):
    pairs = pairs_of(bench)

    seed, rounds = bench.settings.seed, bench.settings.rounds

    def distances(part):
        chosen = [pairs.pair(i) for i in part]
        real, fake = (as_floats([pair[side] for pair in chosen]) for side in (0, 1))
        if pairs.stranger is None:
            return distance(real, fake)[:, None]
        strangers = as_floats([pairs.stranger(i, generated) for i, (_, generated) in zip(part, chosen)])
        return torch.stack([distance(real, fake), distance(strangers, fake)], 1)

    values = _shared(bench, name, (pairs.count, 1 if pairs.stranger is None else 2), distances)
    found = [bootstrap_mean(column, seed=seed, rounds=rounds) for column in values.T]
    return Outcome([Result(name + ending, *limits, pairs.count, seed, judge_name)
                    for ending, limits in zip(("", "_shuffled"), found)],
                   {"mode": "pairs", "n": pairs.count, "judge": judge_name, "judge_sha256": sha256,
                    "interval": "bootstrap over pairs" if rounds else None, **pairs.facts})


def _shared(bench, name, shape, distances):  # -> float64 shape
    """Returns the distances of every pair, in batches that the ranks share; `distances(list of numbers) -> [N, …]`."""
    values, size, count = np.zeros(shape), bench.settings.batch, shape[0]
    batches = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
    for part in tqdm(batches[distributed.rank()::distributed.world_size()], desc=name, unit="batch", leave=False,
                     disable=None if bench.settings.verbose and distributed.is_first() else True):
        values[part] = distances(part).double().cpu().numpy()
    return summed(values, bench.device)


def _pixels(source, places):
    places = [int(place) for place in places]
    return list(as_pixels(source.draw(places))) if isinstance(source, Drawn) else [source.picture(i) for i in places]


def _pairs_by_name(bench):
    fakes, reals = bench.fakes(10**9), bench.reals()
    places = {pathlib.PurePosixPath(name).with_suffix("").as_posix(): i for i, name in enumerate(reals.names)}
    found = [(i, places[stem]) for i, name in enumerate(fakes.names)
             if (stem := pathlib.PurePosixPath(name).with_suffix("").as_posix()) in places]
    if not found:
        raise ValueError(f'"{bench.fakes_path}" and the data have no file name in common; pairs are files of the same '
                         "name on both sides.")

    def pair(i):
        fake = fakes.picture(found[i][0])
        return _as_large_as(reals.picture(found[i][1]), fake), fake

    return Pairs(len(found), pair, {"pairs": "files of the same name", "real": reals.facts, "fake": fakes.facts})


def _pairs_by_voice(bench):
    from voice2style.listening import listen

    dataset, split, psi = bench.dataset, bench.settings.split, bench.settings.truncation_psi
    faces = {row["person"]: row for row in reversed(dataset.faces(split))}
    rows = list({row["person"]: row for row in reversed(dataset.voices(split)) if row["person"] in faces}.values())
    if not rows:
        raise ValueError(f'"{dataset.path}" has nobody with a voice and a face'
                         + (f' in the split "{split}".' if split else "."))

    def pair(i):
        fake = as_pixels(face_of(bench.model, listen, dataset, rows[i], psi))[0]
        return _as_large_as(dataset.read_face(faces[rows[i]["person"]]), fake), fake

    dealt = deal(np.arange(len(rows)), bench.settings.seed) if len(rows) > 1 else [0]

    def stranger(i, fake):
        return _as_large_as(dataset.read_face(faces[rows[dealt[i]]["person"]]), fake)

    return Pairs(len(rows), pair, {"pairs": "a face of each person, and the face from their voice",
                                   "shuffled": "the same faces beside people to whom the voices were dealt",
                                   "real": bench.reals().facts, "fake": {**bench.network_facts(), "noise": "const"}},
                 stranger)


def _as_large_as(picture, other):  # uint8 [H, W, 3]
    """Returns a picture in the size of another, resized with antialiasing when it has not that size."""
    if picture.shape == other.shape:
        return picture
    image = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float()
    image = torch.nn.functional.interpolate(image, size=other.shape[:2], mode="bicubic", antialias=True)
    return image[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


PAIR_METRICS = {
    "ssim": Metric("structural similarity of pairs", measure_ssim, ("fakes", "data")),
    "ms_ssim": Metric("multi-scale structural similarity of pairs", measure_ms_ssim, ("fakes", "data")),
    "lpips": Metric("LPIPS (vgg) of pairs", measure_lpips, ("fakes", "data", "distance")),
    "lpips_diversity": Metric("LPIPS of random pairs of generated pictures", measure_diversity, ("fakes", "distance")),
}
