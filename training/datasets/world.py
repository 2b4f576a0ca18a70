"""Writes a dataset of the drawn world: faces, voices and their ground truth, in a folder or a stored zip.

The same settings give the same bytes, whatever the number of workers; a run that is stopped leaves nothing at its
destination.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import multiprocessing

import numpy as np

from training.dataset import FORMAT
from training.datasets.voice_build import AUDIO_FORMATS, sound_bytes
from training.datasets.writer import dataset_writer

LICENCE = "CC0-1.0"
_PEOPLE_AT_ONCE = 8
_SHARD = 1000  # people in a folder


@dataclasses.dataclass(frozen=True)
class WorldSettings:
    """What to write: `people` people from number `first_person` on, each with so many faces and clips."""

    people: int
    faces_per: int = 1
    clips_per: int = 1
    resolution: int = 64
    seed: int = 0
    first_person: int = 0
    audibility: float = 1.0
    nuisance: float = 1.0
    audio: str = "flac"
    min_seconds: float = 3.0
    max_seconds: float = 8.0

    def check(self):
        """Raises ValueError for numbers that no dataset can have."""
        from voice2style.demo.faces import check_resolution
        from voice2style.demo.world import World

        for name, low in (("people", 1), ("faces_per", 0), ("clips_per", 0), ("first_person", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: {low} or more is needed.")
        if self.first_person + self.people > 10**8:
            raise ValueError(f"people are numbered up to 99999999; {self.first_person + self.people - 1} is beyond.")
        if not 0.1 <= self.min_seconds <= self.max_seconds <= 600:
            raise ValueError(f"clips of {self.min_seconds} to {self.max_seconds} s: give a range within 0.1 to 600 s.")
        if self.audio not in AUDIO_FORMATS:
            raise ValueError(f'audio is "{self.audio}"; {" and ".join(AUDIO_FORMATS)} are known.')
        check_resolution(self.resolution)
        World(self.seed, audibility=self.audibility, nuisance=self.nuisance)


def split_of(person):  # whole number -> "train", "val" or "test"
    """The split of a person: one in ten each for val and test, the same in every dataset of a world."""
    return {9: "test", 8: "val"}.get(person % 10, "train")


def write_world(settings, dest, *, workers=1, command=None, progress=None):
    """Writes the dataset to `dest`, a zip if it ends in .zip, otherwise a folder. ValueError if it exists.

    `progress` is called with the number of people after each piece of work. `command` goes into the card.
    """
    settings.check()
    with dataset_writer(dest) as writer:
        for people, files, rows in _pieces(settings, workers):
            for row in rows:
                writer.add_row(row, files.get(row.get("path")))
            if progress is not None:
                progress(people)
        writer.finish(_card(settings, command))


def _card(settings, command):
    from voice2style.demo.world import UNHEARD, World

    world = World(settings.seed, audibility=settings.audibility, nuisance=settings.nuisance)
    counts = {
        "people": settings.people,
        "faces": settings.people * settings.faces_per,
        "voices": settings.people * settings.clips_per,
    }
    return {
        "format": FORMAT,
        "source": "drawn world",
        "licence": LICENCE,
        "command": command,
        "counts": counts,
        "resolution": settings.resolution,
        "sample_rate_hz": 16000,
        "seed": settings.seed,
        "world": dataclasses.asdict(settings),
        "ceilings": {name: round(value, 6) for name, value in world.ceilings().items()},
        "unheard": list(UNHEARD),
    }


def _pieces(settings, workers):  # -> (people, files, rows) in the order of the people
    """Draws and speaks piece by piece; with more workers in other processes, at most a few pieces ahead."""
    last = settings.first_person + settings.people
    starts = range(settings.first_person, last, _PEOPLE_AT_ONCE)
    jobs = [(settings, range(start, min(start + _PEOPLE_AT_ONCE, last))) for start in starts]
    if workers <= 1 or len(jobs) == 1:
        yield from (_piece(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(jobs)), context, _use_one_thread) as pool:
        try:
            waiting = []
            for job in jobs:
                waiting.append(pool.submit(_piece, *job))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            yield from (future.result() for future in waiting)
        except concurrent.futures.BrokenExecutor as error:
            raise OSError("a worker process ended early, perhaps for lack of memory; take fewer --workers.") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _use_one_thread():
    import torch

    torch.set_num_threads(1)


def _piece(settings, indices):  # -> number of people, {path: bytes}, [row]
    from voice2style.demo.world import World

    world = World(settings.seed, audibility=settings.audibility, nuisance=settings.nuisance)
    people = world.people(indices)
    images, landmarks = _draw(world, people, settings)
    files, rows = {}, []
    for place, person in enumerate(indices):
        person_row = {"kind": "person", "person": person, "split": split_of(person), "group": int(people.group[place])}
        for kind in ("heard", "traits"):
            person_row[kind] = {name: round(float(value[place]), 6) for name, value in getattr(people, kind).items()}
        rows.append(person_row)
        for shot in range(settings.faces_per):
            rows.append(_face(files, person, shot, images[place, shot], landmarks[place, shot]))
        for clip in range(settings.clips_per):
            rows.append(_voice(files, person, clip, world, settings))
    return len(indices), files, rows


def _draw(world, people, settings):  # -> uint8 [P, F, R, R, 3], float [P, F, 6, 2]
    import torch

    from torch_utils.images import to_uint8

    shots, count = settings.faces_per, len(people)
    if not shots:
        return None, None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pixels must not depend on how the work is cut
    try:
        repeated = people[np.repeat(np.arange(count), shots)]
        images, landmarks = world.faces(repeated, np.tile(np.arange(shots), count), settings.resolution)
    finally:
        torch.set_num_threads(threads)
    pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
    return pixels.reshape(count, shots, *pixels.shape[1:]), landmarks.numpy().reshape(count, shots, -1, 2)


def _entry(files, kind, folder, person, number, suffix, content):  # -> the start of a manifest row
    path = f"{folder}/{person // _SHARD:05d}/{person:08d}_{number}.{suffix}"
    files[path] = content
    digest = hashlib.sha256(content).hexdigest()
    return {"kind": kind, "path": path, "person": person, "split": split_of(person), "sha256": digest}


def _face(files, person, shot, pixels, points):
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="PNG", compress_level=4)
    size = {"width": pixels.shape[1], "height": pixels.shape[0]}
    marks = [[round(float(x), 3), round(float(y), 3)] for x, y in points]
    return _entry(files, "face", "faces", person, shot, "png", target.getvalue()) | size | {"landmarks": marks}


def _voice(files, person, clip, world, settings):
    from voice2style.demo.voices import to_int16

    wave = world.voice(person, clip, seconds=(settings.min_seconds, settings.max_seconds))
    row = _entry(files, "voice", "voices", person, clip, settings.audio, sound_bytes(to_int16(wave), settings.audio))
    return row | {"seconds": round(len(wave) / 16000, 7), "sample_rate_hz": 16000}
