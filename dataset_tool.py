"""Makes, checks and shows datasets: from corpora (build, merge), the drawn world (world), or pictures (images)."""

import dataclasses
import os
import pathlib
import re
import shlex
import sys

import click

from dnnlib.command_line import Door, DoorGroup, GridSize, public_command
from dnnlib.console import say, warn

SPLIT = click.Choice(["train", "val", "test"])


class Commands(DoorGroup):
    """The commands; options without a command are those of `images`, as published scripts have them."""

    def parse_args(self, ctx, args):
        if args and args[0].startswith("--") and args[0] != "--help":
            args = ["images", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Commands)
def main():
    """Make, check and show datasets of faces and voices.

    `dataset_tool.py --source ... --dest ...` without a command is `images`.
    """


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
@click.option("--split", type=SPLIT, help="Only this split.")
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


class Shard(click.ParamType):
    """A part of a build: i/n with i from 1 to n."""

    name = "i/n"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", str(value))
        if not match or not 1 <= int(match[1]) <= int(match[2]) <= 100_000:
            self.fail(f'"{value}" is not a shard such as 2/8.', param, ctx)
        return int(match[1]), int(match[2])


class Limit(click.ParamType):
    """A number, or "none" for no limit."""

    name = "number"

    def convert(self, value, param, ctx):
        if value is None or isinstance(value, float):
            return value
        if str(value).lower() == "none":
            return float("nan")
        try:
            return float(value)
        except ValueError:
            self.fail(f'"{value}" is neither a number nor none.', param, ctx)


@main.command(cls=Door)
@click.option("--voices", multiple=True, help="Folder or zip of recordings, or a list of rows; may be repeated.")
@click.option("--faces", multiple=True, help="Folder or zip of pictures, or a list of rows; may be repeated.")
@click.option("--layout", default="auto", show_default=True, help="How the corpora lie on the disk.")
@click.option("--split", default="hash:80/10/10", show_default=True, help="voice2face, pins, sf2f, hash:a/b/c, a file.")
@click.option("--meta", multiple=True, help="Table of ids and names; may be repeated.")
@click.option("--test-list", "test_lists", multiple=True, help="List of people that training must not have.")
@click.option("--unpaired", type=click.Choice(["reject", "keep"]), default="reject", show_default=True,
              help="People with only faces or only voices; keep suits --task gan.")
@click.option("--max-people", type=click.IntRange(min=1), help="Only so many people, chosen by --seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses people for --max-people.")
@click.option("--dest", required=True, help="New folder, or new file that ends in .zip.")
@click.option("--resolution", type=int, default=64, show_default=True, help="Side of the faces in pixels.")
@click.option("--align", type=click.Choice(["auto", "ffhq", "similarity", "box", "center", "none"]), default="auto",
              show_default=True, help="auto: by landmarks if there are any, else by the box, else the centre.")
@click.option("--landmarks", help="JSON or CSV with landmarks of the pictures.")
@click.option("--detector", type=click.Choice(["opencv", "dlib", "mediapipe"]), help="Finds faces without landmarks.")
@click.option("--model", help="Model file of the detectors dlib and mediapipe.")
@click.option("--resize-filter", type=click.Choice(["box", "lanczos"]), default="lanczos", show_default=True)
@click.option("--force-channels", type=click.Choice(["1", "3"]), default="3", show_default=True)
@click.option("--background", type=click.Choice(["white", "black"]), default="white", show_default=True,
              help="What transparent pictures are laid on.")
@click.option("--min-face", type=Limit(), help="Least side of a face's crop in the picture; default: resolution / 2.")
@click.option("--min-sharpness", type=Limit(), help="Least sharpness; none: no limit; default 0.005.")
@click.option("--max-aspect", type=Limit(), help="Greatest ratio of a picture's sides, where it is cut at its centre.")
@click.option("--several", type=click.Choice(["reject", "largest"]), default="reject", show_default=True,
              help="What to do where the detector finds several faces.")
