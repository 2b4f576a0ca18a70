"""Metrics: FID of two folders beside clean-fid itself, and the two ends of a PPL step in one call or in two."""

import contextlib
import io
import pathlib
import tempfile

from benchmarks.measuring import interleaved, row

_PICTURES, _SIDE = 2000, 64


def suite_metrics(rounds):
    """FID of two folders of 2000 pictures by the same network, beside clean-fid's compute_fid; PPL's two ends."""
    with tempfile.TemporaryDirectory() as name:
        return [*fid_rows(pathlib.Path(name), rounds), *ppl_rows(rounds)]


def fid_rows(folder, rounds):
    """Rows of FID in the mode clean: pictures read, resized, looked at by a stand-in network, moments, distance.

    RuntimeError when the two programs do not give the same number to 1e-3.
    """
    import torch
    from cleanfid import fid as theirs
    from cleanfid.inception_torchscript import InceptionV3W

    from metrics.samples import default_workers
    from training.measuring import MeasureSettings, measure

    _write_pictures(folder / "real", 0)
    _write_pictures(folder / "fake", _PICTURES)
    weights = _write_network(folder)
    network = InceptionV3W(str(folder), download=False, resize_inside=False)
    values = {}

    def ours():
        settings = MeasureSettings(inception=str(weights), trust_weights=True, num=_PICTURES, rounds=0, cache=False,
                                   verbose=False, work_dir=str(folder / "work"))
        with contextlib.redirect_stderr(io.StringIO()):
            values["ours"] = measure(["fid_clean"], fakes=folder / "fake", data=folder / "real",
                                     settings=settings)[0].results[0].value

    def clean_fid(workers):
        values["theirs"] = float(theirs.compute_fid(
            str(folder / "fake"), str(folder / "real"), mode="clean", custom_feat_extractor=network, batch_size=32,
            num_workers=workers, device=torch.device("cpu"), verbose=False))

    workers = default_workers()
    contestants = {"fid_clean": ours, "clean-fid, no workers": lambda: clean_fid(0),
                   f"clean-fid, {workers} workers": lambda: clean_fid(workers)}
    seconds = interleaved(contestants, rounds)
    if abs(values["ours"] - values["theirs"]) > 1e-3 * values["theirs"]:
        raise RuntimeError(f"fid_clean is {values['ours']}, clean-fid says {values['theirs']}: nothing to compare.")
    rows = [row(f"FID (clean) of two folders of {_PICTURES} pictures of {_SIDE}², same stand-in network", seconds,
                "fid_clean", reference, "at least as fast as clean-fid") for reference in list(contestants)[1:]]
    return [{**result, "values": dict(values), "met": result["ratio"] >= 1} for result in rows]


def ppl_rows(rounds):
    """Rows of PPL: mapping, noise and synthesis of both ends of a step in one batch, beside two calls."""
    import torch

    from training.picture_sources import Latents
    from voice2style.pipeline import load

    latents = Latents(load(device="cpu"), seed=0)
    indices = list(range(16))
    with torch.inference_mode():
        w0, w1 = (latents.generator.mapping(latents.z(indices, name), None) for name in ("z", "z1"))
        ends = w0, torch.lerp(w0, w1, 1e-4)

    def draw(ws, noise):
        with torch.inference_mode():
            return latents.model.synthesis(ws, noise_mode="random", generator=noise, force_fp32=True)

    def shared():
        noise = latents.noise(indices)
        return draw(torch.cat(ends), [*noise, *noise])

    seconds = interleaved({"one call": shared,
                           "two calls": lambda: [draw(ws, latents.noise(indices)) for ws in ends]}, rounds * 5)
    result = row("both ends of 16 PPL steps of the demo model", seconds, "one call", "two calls",
                 "no slower than two calls")
    return [{**result, "met": result["ratio"] >= 0.98}]


def _write_pictures(folder, first):
    """Writes drawn faces; pictures that are smooth compress and resize as photographs do."""
    from torch_utils.images import to_hwc, to_uint8, write_png
    from voice2style.demo.world import World

    folder.mkdir()
    world = World(seed=3)
    for start in range(0, _PICTURES, 200):
        people = world.people(range(first + start, first + start + 200))
        for index, image in enumerate(world.faces(people, 0, _SIDE)[0]):
            write_png(folder / f"{start + index:05d}.png", to_hwc(to_uint8(image)))


def _write_network(folder):
    """Writes a TorchScript file that answers as Inception does: 2048 features of a picture of 299²."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 32, 9, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(8), nn.Flatten(),
                                        nn.Linear(2048, 2048), nn.ReLU())

        def forward(self, img, return_features: bool = False):
            return self.layers(img)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = folder / "inception-2015-12-05.pt"
        torch.jit.script(Network().eval()).save(str(path))
    return path
