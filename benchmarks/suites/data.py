"""Measures how datasets are built and opened: faces beside PNG re-encoding, voices beside real time, 290 000 rows."""

import hashlib
import io
import os
import pathlib
import statistics
import tempfile
import time

FACES, SIDE, RESOLUTIONS, PROCESSES = 512, 256, (64, 256), 2
CLIPS, SECONDS = 24, 8.0
FACE_ROWS, VOICE_ROWS = 140_000, 150_000


def suite_data(rounds):
    """Building faces and voices, and opening a dataset of 150 000 clips and 140 000 faces."""
    return [*_faces(rounds), *_voices(rounds), *_opening(rounds)]


def _row(work, ours, reference, reference_s, target, met):
    """A result in the form of benchmark.py; `ours` are seconds of every round."""
    middle = statistics.median(ours)
    ratio = reference_s / middle
    return {"work": work, "ours_s": middle, "ours_range_s": [min(ours), max(ours)], "reference": reference,
            "reference_s": reference_s, "ratio": ratio, "target": target, "met": met(ratio)}


def _timed(run, rounds):
    seconds = []
    for turn in range(rounds + 1):  # the first one warms up
        begin = time.perf_counter()
        run()
        if turn:
            seconds.append(time.perf_counter() - begin)
    return seconds


def _faces(rounds):
    """Aligned faces in two processes, beside re-encoding the same files as PNG in one; start-up of workers left out."""
    import concurrent.futures
    import multiprocessing

    from torch_utils.images import to_uint8
    from voice2style.demo.world import World

    with tempfile.TemporaryDirectory() as folder:
        world, jobs = World(seed=0), []
        images, marks = world.faces(world.people(range(32)), 0, SIDE)
        pixels = to_uint8(images).permute(0, 2, 3, 1).numpy()
        for number in range(FACES):
            path = pathlib.Path(folder, f"{number}.jpg")
            _save(pixels[number % 32], path, number)
            jobs.append((str(path), tuple(map(tuple, marks[number % 32].tolist()))))
        with concurrent.futures.ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
            return [_face_row(pool, jobs, resolution, rounds) for resolution in RESOLUTIONS]


def _face_row(pool, jobs, resolution, rounds):
    ours, reference, ours_cpu, reference_cpu = [], [], [], []
    for turn in range(rounds + 1):  # the first one warms up
        begin = time.perf_counter()
        spent = sum(pool.map(_build_face, jobs, [resolution] * len(jobs), chunksize=16))
        middle, middle_cpu = time.perf_counter(), time.process_time()
        for path, _ in jobs:
            _encode_again(path)
        if turn:
            ours.append(middle - begin)
            ours_cpu.append(spent / PROCESSES)
            reference.append(time.perf_counter() - middle)
            reference_cpu.append(time.process_time() - middle_cpu)
    work = f"{FACES} faces of {SIDE}² aligned to {resolution}², two processes"
    row = _row(work, ours, "PNG re-encoding, one process", statistics.median(reference), "at least 3 ×",
               lambda ratio: ratio >= 3)
    return {**row, "ratio_cpu": statistics.median(reference_cpu) / statistics.median(ours_cpu)}


def _save(pixels, path, number):
    """A JPEG with a little grain, as cameras have it: a smooth drawing would be no work for PNG."""
    import numpy as np
    from PIL import Image

    grain = np.random.default_rng(number).normal(0, 4, pixels.shape)
    Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=92)


def _encode_again(path):
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").save(io.BytesIO(), format="PNG")


def _build_face(job, resolution):  # -> seconds of processor time
    from training.datasets.face_build import FaceSettings, build_face
    from training.datasets.items import Item

    begin = time.process_time()
    path, points = job
    item = Item("face", os.path.basename(path), os.path.dirname(path), "p", "train", landmarks=points)
    content, _ = build_face(pathlib.Path(path).read_bytes(), item, FaceSettings(resolution=resolution))
    hashlib.sha256(content).hexdigest()
    return time.process_time() - begin


def _voices(rounds):
    """Decoding, measuring and writing of clips on one core, without and with voice activity, beside real time."""
    import numpy as np
    import soundfile

    from training.datasets.items import Item
    from training.datasets.voice_build import VoiceSettings, build_voice
    from voice2style.demo.world import World

    rows, item = [], Item("voice", "1.wav", "/", "p", "train")
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, f"{number}.wav") for number in range(CLIPS)]
        for number, path in enumerate(paths):
            wave = World(seed=0).voice(number, 0, seconds=SECONDS)
            soundfile.write(path, np.rint(wave * 32767).astype(np.int16), 16000)
        for vad, least in (("none", 100), ("own", 40)):
            settings = VoiceSettings(vad=vad)
            seconds = _timed(lambda settings=settings: [build_voice(path, item, settings) for path in paths], rounds)
            name = "without" if vad == "none" else "with"
            rows.append(_row(f"{CLIPS} clips of {SECONDS:g} s {name} voice activity, one core", seconds, "real time",
                             CLIPS * SECONDS, f"at least {least} ×", lambda ratio, least=least: ratio >= least))
    return rows


def _opening(rounds):
    """Opening a zip of 290 000 rows and asking for a split, beside two seconds."""
    from training.dataset import FORMAT, Dataset
    from training.datasets.writer import dataset_writer

    splits = ("train", "val", "test")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "large.zip")
        with dataset_writer(path) as writer:
            for number in range(VOICE_ROWS + FACE_ROWS):
                person, kind = number % 1225, "voice" if number < VOICE_ROWS else "face"
                data = b"%d" % number
                row = {"kind": kind, "path": f"{kind}s/Some_Name_{person}/{number:08d}.bin", "person": f"Name {person}",
                       "split": splits[person % 3], "sha256": hashlib.sha256(data).hexdigest(), "seconds": 5.123,
                       "speech": [[0.12, 2.34], [3.0, 4.9]], "source": f"id{person}/abcdefghijk/{number:05d}.wav"}
                writer.add_row(row, data)
            writer.finish({"format": FORMAT, "counts": {}})
        seconds = _timed(lambda: Dataset(path).voices("train")[0], rounds)
    return [_row("opening 150 000 clips and 140 000 faces", seconds, "2 s", 2.0, "under 2 s", lambda ratio: ratio > 1)]
