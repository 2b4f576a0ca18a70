"""Finds the W+ codes of a dataset's faces by optimisation: `python -m training.project_faces --help`.

What it writes is what `--codes` of training takes. A run that was stopped goes on where it was.
"""

import pathlib

import click
import numpy as np
import torch
from tqdm import tqdm

from dnnlib.command_line import Door
from dnnlib.console import say
from dnnlib.files import check_writable, sha256_file
from training.codes import load_codes, save_codes
from training.dataset import SPLITS, Dataset
from training.losses.perceptual import load_perceptual
from voice2style.pipeline import load, network_file
from voice2style.projection import ProjectionSettings, project

_SAVED_EVERY = 50


def project_dataset(model, dataset, dest, *, distance, settings, split="train", most=None, info=None):
    """Writes the codes of a split's faces by their paths to `dest`; returns how many there are.

    `info` goes into the file; ValueError when `dest` holds codes that were made otherwise, or when faces have another
    size than the generator draws. `most`: stops after so many faces (None: all).
    """
    rows = dataset.faces(split)[:most]
    if not rows:
        raise ValueError(f'"{dataset.path}" has no faces in the split "{split}".')
    with torch.inference_mode():
        channels, height, width = model.synthesis(model.mean_codes()).shape[1:]
    codes, dest = {}, pathlib.Path(dest)
    if dest.exists():
        known = load_codes(dest).fit(model.num_ws, model.w_dim)
        if info is not None and {key: known.info.get(key) for key in info} != info:
            raise ValueError(f'"{dest}" holds codes that were made with other settings or another network; give '
                             "another --dest.")
        codes = {name: known[name] for name in known}
    added = 0
    for row in tqdm(rows, desc="Projecting faces", unit="face", disable=None):
        if row["path"] in codes:
            continue
        pixels = dataset.read_face(row)
        if pixels.shape != (height, width, channels):
            raise ValueError(f'"{row["path"]}" is {pixels.shape[1]}x{pixels.shape[0]}, the generator draws '
                             f"{width}x{height}; build the dataset in that size.")
        target = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        codes[row["path"]] = project(model, target, distance, settings).ws[0].float().cpu().numpy()
        added += 1
        if added % _SAVED_EVERY == 0:
            save_codes(dest, codes, info=info)
    if added:
        save_codes(dest, codes, info=info)
    return len(codes)


@click.command(cls=Door)
@click.option("--data", required=True, help="Dataset with faces: folder or zip.")
@click.option("--network", required=True, help="Checkpoint with the generator that training will use.")
@click.option("--dest", required=True, help="Written: a .safetensors file for --codes.")
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True)
@click.option("--perceptual", default="pixels", show_default=True,
              help="What faces are compared by: pixels, drawn, VGG16 weights (LPIPS), a trait probe or a recogniser.")
@click.option("--num-steps", type=click.IntRange(min=1), default=500, show_default=True, help="For each face.")
@click.option("--space", type=click.Choice(["w", "w+"]), default="w+", show_default=True)
@click.option("--most", type=click.IntRange(min=1), help="Stop after so many faces.")
@click.option("--seed", type=int, default=303, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(data, network, dest, split, perceptual, num_steps, space, most, seed, device):
    """Project the faces of a dataset into W+, so that a voice can be taught their codes."""
    check_writable(dest, option="--dest")
    model = load(network, device=device)
    settings = ProjectionSettings(num_steps=num_steps, space=space, seed=seed)
    info = {"network_sha256": sha256_file(network_file(network)), "num_steps": num_steps, "space": space, "seed": seed,
            "perceptual": perceptual if perceptual in ("pixels", "drawn") else sha256_file(perceptual)}
    num = project_dataset(model, Dataset(data), dest, distance=load_perceptual(perceptual, device=model.device),
                          settings=settings, split=split, most=most, info=info)
    say(f"{dest}: codes of {num} faces, {num_steps} steps each in {space.upper()}, distance by {perceptual}")


if __name__ == "__main__":
    main()