@click.option("--min-seconds", type=float, default=1.0, show_default=True, help="Shorter clips are set aside.")
@click.option("--max-seconds", type=float, default=600.0, show_default=True, help="So much of a longer one is kept.")
@click.option("--min-speech", type=float, default=0.3, show_default=True, help="Least seconds of speech in a clip.")
@click.option("--vad", type=click.Choice(["own", "silero", "none"]), default="own", show_default=True)
@click.option("--audio", type=click.Choice(["flac", "wav"]), default="flac", show_default=True)
@click.option("--licence", help="Licence of the corpus, for the card.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default: one a usable CPU core.")
@click.option("--shard", type=Shard(), help="Make only part i of n; `merge` puts the parts together.")
@click.option("--report", is_flag=False, flag_value="auto", help="Write an HTML report, beside --dest or to this file.")
def build(**given):
    """Make a dataset of corpora as they lie on the disk. The same command after a stop goes on."""
    from training.datasets.builder import build_dataset, refuse_finished, shard_folder
    from training.datasets.landmark_files import with_landmarks
    from training.datasets.plan import make_plan
    from training.datasets.report_html import report_file

    dest, shard, report = given["dest"], given["shard"], given["report"]
    settings = _build_settings(given)
    settings.check()
    refuse_finished(dest, shard)  # before the corpora are looked through
    report = report_file(dest, report)
    words = ("voices", "faces", "layout", "split", "meta", "test_lists", "unpaired", "max_people", "seed")
    plan = make_plan(**{name: given[name] for name in words})
    for note in plan.notes:
        say(note)
    say(f"Found, before anything is decoded:\n{plan.counts().table()}")
    _say_film_decoder(plan)
    if given["landmarks"]:
        plan, marks = with_landmarks(plan, given["landmarks"])
    command = _shared_command(sys.argv[1:])
    with _Bar("Building", " files") as bar:
        card = build_dataset(plan, dest, settings, workers=given["workers"] or _cores(), shard=shard, command=command,
                             progress=bar.update)
    if given["landmarks"]:
        say(f"{given['landmarks']}: landmarks for {marks.num_found} faces")
    if card is None:
        folder = shard_folder(pathlib.Path(dest), shard)
        say(f"{folder}: part {shard[0]} of {shard[1]}; `merge` puts the parts together")
        return
    _finish(dest, card, report)


@main.command(cls=Door)
@click.argument("shards", nargs=-1, required=True)
@click.option("--dest", required=True, help="New folder, or new file that ends in .zip.")
@click.option("--report", is_flag=False, flag_value="auto", help="Write an HTML report, beside --dest or to this file.")
def merge(shards, dest, report):
    """Put the parts of a build (folders DEST.shard-i-of-n) together: the bytes are those of a build in one go."""
    from training.datasets.builder import merge_shards
    from training.datasets.report_html import report_file

    report = report_file(dest, report)
    _finish(dest, merge_shards(shards, dest), report)


@main.command(cls=Door)
@click.option("--data", required=True, help="Dataset: folder or zip.")
@click.pass_context
def check(ctx, data):
    """Verify every file of a dataset. Exit code 0: whole; 1: damaged; 2: no dataset."""
    from training.dataset import Dataset
    from training.datasets.checking import find_damage

    dataset, count = Dataset(data), 0
    total = sum(len(rows) for rows in (dataset.people(), dataset.faces(), dataset.voices()))
    with _Bar("Checking", " rows") as bar:
        for line in find_damage(dataset, progress=lambda rows: bar.update(bar.done + rows, total)):
            say(line)
            count += 1
    say(f"{data}: {count} faults" if count else f"{data}: whole, {total} rows")
    ctx.exit(1 if count else 0)


@main.command(cls=Door)
@click.option("--data", required=True, help="Dataset: folder or zip.")
@click.option("--report", is_flag=False, flag_value="auto", help="Write an HTML report, beside --data or to this file.")
def stats(data, report):
    """Print what a dataset is: counts, hours, gender by split, histograms, what was rejected."""
    from training.dataset import Dataset
    from training.datasets.report_html import report_file
    from training.datasets.statistics import describe

    dataset, report = Dataset(data), report_file(data, report)
    say(describe(dataset))
    _report(dataset, report)


@main.command(cls=Door)
@click.option("--source", required=True, help="Folder or zip of pictures, or a dataset of ours.")
@click.option("--dest", required=True, help="New folder, or new file that ends in .zip.")
@click.option("--max-images", type=click.IntRange(min=1), help="At most so many pictures.")
@click.option("--resize-filter", type=click.Choice(["box", "lanczos"]), default="lanczos", show_default=True)
@click.option("--transform", type=click.Choice(["center-crop", "center-crop-wide"]), help="How pictures are cut.")
@click.option("--width", type=click.IntRange(min=1), help="Width of the pictures.")
@click.option("--height", type=click.IntRange(min=1), help="Height of the pictures.")
@click.option("--resolution", type=GridSize(), help="Width and height at once: 256x256.")
@click.option("--force-channels", type=click.Choice(["1", "3", "4"]), help="Make all pictures alike.")
def images(source, dest, max_images, resize_filter, transform, width, height, resolution, force_channels):
    """Write pictures as StyleGAN code reads them: 00000/img00000000.png and dataset.json with the labels, if any."""
    from training.datasets.image_source import open_pictures
    from training.datasets.image_zip import ImageSettings, write_pictures

    if (width or height) and resolution:
        raise click.UsageError("--resolution stands for --width and --height; give one or the other.")
    if bool(width) != bool(height):
        raise click.UsageError("--width and --height belong together.")
    channels = None if force_channels is None else int(force_channels)
    settings = ImageSettings(resolution or ((width, height) if width else None), transform, resize_filter, channels,
                             max_images)
    settings.check()
    pictures, total, left_out = open_pictures(source, settings)
    with _Bar("Writing", " images") as bar:
        count, side = write_pictures(pictures, dest, settings=settings,
                                     progress=lambda images: bar.update(bar.done + images, total))
    for path, reason in left_out:
        warn(f"left out: {path}: {reason}")
    say(f"{dest}: {count} images of {side}x{side}" + (f", {len(left_out)} left out" if left_out else ""))


