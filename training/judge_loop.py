"""Trains the drawn judge: from drawn faces, some of them blurred and noisy, to the numbers that drew them.

    python -m training.judge_loop --outdir runs --dest metrics/judges/drawn.safetensors

The same command goes on where it stopped. Its people are those of a world of their own seed, so that no model and no
dataset of the drawn world knows them.
"""

import dataclasses
import math
import pathlib

import click
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dnnlib.command_line import Door
from dnnlib.files import check_writable
from dnnlib.settings import to_dict
from metrics.judges.drawn import DrawnJudge, DrawnSettings, save_drawn
from torch_utils.images import to_float, to_uint8
from torch_utils.random_streams import stream
from training.datasets.world import split_of
from training.reals import EndlessOrder
from training.run_folder import RunFolder
from voice2style.demo import drawing, faces
from voice2style.demo.counter_random import Counters
from voice2style.demo.traits import TRAITS, UNHEARD
from voice2style.demo.world import World

SHOT = ("yaw", "nod", "roll", "shift_x", "shift_y", "scale", "light", "gaze", "smile", "open", "background_r",
        "background_g", "background_b", "clothes_r", "clothes_g", "clothes_b")
DEGRADATIONS = ("blur", "noise")
BITS = ("masc", "age_look", "skin", "long_hair")  # above their middle or not: 16 classes
_LONG = 0.2  # of the drawn length of hair: short and long with nothing between
_MOST_BLUR, _MOST_NOISE = 2.0, 0.3  # pixels at 64², and of the range [-1, 1]
_PEOPLE_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """One training run of the drawn judge, in a world of the seed `world`."""

    world: int = 4711
    people: int = 16000
    resolution: int = 64
    batch: int = 64
    steps: int = 4000
    lr: float = 4e-3
    weight_decay: float = 1e-3
    class_weight: float = 0.2
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class DrawnFaces:
    """Pictures uint8 [N, 3, R, R], what drew them float32 [N, K], their classes int64 [N], and names of the K."""

    images: torch.Tensor
    values: torch.Tensor
    classes: torch.Tensor
    names: tuple


def draw_faces(settings, indices, *, show=False):
    """Returns the DrawnFaces of people, one picture each; the same whatever the other people are."""
    world = World(settings.world)
    indices = np.asarray(indices)
    images, values, classes = [], [], []
    names = (*(trait.name for trait in TRAITS), *UNHEARD, *SHOT)
    for start in tqdm(range(0, len(indices), _PEOPLE_AT_ONCE), desc="Drawing", disable=None if show else True):
        people = world.people(indices[start:start + _PEOPLE_AT_ONCE])
        person = drawing.person_parameters(people.traits)
        shot = drawing.shot_parameters(Counters(world.seed, "shot", people.indices, np.zeros_like(people.indices)), 1.0)
        numbers = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in (person | shot).items()}
        images.append(to_uint8(faces.render({name: numbers[name] for name in faces.PARAMETERS},
                                            settings.resolution)[0]))
        known = {**shot, **people.traits}
        values.append(np.stack([known[name] for name in names], 1).astype(np.float32))
        bits = [people.traits["masc"] > 0, people.traits["age_look"] > 0, people.traits["skin"] > 0.5,
                person["hair_len"] > _LONG]
        classes.append(sum(bit.astype(np.int64) << place for place, bit in enumerate(bits)))
    return DrawnFaces(torch.cat(images), torch.from_numpy(np.concatenate(values)),
                      torch.from_numpy(np.concatenate(classes)), names)


def degraded(images, generator):  # [N, C, H, W] in [-1, 1] -> the same, strengths [N, 2] in [0, 1]
    """Returns pictures of which half are blurred and half noisy, and how strongly: `DEGRADATIONS` in [0, 1]."""
    strength = torch.rand([len(images), 2], generator=generator)
    strength = strength * (torch.rand([len(images), 2], generator=generator) < 0.5)
    noise = torch.randn(images.shape, generator=generator)
    images = blurred(images, strength[:, 0] * _MOST_BLUR)
    return images + noise * (strength[:, 1] * _MOST_NOISE).reshape(-1, 1, 1, 1), strength


def blurred(images, sigma):  # [N, C, H, W], [N] pixels -> [N, C, H, W]
    """Returns each picture under a Gaussian of its own standard deviation; 0 leaves it as it is."""
    reach = max(1, math.ceil(3 * float(sigma.max())))
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]).square())
    kernel = kernel / kernel.sum(1, keepdim=True)
    count, channels, height, width = images.shape
    x = F.pad(images, [reach] * 4, mode="replicate")
    x = x.reshape(1, count * channels, height + 2 * reach, width + 2 * reach)
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    x = F.conv2d(F.conv2d(x, kernel[:, :, None], groups=count * channels), kernel[..., None], groups=count * channels)
    return x.reshape(images.shape)


