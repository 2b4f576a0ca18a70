"""Writes films frame by frame: mp4 through imageio-ffmpeg, or a folder of numbered PNG files without it."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from dnnlib.console import warn
from dnnlib.files import atomic_path

_FRAME_NAME = re.compile(r"\d{5,}\.png")
_LARGEST_SIDE = 16384  # what an H.264 encoder takes
_INSTALL = 'pip install "voice2style[video]"'


def film_path(wanted):
    """Returns where a film will really be: an .mp4 file, or a folder of frames.

    A name without a suffix is a folder. Without imageio-ffmpeg, NAME.mp4 becomes the folder NAME-frames, and one
    line says so. ValueError for another suffix, or when something that is no film is in the way.
    """
    wanted = pathlib.Path(wanted)
    if wanted.suffix.lower() not in ("", ".mp4"):
        raise ValueError(f'a film is an .mp4 file, or a folder for its frames, not "{wanted}".')
    path = wanted
    if wanted.suffix and (reason := _no_encoder()):
        path = wanted.with_name(f"{wanted.stem}-frames")
        warn(f'note: {reason}; the frames go as PNG files into "{path}". For mp4: {_INSTALL}')
    if path.suffix and path.is_dir():
        raise ValueError(f'cannot write the film "{path}": a folder of that name is in the way.')
    if not path.suffix and path.exists() and not _is_frames(path):
        raise ValueError(f'cannot write frames into "{path}": there is something else; give another name.')
    return path


@contextlib.contextmanager
def open_film(path, *, fps, comment, write_frame):
    """Yields a function that takes one frame after the other, uint8 [H, W, 3] or [H, W, 1], all of one size.

    `path` comes from `film_path`. The film appears when all is done; after an error nothing is left of it. `comment`
    goes into an mp4; `write_frame(path, pixels)` writes a PNG of a folder.
    """
    writer = _mp4(path, fps, comment) if path.suffix else _folder(path, write_frame)
    with writer as add:
        yield add


@contextlib.contextmanager
def _folder(path, write_frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent))
    num_frames = 0

    def add(pixels):
        nonlocal num_frames
        write_frame(temporary / f"{num_frames:05d}.png", pixels)
        num_frames += 1

    try:
        yield add
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)  # an older sequence, as film_path has seen
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _mp4(path, fps, comment):
    with atomic_path(path) as temporary, tempfile.TemporaryFile() as complaints:
        encoder = _Encoder(temporary, fps, comment, complaints)
        try:
            yield encoder.add
            encoder.finish()
        finally:
            encoder.stop()


class _Encoder:
    """An ffmpeg process that is fed raw frames; it starts with the first one, which tells the size."""

    def __init__(self, path, fps, comment, complaints):
        self.path, self.fps, self.comment, self.complaints = path, fps, comment, complaints
        self.process = self.size = None

    def add(self, pixels):
        pixels = _rgb_even(pixels)
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        if self.process is None:
            self._start(size)
        if size != self.size:
            raise ValueError(f"the frames of a film have one size; got {size} after {self.size}.")
        try:
            self.process.stdin.write(pixels.tobytes())
        except BrokenPipeError:
            self._fail()

    def finish(self):
        if self.process is None:
            raise ValueError("a film needs one frame or more, got none.")
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.wait():
            self._fail()

    def stop(self):
        """Ends the encoder when it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _start(self, size):
        if max(map(int, size.split("x"))) > _LARGEST_SIDE:
            raise ValueError(f"frames of {size} are too large for mp4 (allowed: {_LARGEST_SIDE} pixels a side); give a "
                             "smaller grid, or a folder for PNG frames.")
        import imageio_ffmpeg

        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{self.fps:g}", "-i", "-"]
        sink = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "17", "-movflags", "+faststart",
                "-metadata", f"comment={self.comment}", "-f", "mp4", str(self.path)]
        self.size = size
        self.process = subprocess.Popen([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *sink],
                                        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.complaints)

    def _fail(self):
        self.process.wait()
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").split("\n")
        told = [line.strip() for line in lines if line.strip()] or ["it gave no reason"]
        raise ValueError(f"the mp4 encoder failed: {told[0][:300]}")


def _rgb_even(pixels):  # uint8 [H, W, 1|3] -> uint8 array [H', W', 3]
    """Returns a frame in colour with even sides, as H.264 wants them; an odd side repeats its last line."""
    import numpy as np

    pixels = pixels.cpu().numpy() if hasattr(pixels, "cpu") else pixels
    height, width, channels = pixels.shape
    if channels not in (1, 3):
        raise ValueError(f"frames of {channels} channels do not go into mp4 (allowed: 1 or 3); give a folder for PNG "
                         "frames.")
    pixels = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _no_encoder():
    """Returns why no mp4 can be made here, None when one can."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        return "imageio-ffmpeg is not installed"
    except RuntimeError as error:
        return f"imageio-ffmpeg finds no ffmpeg program ({str(error).splitlines()[0]})"
    return None


def _is_frames(path):
    """True for a folder that holds nothing but numbered frames."""
    return path.is_dir() and all(_FRAME_NAME.fullmatch(name) for name in os.listdir(path))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