def _build_settings(given):
    """Click options as BuildSettings."""
    from training.datasets.builder import BuildSettings
    from training.datasets.face_build import FaceSettings
    from training.datasets.face_quality import FaceGates
    from training.datasets.voice_build import VoiceSettings

    if not given["voices"] and not given["faces"]:
        raise click.UsageError("give --voices, --faces, or both.")
    limits = {name: given[name] for name in ("min_face", "min_sharpness", "max_aspect") if given[name] is not None}
    limits = {name: 0.0 if name == "min_face" and value != value else None if value != value else value
              for name, value in limits.items()}
    face = {name: given[name] for name in ("resolution", "align", "detector", "model", "resize_filter", "background")}
    voice = {name: given[name] for name in ("min_seconds", "max_seconds", "min_speech", "vad", "audio")}
    return BuildSettings(
        FaceSettings(**face, force_channels=int(given["force_channels"]),
                     gates=FaceGates(**limits, several=given["several"])),
        VoiceSettings(**voice), unpaired=given["unpaired"], licence=given["licence"])


def _shared_command(words):
    """The command for the card without what does not change the bytes, so that all shards say the same."""
    kept, skip = [], False
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if skip and not word.startswith("--"):
            skip = False
            continue
        skip = name in ("--dest", "--workers", "--shard", "--report") and "=" not in word
        if not skip and name not in ("--dest", "--workers", "--shard", "--report"):
            kept.append(word)
    return public_command("dataset_tool.py", kept)


def _finish(dest, card, report):
    from training.dataset import Dataset
    from training.datasets.statistics import describe_counts

    counts, rejected = card["counts"], sum(card["rejected"].values())
    for kind, kept in (("face", counts["faces"]), ("voice", counts["voices"])):
        lost = {reason: count for reason, count in card["rejected"].items() if reason.startswith(f"{kind}: ")}
        if sum(lost.values()) > kept:
            reason, count = max(lost.items(), key=lambda pair: pair[1])
            warn(f"{sum(lost.values())} {kind}s were rejected and {kept} kept; {count} of them: "
                 f"{reason.partition(': ')[2]}.")
    centred = card["statistics"]["aligned"].get("center", 0)
    if centred:
        warn(f"{centred} faces came without landmarks or a box and were cut at the centre of their picture; give "
             "--landmarks FILE or --detector opencv (the extra: pip install 'voice2style[face]') to align them.")
    say(f"{dest}: {counts['people']} people, {counts['faces']} faces, {counts['voices']} clips; {rejected} rejected"
        + (" (rejected.csv in the dataset says why)" if rejected else ""))
    say(describe_counts(card["statistics"]))
    _report(Dataset(dest), report)


def _say_film_decoder(plan):
    """Says what decodes m4a and films, if the plan has any."""
    from voice2style.audio.decoding import find_film_decoder

    count = sum("needs_av" in item.extra for item in plan.items)
    if not count:
        return
    decoder = find_film_decoder()
    if decoder is None:
        warn(f"Recordings that are m4a, mp4 or the like: {count}; nothing here decodes them, they will be set aside. "
             "Install the extra (pip install 'voice2style[av]'), or put ffmpeg on the PATH.")
    else:
        say(f"Recordings that are m4a, mp4 or the like: {count}, decoded by {decoder}.")


def _report(dataset, path):
    from training.datasets.report_html import write_report

    if path is not None:
        write_report(dataset, path)
        say(f"{path}: the report")


class _Bar:
    """A progress bar with an estimate of the time left, for callers who say (done, total)."""

    def __init__(self, text, unit):
        self._text, self._unit, self._bar, self.done = text, unit, None, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()

    def update(self, done, total):
        """Moves the bar; the first call says what was there before and is not counted as speed."""
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, unit=self._unit, desc=self._text, disable=None)
        else:
            self._bar.update(done - self.done)
        self.done = done


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _useful_workers(work):
    """A process for each usable core, unless the work is over before more processes have started."""
    return _cores() if work >= 2000 else 1


def _command(settings):
    """The command that makes these contents, wherever and however fast: no --dest, no --workers."""
    options = dataclasses.asdict(settings)
    options["seconds"] = f"{options.pop('min_seconds'):g}-{options.pop('max_seconds'):g}"
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["python", "dataset_tool.py", "world", *words])


if __name__ == "__main__":
    sys.exit(main())
