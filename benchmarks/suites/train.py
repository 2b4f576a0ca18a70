"""Training iterations (G main, path length every 4, D main, R1 every 16) against the published recipe."""

import dataclasses
import statistics

from benchmarks.contestant import Spec
from benchmarks.measuring import Wishes, race
from dnnlib.console import say
from torch_utils.precision import has_bf16

# Of the gradients. Where an argument of a leaky ReLU rounds to the other side of 0 its slope turns, and the path-length
# gradients of any two float32 programs differ by some 1e-3, those of the published one and float64 by 3e-3. bfloat16 is
# reported, not judged: a gradient is noisier than it.
LIMIT = {"fp32": 1e-2, "bf16": 1.0}
TARGETS = {(64, 4096, 128, 16): (2.5, 4), (64, 4096, 64, 32): (5, 9), (128, 8192, 128, 16): (None, None)}


def suite_train(rounds, wishes=None):
    """Full training iterations: 64² in two widths; with --sweep 128² and the grouped form of the published recipe."""
    wishes = wishes or Wishes(rounds=rounds)
    results = []
    for sizes in TARGETS:
        if sizes[0] == 64 or wishes.sweep:
            results += _race(sizes, min(wishes.rounds, 3), wishes)
    return results


def _race(sizes, rounds, wishes):
    resolution, base, widest, batch = sizes
    work = f"iteration {resolution}², base {base}, max {widest}, batch {batch}"
    say(f"  {work} ...")
    common = Spec("fp32", "ours", task="train", threads=wishes.threads, resolution=resolution, channel_base=base,
                  channel_max=widest, batch=batch)
    published = dataclasses.replace(common, name="published", kind="ref", grouped=False, allocator=False)
    specs = [published,
             dataclasses.replace(published, name="published + allocator", allocator=True),
             common, dataclasses.replace(common, name="fp32 without allocator", allocator=False)]
    if has_bf16():
        specs.append(dataclasses.replace(common, name="bf16", precision="bf16"))
    if wishes.sweep:
        specs.append(dataclasses.replace(published, name="published, grouped convolutions", grouped=True))
    seconds, facts = race(specs, rounds, limit=LIMIT)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    results = []
    for spec in specs[2:]:
        target = TARGETS[sizes][spec.precision == "bf16"] if spec.name in ("fp32", "bf16") else None
        ratio = middle["published"] / middle[spec.name]
        results.append({
            "work": f"{work}, {spec.name}", "ours_s": middle[spec.name], "rounds": rounds, "reference": "published",
            "ours_range_s": [min(seconds[spec.name]), max(seconds[spec.name])], "reference_s": middle["published"],
            "reference_range_s": [min(seconds["published"]), max(seconds["published"])], "ratio": ratio,
            "ratio_both_with_allocator": middle["published + allocator"] / middle[spec.name],
            "ratio_cpu": facts["published"]["cpu_s"] / facts[spec.name]["cpu_s"],
            "images_per_s": batch / middle[spec.name], "target": f"{target:g} ×" if target else None,
            "met": ratio >= target if target else None, "reference_peak_gb": facts["published"]["peak_gb"],
            **facts[spec.name], "resolution": resolution, "batch": batch, "contestant": spec.name})
    return results