def train_judge(settings, *, outdir, dest, desc="drawn-judge", command=""):
    """Trains the judge, says its R² on people it never saw, writes it to `dest`, and returns its card's source."""
    folder = RunFolder(outdir, desc, {"task": "judge", "settings": to_dict(settings)})
    numbers = range(settings.people)
    data = draw_faces(settings, [index for index in numbers if split_of(index) != "test"], show=True)
    names = (*data.names, *DEGRADATIONS)
    mean = torch.cat([data.values.mean(0), torch.tensor([0.25, 0.25])])  # half of U(0, 1)
    std = torch.cat([data.values.std(0), torch.full([2], math.sqrt(1 / 6 - 1 / 16))]).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        judge = DrawnJudge(DrawnSettings(targets=names, mean=mean.tolist(), std=std.tolist(), bits=BITS,
                                         resolution=settings.resolution))
    judge = judge.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=settings.steps + 1)
    begin = _restore(folder, judge, optimiser, schedule)
    order = EndlessOrder(len(data.images), settings.seed, "judge")
    progress = tqdm(range(begin, settings.steps), desc="Training the judge", disable=None)
    for index in progress:
        picks = order.batch(index, settings.batch)
        images, strength = degraded(to_float(data.images[picks]), stream(settings.seed, "degrade", index))
        wanted = (torch.cat([data.values[picks], strength], 1) - mean) / std
        values, logits = judge(images.to(memory_format=torch.channels_last))
        loss = (values - wanted).square().mean() + settings.class_weight * F.cross_entropy(logits, data.classes[picks])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if index % 50 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
        if (index + 1) % 100 == 0:
            folder.save_state({"step": index + 1, "judge": judge.state_dict(), "optimiser": optimiser.state_dict(),
                               "schedule": schedule.state_dict()})
    judge = judge.eval().requires_grad_(False)
    source = {"settings": to_dict(settings), "command": command, "licence": "Apache-2.0",
              **held_out(judge, settings, [index for index in numbers if split_of(index) == "test"])}
    judge.settings = dataclasses.replace(judge.settings, source=source)
    save_drawn(judge, dest)
    folder.say(f"held out: {source['held_out']}\nThe judge is {dest}")
    return source


def _restore(folder, judge, optimiser, schedule):  # -> first step to do
    state = folder.load_state()
    if state is None:
        return 0
    judge.load_state_dict(state["judge"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    folder.say(f"going on at step {state['step']}")
    return state["step"]


@torch.no_grad()
def held_out(judge, settings, people):
    """Returns what the judge reads from people it never saw: R² per target, accuracy of the classes."""
    data = draw_faces(settings, people)
    mean, std = (torch.tensor(getattr(judge.settings, name)) for name in ("mean", "std"))
    read, wanted, hits = [], [], 0
    for start in range(0, len(people), settings.batch):
        part = slice(start, start + settings.batch)
        images, strength = degraded(to_float(data.images[part]), stream(settings.seed, "held out", start))
        values, logits = judge(images)
        read.append(values * std + mean)
        wanted.append(torch.cat([data.values[part], strength], 1))
        hits += int((logits.argmax(1) == data.classes[part]).sum())
    read, wanted = torch.cat(read), torch.cat(wanted)
    left = (read - wanted).square().sum(0) / (wanted - wanted.mean(0)).square().sum(0)
    r2 = {name: round(1 - float(value), 3) for name, value in zip(judge.settings.targets, left)}
    return {"held_out_people": len(people), "held_out": r2, "class_accuracy": round(hits / len(people), 3)}


@click.command(cls=Door)
@click.option("--outdir", default="runs", show_default=True, help="The run folder, with its state, is made here.")
@click.option("--dest", default="metrics/judges/drawn.safetensors", show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=JudgeSettings.steps, show_default=True)
@click.option("--people", type=click.IntRange(min=20), default=JudgeSettings.people, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(outdir, dest, steps, people, seed):
    """Train the drawn judge on one CPU core in some ten minutes."""
    check_writable(dest, option="--dest")
    command = f"python -m training.judge_loop --steps {steps} --people {people} --seed {seed}"
    train_judge(JudgeSettings(steps=steps, people=people, seed=seed), outdir=outdir, dest=pathlib.Path(dest),
                command=command)


if __name__ == "__main__":
    main()
