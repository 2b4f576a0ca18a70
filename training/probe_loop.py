"""Trains the trait probe: from drawn faces to the traits that drew them."""

import torch
from tqdm import tqdm

from dnnlib.settings import to_dict
from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, save_probe
from metrics.world_traits import trait_scores
from torch_utils.random_streams import stream
from training.dataset import Dataset
from training.reals import RealFaces
from training.run_folder import RunFolder
from voice2style.demo.traits import TRAITS


def trait_table(dataset, rows, traits):  # -> float32 [N, K]
    """Returns the true traits of the people of `rows`; ValueError when the dataset does not know them."""
    people = {row["person"]: row.get("traits") or {} for row in dataset.people()}
    missing = [name for name in traits if any(name not in people.get(row["person"], {}) for row in rows)]
    if missing:
        raise ValueError(f'"{dataset.path}" has no ground truth for {", ".join(missing)}; '
                         "use a dataset made by dataset_tool.py world.")
    return torch.tensor([[people[row["person"]][name] for name in traits] for row in rows], dtype=torch.float32)


def train_probe(settings, *, data, outdir, desc, command="", device="cpu"):
    """Trains on the train split, prints R² of unseen faces, and returns the path of the probe."""
    dataset, traits = Dataset(data), [trait.name for trait in TRAITS]
    side = dataset.card.get("resolution")
    if not isinstance(side, int) or side < 16 or side % 16:
        raise ValueError(f'"{dataset.path}" holds {side}x{side} faces; a probe needs a multiple of 16: build the '
                         "dataset with --resolution of such a size.")
    faces = RealFaces(dataset, resolution=side, seed=settings.seed)
    truth = trait_table(dataset, dataset.faces("train"), traits)
    with RunFolder(outdir, desc, {"task": "probe", "settings": to_dict(settings), "data": str(data)}) as folder:
        return _train(settings, dataset, faces, truth, traits, folder, command)


def _train(settings, dataset, faces, truth, traits, folder, command):
    """Does what `train_probe` says in its run folder."""
    source = {"data": dataset.card, "settings": to_dict(settings), "command": command}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        probe = TraitProbe(TraitProbeSettings(traits=tuple(traits), resolution=faces.images.shape[3],
                                              width=settings.width, source=source))
    optimiser = torch.optim.AdamW(probe.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=settings.steps)
    progress = tqdm(range(settings.steps), desc="Training the probe", disable=None)
    for index in progress:
        picks = faces.order.batch(index, settings.batch)
        images = noisy(faces.batch(index, settings.batch), stream(settings.seed, "probe", index), settings.noise)
        loss = (probe(images) - truth[picks]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if index % 50 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
    save_probe(probe.eval().requires_grad_(False), folder.path / "probe.safetensors")
    if not dataset.faces("test"):
        folder.say("no R² of unseen faces: the test split has none")
        return folder.path / "probe.safetensors"
    scores = probe_scores(probe, dataset, "test")
    folder.say("test R²  " + "  ".join(f"{score.name} {score.value:.2f}" for score in scores))
    return folder.path / "probe.safetensors"


def noisy(images, generator, most):  # [N, C, H, W] -> [N, C, H, W]
    """Returns pictures with noise of a random strength and a random blur: drawn and generated faces look alike then."""
    strength = torch.rand([len(images), 1, 1, 1], generator=generator) * most
    images = images + strength * torch.randn(images.shape, generator=generator)
    blurred = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return torch.lerp(images, blurred, torch.rand([len(images), 1, 1, 1], generator=generator))


@torch.no_grad()
def probe_scores(probe, dataset, split):
    """Returns the probe's TraitScores on the drawn faces of a split: what it can read at all."""
    rows = dataset.faces(split)
    truth = trait_table(dataset, rows, probe.settings.traits).numpy()
    faces = RealFaces(dataset, split=split, resolution=probe.settings.resolution)
    read = torch.cat([probe(part.float() / 127.5 - 1) for part in faces.images.split(64)]).numpy()
    columns = {name: place for place, name in enumerate(probe.settings.traits)}
    return trait_scores({name: truth[:, k] for name, k in columns.items()},
                          {name: read[:, k] for name, k in columns.items()}, ceilings={}, rounds=200)
