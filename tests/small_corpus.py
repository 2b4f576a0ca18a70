"""Writes a small plain corpus of the drawn world, with accidents, and the Plan that lists it."""

import io

import numpy as np
import soundfile
from PIL import Image

from torch_utils.images import to_uint8
from training.datasets.items import Item, Person, Rejection
from voice2style.demo.world import World


class SmallPlan:
    """A Plan as `training.datasets.plan.make_plan` hands it out."""

    def __init__(self, people, items, rejections=(), notes=()):
        self.people, self.items, self.rejections, self.notes = people, items, list(rejections), list(notes)
        self.layout, self.split_name = "plain", "by hand"


def write_corpus(root, *, people=4, faces=2, clips=2, side=64, seconds=1.2, seed=5):
    """Faces/<person>/<n>.png and voices/<person>/<n>.wav below `root`; returns a SmallPlan of them."""
    world = World(seed=seed)
    drawn = world.people(range(people))
    persons, items = [], []
    for number in range(people):
        name, split = f"Person {number}", ("train", "train", "val", "test")[number % 4]
        persons.append(Person(name, split, "fm"[number % 2], "USA" if number else None, (f"id{number}",), {}))
        for shot in range(faces):
            image, marks = world.faces(drawn[number], shot, side)
            path = f"{name}/{shot}.png"
            save(root / "faces" / path, Image.fromarray(to_uint8(image[0]).permute(1, 2, 0).numpy()))
            points = tuple((float(x), float(y)) for x, y in marks[0])
            items.append(Item("face", path, str(root / "faces"), name, split, landmarks=points))
        for clip in range(clips):
            path = f"{name}/{clip}.wav"
            (root / "voices" / name).mkdir(parents=True, exist_ok=True)
            wave = world.voice(number, clip, seconds=seconds)
            soundfile.write(root / "voices" / path, np.rint(wave * 32767).astype(np.int16), 16000)
            items.append(Item("voice", path, str(root / "voices"), name, split))
    return SmallPlan(persons, items, [Rejection("empty/", "", "empty folder")], ["drawn for a test"])


def save(path, picture, **options):
    """Saves a PIL picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def encoded(picture, kind="PNG", **options):
    """A PIL picture as the bytes of a file."""
    target = io.BytesIO()
    picture.save(target, format=kind, **options)
    return target.getvalue()
