"""Makes and shows datasets: `world` writes voices and faces of the drawn world, `show` draws a sheet of a dataset."""

import dataclasses
import os
import re
import shlex
import sys

import click

from dnnlib.command_line import Door, DoorGroup
from dnnlib.console import say


@click.group(cls=DoorGroup)
def main():
    """Make and show datasets of faces and voices."""


class Seconds(click.ParamType):
    """A length of clips: one number, or a range such as 3-8."""

    name = "seconds"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:-\s*(\d+(?:\.\d+)?)\s*)?", str(value))
        if not match:
            self.fail(f'"{value}" is not a length in seconds such as 4 or 3-8.', param, ctx)
        return float(match[1]), float(match[2] or match[1])


@main.command(cls=Door)
@click.option("--people", type=int, required=True, help="Number of people.")
@click.option("--faces-per", type=int, default=1, show_default=True, help="Pictures of each person.")
@click.option("--clips-per", type=int, default=1, show_default=True, help="Clips of each person.")
@click.option("--resolution", type=int, default=64, show_default=True, help="Side of the pictures in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which world.")
@click.option("--dest", required=True, help="New folder, or new file that ends in .zip.")
@click.option("--audibility", type=float, default=1.0, show_default=True, help="0 to 1: how far faces follow voices.")
@click.option("--nuisance", type=float, default=1.0, show_default=True, help="0 to 2: pose, light, noise, channel.")
@click.option("--first-person", type=int, default=0, show_default=True, help="Number of the first person.")
@click.option(
    "--audio", type=click.Choice(["flac", "wav"]), default="flac", show_default=True, help="File type of clips."
)
@click.option("--seconds", type=Seconds(), default="3-8", show_default=True, help="Length of clips.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes; default: one a usable CPU core if there is enough to do."
)
def world(dest, workers, seconds, **numbers):
    """Write people of the drawn world, with ground truth. The same options give the same bytes."""
    from tqdm import tqdm

    from training.datasets.world import WorldSettings, write_world

    settings = WorldSettings(min_seconds=seconds[0], max_seconds=seconds[1], **numbers)
    settings.check()
    workers = workers or _useful_workers(settings.people * (settings.faces_per + 4 * settings.clips_per))
    with tqdm(total=settings.people, unit=" people", desc="Drawing", disable=None) as bar:
        write_world(settings, dest, workers=workers, command=_command(settings), progress=bar.update)
    faces, clips = settings.people * settings.faces_per, settings.people * settings.clips_per
    say(
        f"{dest}: {settings.people} people, {faces} faces of {settings.resolution}x{settings.resolution}, {clips} clips"
    )


@main.command(cls=Door)
@click.option("--data", required=True, help="Dataset: folder or zip.")
@click.option("--dest", required=True, help="Picture to write, a .png.")
@click.option("--people", type=click.IntRange(min=1), default=24, show_default=True, help="At most so many people.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split.")
@click.option(
    "--cell", type=click.IntRange(16, 1024), default=128, show_default=True, help="Width of a face on the sheet."
)
def show(data, dest, people, split, cell):
    """Draw a sheet of a dataset's people: a face each, with a waveform beneath."""
    from torch_utils.images import write_png
    from training.dataset import Dataset
    from training.datasets.contact_sheet import contact_sheet

    if not dest.lower().endswith(".png"):
        raise click.BadParameter(f'"{dest}" does not end in .png.', param_hint="--dest")
    sheet = contact_sheet(Dataset(data), split=split, num_people=people, cell=cell)
    write_png(dest, sheet)
    say(f"{dest}: {sheet.shape[1]}x{sheet.shape[0]}")


def _useful_workers(work):
    """A process for each usable core, unless the work is over before more processes have started."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if work >= 2000 else 1


def _command(settings):
    """The command that makes these contents, wherever and however fast: no --dest, no --workers."""
    options = dataclasses.asdict(settings)
    options["seconds"] = f"{options.pop('min_seconds'):g}-{options.pop('max_seconds'):g}"
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["python", "dataset_tool.py", "world", *words])


if __name__ == "__main__":
    sys.exit(main())
