"""Pictures of given codes: the frozen plan against the published recipe and the rivals, each in its own process."""

import dataclasses
import importlib.util
import pathlib
import statistics
import tempfile

from benchmarks.contestant import Spec, export, flop_of_reference
from benchmarks.measuring import Wishes, race
from dnnlib.console import say
from torch_utils.precision import has_bf16

LIMIT = {"fp32": 1e-4, "bf16": 0.02}  # root mean square deviation as a share of the picture's standard deviation
TARGETS = {(1024, 1): (8, 14), (1024, 4): (9, 16), (256, 1): (3.5, 6), (256, 8): (6, 12)}
BASES = {1024: 32768, 512: 32768, 256: 16384, 128: 16384, 64: 16384}
SWEEP = ((64, 1), (128, 1), (512, 1), (256, 2), (256, 4))


def suite_infer(rounds, wishes=None):
    """Drawing: 1024² and 256², one picture and several, fp32 and bf16, with and without the allocator setting."""
    wishes = wishes or Wishes(rounds=rounds)
    results = []
    for resolution, batch in (*TARGETS, *(SWEEP if wishes.sweep else ())):
        few = max(1, min(wishes.rounds, 2)) if resolution * batch >= 2048 else wishes.rounds
        results += _race(resolution, batch, few, wishes)
    return results


def flop(resolution, channels):
    """Returns the arithmetic of one picture, 2 a multiply-add: convolutions (the up-sampling one counted on its input),
    4x4 low-passes, 1x1 convolutions to RGB.
    """
    total, previous = 0, None
    for level, width in enumerate(channels):
        pixels = (4 * 2**level) ** 2
        total += 2 * 9 * width * width * pixels + 2 * 3 * width * pixels
        total += 0 if previous is None else 2 * 9 * previous * width * pixels // 4 + 2 * 16 * width * pixels
        previous = width
    return total


def _race(resolution, batch, rounds, wishes):
    from voice2style.generators.stylegan2 import channel_table

    base = BASES[resolution]
    common = Spec("", "ours", threads=wishes.threads, resolution=resolution, channel_base=base, batch=batch)
    work = f"G {resolution}², batch {batch}"
    say(f"  {work} ...")
    with tempfile.TemporaryDirectory() as folder:
        specs = [dataclasses.replace(common, name="published", kind="ref", allocator=False),
                 dataclasses.replace(common, name="published + allocator", kind="ref"),
                 dataclasses.replace(common, name="fp32")]
        if batch == 1 or wishes.sweep:
            specs.append(dataclasses.replace(common, name="fp32 without allocator", allocator=False))
        if has_bf16():
            specs.append(dataclasses.replace(common, name="bf16", precision="bf16"))
        specs += _rivals(common, wishes, pathlib.Path(folder))
        specs.append(dataclasses.replace(common, name="best convolution fp32", kind="convolution"))
        if has_bf16():
            specs.append(dataclasses.replace(common, name="best convolution bf16", kind="convolution",
                                             precision="bf16"))
        seconds, facts = race(specs, rounds, limit=LIMIT)
    work_flop = flop(resolution, channel_table(resolution, base)) * batch
    return [_row(work, spec, seconds, facts, work_flop, (resolution, batch)) for spec in specs
            if spec.kind not in ("ref", "convolution")]


def _rivals(common, wishes, folder):
    """Returns the specs of those rivals that were asked for and are installed; says which are not."""
    specs = []
    graphs = [name for name in ("onnxruntime", "openvino") if name in wishes.against]
    missing = [name for name in graphs if importlib.util.find_spec(name) is None]
    for name in missing:
        say(f"  {name} is not installed: left out")
    graphs = [name for name in graphs if name not in missing]
    if graphs:
        path = folder / "synthesis.onnx"
        export(common, path)
        for name in graphs:
            specs.append(dataclasses.replace(common, name=f"{name} fp32", kind=name, onnx=str(path)))
        if "openvino" in graphs and has_bf16():
            specs.append(dataclasses.replace(common, name="openvino bf16", kind="openvino", onnx=str(path),
                                             precision="bf16"))
    if "compile" in wishes.against:
        specs.append(dataclasses.replace(common, name="torch.compile of the published recipe", kind="compile"))
    return specs


def _row(work, spec, seconds, facts, work_flop, sizes):
    """Returns the result of one contestant against the published recipe without the allocator setting."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    rate = work_flop / middle[spec.name]
    best = flop_of_reference("convolution") / middle[f"best convolution {spec.precision}"]
    targets = TARGETS.get(sizes)
    target = targets[spec.precision == "bf16"] if targets and spec.kind == "ours" and spec.allocator else None
    ratio = middle["published"] / middle[spec.name]
    return {"work": f"{work}, {spec.name}", "ours_s": middle[spec.name], "rounds": len(seconds[spec.name]),
            "ours_range_s": [min(seconds[spec.name]), max(seconds[spec.name])], "reference": "published",
            "reference_s": middle["published"], "reference_peak_gb": facts["published"]["peak_gb"],
            "reference_range_s": [min(seconds["published"]), max(seconds["published"])], "ratio": ratio,
            "ratio_both_with_allocator": middle["published + allocator"] / middle[spec.name],
            "target": f"{target:g} ×" if target else None, "met": ratio >= target if target else None,
            "ratio_cpu": facts["published"]["cpu_s"] / facts[spec.name]["cpu_s"],
            **facts[spec.name], "gflops": rate / 1e9, "share_of_best_convolution": rate / best,
            "resolution": sizes[0], "batch": sizes[1], "contestant": spec.name}
