"""The metrics of a generator's latent space: PPL in its five published kinds, and the length that training holds."""

import contextlib
import hashlib
import json

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.files import atomic_path
from metrics import ppl
from metrics.features import DAMAGED
from metrics.result import Result
from torch_utils import distributed
from torch_utils.random_streams import stream
from training.metric_rows import Metric, Outcome

_PAIRS = 50000
_NEEDS = ("network", "mapping", "distance")
_STREAM_ONLY = "path length"


def measure_ppl(bench, name):
    """Returns one kind of PPL: the mean of LPIPS / ε² over steps of ε = 1e-4, trimmed to its inner 98 %."""
    kind, distance, latents = ppl.KINDS[name], bench.distance(), bench.latents()
    count, model = bench.settings.num or _PAIRS, bench.model

    def lengths_of(indices):
        with torch.inference_mode():
            t = _times(bench.settings.seed, indices, kind.sampling).to(model.device, model.dtype)
            ws = ppl.path_codes(latents.generator.mapping, latents.z(indices, "z"), latents.z(indices, "z1"),
                                latents.c(indices), t, kind.space)
            noise = latents.noise(indices)
            images = model.synthesis(ws, noise_mode="random", generator=[*noise, *noise], force_fp32=True).float()
        return ppl.step_lengths(images, distance, crop=kind.crop, resolution=latents.generator.img_resolution)

    lengths = _lengths(bench, name, count, distance, lengths_of)
    value, low, high = ppl.mean_length(lengths, seed=bench.settings.seed, rounds=bench.settings.rounds)
    if count != _PAIRS:
        bench.caution(f"{name} stands for {_PAIRS} steps; this one is of {count}.")
    if count < 1000:
        bench.caution(f"{name} of {count} steps: a few long steps carry the mean; use 1000 or more.")
    side = latents.generator.img_resolution
    crop = "rows 3c:7c, columns 2c:6c, c = H//8" if kind.crop else "none"
    return Outcome([Result(name, value, low, high, count, bench.settings.seed, distance.name)],
                   {"mode": f"space {kind.space}, sampling {kind.sampling}", "n": count, "judge": distance.name,
                    "judge_sha256": distance.sha256, "epsilon": ppl.EPSILON, "crop": crop,
                    "resize": f"box mean by {side // ppl.LARGEST_SIDE}" if side >= 512 else "none",
                    "trimmed": "below the 1st percentile (lower), above the 99th (higher)", "truncation_psi": 1.0,
                    "noise": "random, the same at both ends", "arithmetic": "float32, no TF32", "flips": False,
                    "fake": bench.network_facts(),
                    "interval": "bootstrap over steps" if low is not None else None},
                   pictures={f"{name}.png": lambda: _histogram(lengths, name)})


def measure_path_length(bench):
    """Returns E‖J_wᵀy‖ with y ~ N(0, I)/√(HW): the length that StyleGAN2 holds constant in training, not a PPL."""
    model, latents, seed = bench.model, bench.latents(), bench.settings.seed
    count = bench.settings.num or 1000

    def lengths_of(indices):
        with torch.no_grad():
            ws = latents.generator.mapping(latents.z(indices), latents.c(indices))
        shape = [latents.generator.img_channels, latents.generator.img_resolution, latents.generator.img_resolution]
        y = torch.stack([torch.randn(shape, generator=stream(seed, "metric", _STREAM_ONLY, i)) for i in indices])
        noise = latents.noise(indices)

        def synthesis(codes):
            return model.synthesis(codes, noise_mode="random", generator=noise, force_fp32=True)

        return ppl.jacobian_lengths(synthesis, ws, y.to(model.device, model.dtype)).cpu().double()

    lengths = _lengths(bench, "path_length", count, None, lengths_of)
    mean, error = float(lengths.mean()), float(lengths.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return Outcome([Result("path_length_jacobian", mean, mean - 1.96 * error, mean + 1.96 * error, count, seed,
                           "none: gradients of the pictures")],
                   {"mode": "E‖J_wᵀy‖₂, y of N(0, I) / √(HW), root of the mean over layers", "n": count, "judge": None,
                    "truncation_psi": 1.0, "noise": "random", "fake": bench.network_facts(),
                    "note": "the 'path length' of training logs; it is not a PPL and compares with none",
                    "interval": "normal"})


def _times(seed, indices, sampling):  # -> [N]
    if sampling == "end":
        return torch.zeros(len(indices))
    return torch.cat([torch.rand(1, generator=stream(seed, "metric", "t", i)) for i in indices])


def _lengths(bench, name, count, judge, lengths_of):  # -> float64 [count]
    """Returns a length for every number, each rank its batches; what a stopped run had is in a mapped file."""
    facts = {"metric": name, "count": count, "judge": judge and judge.sha256, **bench.network_facts()}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    path = bench.work_folder(key) / "lengths.npy"
    if distributed.is_first() and not _fits(path, count):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.full(count, np.nan))
    distributed.barrier()
    lengths = np.lib.format.open_memmap(path, "r+")
    size = bench.settings.batch
    batches = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
    mine = [batch for batch in batches[distributed.rank()::distributed.world_size()] if np.isnan(lengths[batch]).any()]
    with _exact_float32():
        for batch in tqdm(mine, desc=name, unit="batch", leave=False,
                          disable=None if bench.settings.verbose and distributed.is_first() else True):
            found = lengths_of(batch).numpy()
            if not np.isfinite(found).all():
                raise ValueError(f"{name}: a step has no finite length; the network or the judge overflows.")
            lengths[batch] = found
    lengths.flush()
    distributed.barrier()
    return np.array(lengths)


def _fits(path, count):
    try:
        return np.load(path, mmap_mode="r").shape == (count,)
    except DAMAGED:
        return False


@contextlib.contextmanager
def _exact_float32():
    """Inside it no TF32: steps of 1e-4 are squared, and its ten bits of mantissa would be all that is measured."""
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


def _histogram(lengths, name):
    from metrics.report import histogram

    return histogram(lengths, title=name, label="distance / ε²")


def _row(name):
    kind = ppl.KINDS[name]
    where = "a corner of the path" if kind.sampling == "end" else "the whole path"
    return Metric(f"PPL in {kind.space}, {where}{', middle of the face' if kind.crop else ', whole picture'}",
                  lambda bench: measure_ppl(bench, name), _NEEDS)


PATH_METRICS = {
    **{name: _row(name) for name in ppl.KINDS},
    "path_length": Metric("‖J_wᵀy‖, the length that training regularises (not a PPL)", measure_path_length,
                          ("network", "mapping")),
}
