"""Reads and writes pictures as published StyleGAN code has them: a zip or folder of PNG files with dataset.json.

Layout: `00000/img00000000.png`, a thousand pictures a folder, and `dataset.json` with {"labels": [[name, label], ...]}
or {"labels": null}; a label is a whole number or a list of numbers.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import tempfile
import zipfile

from training.datasets.pictures import MAX_PIXELS
from training.datasets.writer import refuse_existing

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
TRANSFORMS = ("center-crop", "center-crop-wide")
FILTERS = ("box", "lanczos")
CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_PER_FOLDER = 1000


def describe_pictures(path, names, read):  # -> card, rows of faces
    """Card and rows for a zip or folder of pictures without a card of ours. ValueError if it holds no pictures.

    Every picture is a face of the split "train"; its person is its label where that is a number, else its own name.
    """
    from PIL import Image, UnidentifiedImageError

    from training.dataset import FORMAT, stays_inside

    pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not pictures:
        raise ValueError(f'"{path}" is no dataset: it has no card.json, and no pictures either.')
    if bad := next((name for name in pictures if not stays_inside(name)), None):
        raise ValueError(f'"{path}" names "{bad}", which is not a plain path inside the dataset.')
    labels = read_labels(path, read("dataset.json")) if "dataset.json" in names else {}
    if labels and (missing := [name for name in pictures if name not in labels]):
        raise ValueError(f'dataset.json in "{path}" has no label for {len(missing)} pictures, the first is '
                         f'"{missing[0]}".')
    rows = []
    for name in pictures:
        label = labels.get(name)
        row = {"kind": "face", "path": name, "split": "train", "person": label if isinstance(label, int) else name}
        rows.append(row if label is None else {**row, "label": label})
    try:
        with Image.open(io.BytesIO(read(pictures[0]))) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f'"{pictures[0]}" in "{path}" is not a picture that can be read.') from error
    counts = {"people": 0, "faces": len(rows), "voices": 0}
    return {"format": FORMAT, "source": "pictures" + (" with labels" if labels else ""), "licence": None,
            "counts": counts, "resolution": width if width == height else [width, height]}, rows


def read_labels(path, content):  # bytes of dataset.json -> {name: int or list of numbers}
    """The labels of dataset.json; {} if it says that there are none. ValueError for any other content."""
    try:
        labels = json.loads(content)["labels"]
        if labels is None:
            return {}
        table = {str(name).replace("\\", "/"): label for name, label in labels}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'dataset.json in "{path}" is not of the form '
                         '{"labels": [["00000/img00000000.png", 0], ...]} or {"labels": null}.') from error
    kinds = {_kind_of(label) for label in table.values()}
    if None in kinds or len(kinds) > 1:
        raise ValueError(f'dataset.json in "{path}" has labels of several kinds; all must be whole numbers, or all '
                         "lists of numbers of one length.")
    return table


def _kind_of(label):
    if isinstance(label, int) and not isinstance(label, bool):
        return "number"
    if isinstance(label, list) and label and all(isinstance(x, (int, float)) for x in label):
        return len(label)
    return None


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """What to do with each picture. `resolution` is (width, height), None to keep the size."""

    resolution: tuple | None = None
    transform: str | None = None
    resize_filter: str = "lanczos"
    force_channels: int | None = None
    max_images: int | None = None

    def check(self):
        """Raises ValueError for settings that no picture can obey."""
        if self.transform is not None and self.transform not in TRANSFORMS:
            raise ValueError(f'transform is "{self.transform}"; {" and ".join(TRANSFORMS)} are known.')
        if self.resize_filter not in FILTERS:
            raise ValueError(f'resize filter is "{self.resize_filter}"; {" and ".join(FILTERS)} are known.')
        if self.force_channels is not None and self.force_channels not in CHANNELS:
            raise ValueError(f"{self.force_channels} channels; 1, 3 and 4 are known.")
        if self.resolution is not None and self.resolution[0] * max(self.resolution) > MAX_PIXELS:
            raise ValueError(f"--resolution {self.resolution[0]}x{self.resolution[1]}: pictures of at most "
                             f"{MAX_PIXELS // 10**6} million pixels are made.")
        if self.transform and self.resolution is None:
            raise ValueError(f"--transform {self.transform} needs --resolution WxH (or --width and --height).")
        if self.transform == "center-crop" and self.resolution[0] != self.resolution[1]:
            raise ValueError(f"--transform center-crop makes squares; {self.resolution[0]}x{self.resolution[1]} is "
                             "none.")
        if self.transform == "center-crop-wide" and self.resolution[0] < self.resolution[1]:
            raise ValueError("--transform center-crop-wide needs a width of at least the height.")


def transformed(picture, settings):  # PIL picture -> PIL picture
    """The picture cut and resized as the settings say.

    "center-crop": the largest centred square, resized. "center-crop-wide": the largest centred part with the sides'
    ratio of the resolution, resized, on a black square of the width.
    """
    from PIL import Image

    if settings.resolution is None:
        return picture
    width, height = settings.resolution
    method = Image.Resampling.BOX if settings.resize_filter == "box" else Image.Resampling.LANCZOS
    box = None
    if settings.transform is not None:
        scale = min(picture.width / width, picture.height / height)
        left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
        box = left, top, left + scale * width, top + scale * height
    picture = picture.resize((width, height), method, box=box)
    if settings.transform == "center-crop-wide" and width != height:
        canvas = Image.new(picture.mode, (width, width))
        canvas.paste(picture, (0, (width - height) // 2))
        picture = canvas
    return picture


def write_pictures(pictures, dest, *, settings, progress=None):  # -> number of pictures, their side
    """Writes (name, PIL picture, label or None) to `dest`: a zip if it ends in .zip, else a folder.

    ValueError if it exists. All must come out square, of one size and one number of channels; the first that does not
    is named.
    """
    dest, first, labels, count = pathlib.Path(dest), None, [], 0
    with _picture_target(dest) as add:
        for name, picture, label in pictures:
            picture = transformed(picture, settings)
            mode = CHANNELS.get(settings.force_channels)
            if mode is None:
                mode = "L" if picture.mode == "L" else "RGB"
            picture = picture.convert(mode)
            _check_like(first, picture, name)
            first = first or (picture.size, mode, name)
            target = io.BytesIO()
            picture.save(target, format="PNG", compress_level=0)
            path = f"{count // _PER_FOLDER:05d}/img{count:08d}.png"
            add(path, target.getvalue())
            labels.append([path, label])
            count += 1
            if progress is not None:
                progress(1)
        if not count:
            raise ValueError("no picture could be read; nothing was written.")
        known = any(label is not None for _, label in labels)
        if known and (bare := sum(label is None for _, label in labels)):
            raise ValueError(f"{bare} of {count} pictures have no label while others have; label all or none.")
        add("dataset.json", json.dumps({"labels": labels if known else None}).encode())
    return count, first[0][0]


def _check_like(first, picture, name):
    if picture.width != picture.height:
        raise ValueError(f'"{name}" is {picture.width}x{picture.height}; pictures must be square: give --resolution '
                         "and --transform center-crop.")
    if picture.width & (picture.width - 1):
        raise ValueError(f'"{name}" is {picture.width}x{picture.height}; the side must be a power of two: give '
                         "--resolution, for example 256x256.")
    if first is not None and first[0] != picture.size:
        raise ValueError(f'"{name}" is {picture.width}x{picture.height} while "{first[2]}" is {first[0][0]}x'
                         f"{first[0][1]}; give --resolution to make them one size.")
    if first is not None and first[1] != picture.mode:
        raise ValueError(f'"{name}" is {picture.mode} while "{first[2]}" is {first[1]}; give --force-channels 3 to '
                         "make them alike.")


@contextlib.contextmanager
def _picture_target(dest):  # -> add(name, bytes); moved to dest on success, removed on failure
    refuse_existing(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{dest.name[:40]}.", suffix=".part", dir=dest.parent))
    content = scratch / "content"
    try:
        if dest.suffix.lower() == ".zip":
            with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
                yield lambda name, data: archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        else:
            content.mkdir()
            yield lambda name, data: _write_file(content / name, data)
        refuse_existing(dest)
        os.rename(content, dest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_file(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
