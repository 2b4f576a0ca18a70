"""Decodes m4a, mp4 and the like with an ffmpeg program, where there is one and PyAV is not installed."""

import contextlib
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import numpy as np

NO_SOUND = "no sound track"
_BLOCK_FRAMES = 1 << 16
_MOST_S = 1800  # a file that takes ffmpeg longer than this is given up
_MOST_HEADER = 1 << 16
_MOST_CHANNELS = 64
# Kinds of file that hold their sound themselves; playlists, which name other files, are not among them.
_CONTAINERS = "mov,matroska,avi,flv,aac,asf,mpegts,mpeg,mp3,ogg,wav,flac,amr,ac3,caf"


@functools.lru_cache(maxsize=1)
def find_ffmpeg() -> str | None:
    """The path of an ffmpeg program: the one on PATH, else that of the package imageio-ffmpeg; None without either."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def probe(path) -> tuple[int, int]:
    """Sample rate in Hz and number of channels of a file's first sound track. ValueError, without the path, if none."""
    with _running(path) as process:
        return _read_header(process)


def blocks(path) -> Iterator[np.ndarray]:
    """The decoded sound [frames, channels] float32, block by block. ValueError, without the path, if it is damaged."""
    with _running(path) as process:
        _, channels = _read_header(process)
        while content := _read(process, 4 * channels * _BLOCK_FRAMES):
            whole = len(content) - len(content) % (4 * channels)
            yield np.frombuffer(content[:whole], "<f4").reshape(-1, channels)
        if process.wait():
            raise ValueError(_last_words(process))


@contextlib.contextmanager
def _running(path):  # -> a process that writes the sound of a file as WAV
    """ffmpeg at work on a file: no shell, no standard input, no network, nothing but the file; ended at the end."""
    source = b"file:" + os.path.abspath(os.fsencode(path))
    command = [find_ffmpeg(), "-nostdin", "-hide_banner", "-v", "error", "-threads", "1", "-protocol_whitelist", "file",
               "-format_whitelist", _CONTAINERS, "-i", source, "-map", "0:a:0", "-vn", "-sn", "-dn",
               "-map_metadata", "-1", "-threads", "1", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words)
        process.words = words
        watch = threading.Timer(_MOST_S, process.kill)
        watch.daemon = True
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()
            process.stdout.close()
            process.wait()


def _read(process, num_bytes):
    """So many bytes of the sound, fewer at its end."""
    return process.stdout.read(num_bytes)


def _read_header(process):  # -> sample rate, channels; the next byte read is of the first sample
    found, at = None, 12
    if _read(process, 12)[8:12] != b"WAVE":
        raise ValueError(_last_words(process))
    while at < _MOST_HEADER:
        name, size = struct.unpack("<4sI", _read(process, 8).ljust(8, b"\0"))
        if name == b"data" and found:
            return found
        if name == b"\0\0\0\0" or size > _MOST_HEADER:
            break
        body = _read(process, size + size % 2)
        at += 8 + len(body)
        if name == b"fmt " and len(body) >= 16:
            channels, rate = struct.unpack("<HI", body[2:8])
            found = (rate, channels) if rate and 0 < channels <= _MOST_CHANNELS else None
    raise ValueError("its sound has no rate or no channels")


def _last_words(process):
    """Why ffmpeg gave up, in one line."""
    process.wait()
    process.words.seek(max(0, process.words.seek(0, os.SEEK_END) - 4096))
    lines = process.words.read().decode("utf-8", "replace").split("\n")
    known = [line.split("] ")[-1].strip() for line in lines if line.strip()]
    if any("matches no streams" in line for line in known):
        return NO_SOUND
    return ascii(known[0].rpartition("file:")[2][-160:])[1:-1] if known else f"exit code {process.returncode}"
