"""Hands out the pictures of a folder, a zip or a dataset of ours, one by one, with their labels."""

import io
import os
import pathlib
import zipfile

from training.datasets.image_zip import SUFFIXES, read_labels
from training.datasets.items import Unusable
from training.datasets.pictures import MAX_PIXELS
from training.datasets.source_files import Sources


def open_pictures(source, settings):  # -> iterator of (name, PIL picture, label or None), their number, left out
    """The pictures of `source` in the order of their names, at most `settings.max_images`.

    The third value is a list to which (path, reason) of every picture that cannot be used is added on the way. Labels
    come from a dataset.json; those of a dataset of ours are the places of its people. ValueError if nothing is there.
    """
    path, left_out = pathlib.Path(source), []
    if not path.exists():
        raise ValueError(f'no pictures at "{source}"; a folder or a zip is needed.')
    names = _names(path)
    if "card.json" in names:
        pictures, total = _from_dataset(path)
    else:
        pictures, total = _from_files(path, names, left_out)
    if not total:
        raise ValueError(f'"{source}" holds no pictures ({", ".join(SUFFIXES)} are read).')
    most = min(total, settings.max_images or total)
    return _limited(pictures, most), most, left_out


def _limited(pictures, most):
    for count, picture in enumerate(pictures, 1):
        yield picture
        if count == most:
            return


def _names(path):
    if path.is_dir():
        return sorted(pathlib.Path(folder, file).relative_to(path).as_posix()
                      for folder, _, files in os.walk(path) for file in files)
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except zipfile.BadZipFile as error:
        raise ValueError(f'"{path}" is neither a folder nor a zip that can be read ({error}).') from error


def _from_files(path, names, left_out):
    sources = Sources()
    labels = read_labels(path, sources.read(str(path), "dataset.json")) if "dataset.json" in names else {}
    pictures = [name for name in names if name.lower().endswith(SUFFIXES)]

    def walk():
        for name in pictures:
            try:
                picture = _open(sources.read(str(path), name))
            except Unusable as error:
                left_out.append((name, str(error)))
                continue
            yield name, picture, labels.get(name)

    return walk(), len(pictures)


def _from_dataset(path):
    from training.dataset import Dataset

    dataset = Dataset(path)
    rows, place = dataset.faces(), {}

    def walk():
        for row in rows:
            label = place.setdefault(row["person"], len(place))
            yield row["path"], _open(dataset.read_bytes(row)), label

    return walk(), len(rows)


def _open(content):  # -> PIL picture in one of the modes L, RGB, RGBA
    """A picture as it is, unless its mode is another than the three that can be written."""
    from PIL import Image

    from training.datasets.pictures import open_picture, picture_size

    width, height = picture_size(content)
    if width * height > MAX_PIXELS:
        raise Unusable(f"too many pixels: {width}x{height}")
    upright, _, _ = open_picture(content)
    with Image.open(io.BytesIO(content)) as picture:
        mode = picture.mode
        if mode == "RGBA" and upright.size == picture.size:
            return picture.copy()
    return upright.convert("L") if mode in ("L", "1", "I", "I;16", "I;16B") else upright
