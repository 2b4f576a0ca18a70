"""Where pictures come from: files of a folder or zip, rows of a dataset, or a function that draws them."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dnnlib.files import sha256_file

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A numbered set of pictures: `picture(i)` -> uint8 [H, W, 3]; threads may ask at the same time.

    `facts` say what the set is ("name", "sha256" of its list of files and contents, "files"). `names` are the files,
    where there are any: two sets with the same names are pairs.
    """

    count: int
    picture: Callable
    facts: dict
    names: tuple = ()

    def __len__(self):
        return self.count

    def first(self, count):
        """Returns the first so many of them."""
        return dataclasses.replace(self, count=min(count, self.count), names=self.names[:count])

    def chosen(self, places):
        """Returns the pictures at these places, in this order."""
        places = [int(place) for place in places]
        names = tuple(self.names[place] for place in places) if self.names else ()
        return dataclasses.replace(self, count=len(places), names=names, picture=lambda i: self.picture(places[i]))

    def with_flips(self):
        """Returns the pictures, then each of them flipped from left to right."""
        def picture(i):
            return self.picture(i) if i < self.count else np.ascontiguousarray(self.picture(i - self.count)[:, ::-1])

        return dataclasses.replace(self, count=2 * self.count, picture=picture, names=())


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Pictures that a function draws: `draw(indices)` -> uint8, or floats in [-1, 1], [N, C, H, W].

    The picture of a number depends on the number alone, not on what else is asked for.
    """

    count: int
    draw: Callable
    facts: dict

    def __len__(self):
        return self.count


def open_pictures(path):
    """Returns the Pictures in a folder (at any depth) or a zip, in the order of their names.

    ValueError when there are none. The checksum is that of names and contents, so an edited set is another set.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ValueError(f'no pictures at "{path}": there is no such folder or zip.')
    names, read, sums = _of_zip(path) if path.is_file() else _of_folder(path)
    if not names:
        raise ValueError(f'"{path}" holds no pictures; known endings are {", ".join(ENDINGS)}.')
    facts = {"name": path.name, "files": len(names), "sha256": list_sha256(names, sums())}
    return Pictures(len(names), lambda i: decoded(read(names[i]), f'"{names[i]}" in "{path}"'), facts, tuple(names))


def list_sha256(names, sums):
    """Returns the sha256 of a list of files: lines of a name and a checksum of its content."""
    digest = hashlib.sha256()
    for name, checksum in zip(names, sums):
        digest.update(f"{name} {checksum}\n".encode())
    return digest.hexdigest()


def decoded(content, where):  # bytes -> uint8 [H, W, 3]
    """Returns the pixels of a picture file; grey becomes three equal channels. ValueError when it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    from torch_utils.images import eight_bits

    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(eight_bits(picture).convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{where} is not a picture that can be read, or it is damaged.") from error


def read_labels(path):
    """Returns the labels beside the pictures of a folder or zip, name -> number or list, from its dataset.json.

    None when it has none. The form is that of the StyleGAN2 programs: {"labels": [[name, label], …]}.
    """
    path = pathlib.Path(path)
    try:
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                text = archive.read("dataset.json") if "dataset.json" in archive.namelist() else None
        else:
            text = (path / "dataset.json").read_bytes() if (path / "dataset.json").exists() else None
        table = json.loads(text) if text else {}
        rows = table.get("labels") if isinstance(table, dict) else None
        return {name.replace("\\", "/"): label for name, label in rows} if rows else None
    except (zipfile.BadZipFile, UnicodeDecodeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'the labels of "{path}" (dataset.json) cannot be read: {error}.') from error


def _of_folder(path):
    names = sorted(found.relative_to(path).as_posix() for found in path.rglob("*")
                   if found.suffix.lower() in ENDINGS and found.is_file())

    def sums():
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(sha256_file, [path / name for name in names]))

    return names, lambda name: (path / name).read_bytes(), sums


def _of_zip(path):
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f'"{path}" is neither a folder nor a zip that can be read ({error}).') from error
    entries = {info.filename: info for info in archive.infolist()
               if pathlib.PurePosixPath(info.filename).suffix.lower() in ENDINGS}
    names = sorted(entries)

    def read(name):
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise ValueError(f'"{name}" in "{path}" is damaged ({error}).') from error

    return names, read, lambda: [f"{entries[name].CRC:08x} {entries[name].file_size}" for name in names]


def as_pixels(images):  # [N, C, H, W] float in [-1, 1] or uint8 -> uint8 [N, H, W, 3] array
    """Returns drawn pictures as a file would hold them; one channel becomes three equal ones."""
    from torch_utils.images import to_uint8

    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"pictures are [N, 1 or 3, H, W], got {list(images.shape)}.")
    pixels = to_uint8(images) if images.is_floating_point() else images
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()


def as_floats(pictures):  # list of uint8 [H, W, 3], all of one size -> float32 [N, 3, H, W] in [-1, 1]
    """Returns pictures as a batch; ValueError when their sizes differ."""
    import torch

    from torch_utils.images import to_float

    check_one_size(pictures)
    return to_float(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


def check_one_size(pictures):
    """Raises ValueError, with the sizes, unless all pictures have the same."""
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        text = " and ".join(f"{width}x{height}" for height, width in sizes[:3])
        raise ValueError(f"pictures of several sizes ({text}) cannot be judged by this metric, whose network takes one "
                         "size at a time; use fid_clean, which resizes each picture, or make them one size.")


@functools.cache
def default_workers():
    """Returns how many threads read and resize pictures: one a usable core, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)
