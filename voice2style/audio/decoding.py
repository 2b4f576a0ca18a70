"""Decodes audio files block by block with libsndfile, or else PyAV or ffmpeg, and says what is wrong with one."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voice2style.audio import ffmpeg_decoding

BLOCK_FRAMES = 1 << 16
_SUPPORTED = "wav, flac, ogg, opus, mp3, aiff, au, caf"
_OPEN_ENDED = 0x7FFFF000  # 32-bit data sizes from here on are what programs write that do not know the length yet
_BEFORE_SAMPLES = {b"RIFF": ("data", 0), b"RIFX": ("data", 0), b"RF64": ("data", 0), b"FORM": ("SSND", 8),
                   b"caff": ("data", 4)}  # first bytes of a file -> its chunk of samples, and what stands there before
_LONG = (b"RF64", b"caff")  # sizes of 64 bits
_MOST_CHUNKS = 1000
_OGG_TAIL = 1 << 17  # two pages of the greatest size


class BadAudio(ValueError):
    """A file that cannot be used as sound: its path, the cause and a remedy."""


@dataclass(frozen=True)
class Source:
    """An audio file that could be opened: what it says about itself, and how to decode it."""

    path: Path
    decoder: str  # "soundfile", "av" or "ffmpeg"
    sample_rate_hz: int
    num_channels: int
    declared_frames: int | None  # what the header promises, None if it does not say
    has_end: bool = True  # False where the container marks its end, and there is none

    def blocks(self) -> Iterator[np.ndarray]:
        """Decoded samples [frames, channels] float32, one bounded block after the other, from the start."""
        if self.decoder == "soundfile":
            return _soundfile_blocks(self.path)
        return _av_blocks(self.path, self.num_channels) if self.decoder == "av" else _ffmpeg_blocks(self.path)


def find_film_decoder() -> str | None:
    """What decodes m4a, mp4 and the like on this machine, in words; None if nothing does."""
    try:
        import av

        return f"PyAV {av.__version__}"
    except ImportError:
        return ffmpeg_decoding.find_ffmpeg()


def open_source(path) -> Source:
    """The audio file at `path`, ready to decode. BadAudio names the path, the cause and a remedy."""
    path = Path(path)
    head = _first_bytes(path)
    if path.suffix.lower() in (".raw", ".pcm"):
        raise BadAudio(f"{path}: raw samples without a header, of unknown rate and format; convert them to wav")
    import soundfile  # here, because importing it opens a native library

    try:
        with soundfile.SoundFile(native_name(path)) as file:
            declared = _declared_frames(path, head, file)
            return Source(path, "soundfile", file.samplerate, file.channels, declared, _has_end(path, head))
    except soundfile.LibsndfileError as error:
        cause = _known_cause(path, head, error)
        if cause is not None:
            raise BadAudio(f"{path}: {cause}") from None
    return _open_film(path, head)


def _first_bytes(path: Path) -> bytes:
    """The first 4 KiB of a readable, non-empty file; BadAudio for all else that a path can be."""
    try:
        if path.is_dir():
            raise BadAudio(f"{path}: is a directory; give an audio file")
        if path.exists() and not path.is_file():  # a file is read more than once; and a pipe may never say a word
            raise BadAudio(f"{path}: is a pipe or a device; save the sound as a file first")
        with open(path, "rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise BadAudio(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise BadAudio(f"{path}: permission denied; make the file readable") from None
    except OSError as error:
        raise BadAudio(f"{path}: cannot be read ({error.strerror}); check the file and its disk") from None
    if not head:
        raise BadAudio(f"{path}: is empty (0 bytes); record or copy it again")
    return head


def native_name(path) -> str | bytes:
    """The path in the form in which libsndfile opens every name, also one that is no UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _known_cause(path: Path, head: bytes, error) -> str | None:
    """Cause and remedy for a file of a known kind that libsndfile refuses; None if the kind is not known."""
    text = getattr(error, "error_string", str(error)).strip()
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and b"WAVE".startswith(head[8:12]):
        chunks = _chunks(path, head)
        if "fmt " in chunks and len(chunks["fmt "][1]) >= 8:
            _, channels, rate = struct.unpack("<HHI", chunks["fmt "][1][:8])
            if channels == 0 or rate == 0:
                return f"invalid header ({channels} channels at {rate} Hz); export the file again"
        if "data" not in chunks:
            return "truncated WAV header (it ends before the samples); copy or record the file again"
        return f"invalid header or an unsupported kind of WAV ({text}); export it as 16-bit PCM"
    if head[:4] in (b"fLaC", b"OggS", b"FORM", b".snd", b"caff") or head[:3] == b"ID3" or _is_mpeg(head):
        return "damaged or truncated: its header is cut or unreadable; copy or record the file again"
    return None


def _is_mpeg(head: bytes) -> bool:
    """Whether the bytes begin with the sync word of an MPEG audio layer III frame."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def _chunks(path: Path, head: bytes) -> dict:
    """Chunks of a RIFF, RF64, AIFF or CAF file: name -> (declared size, its first bytes, bytes that the file holds)."""
    order = ">" if head[:4] in (b"RIFX", b"FORM", b"caff") else "<"
    field, at = ("q", 8) if head[:4] == b"caff" else ("I", 12)
    header = struct.Struct(f"{order}4s{field}")
    chunks, size_of_file = {}, path.stat().st_size
    with open(path, "rb") as file:
        for _ in range(_MOST_CHUNKS):
            if at + header.size > size_of_file:
                break
            file.seek(at)
            name, size = header.unpack(file.read(header.size))
            at += header.size
            chunks.setdefault(name.decode("latin-1"), (size, file.read(min(max(size, 0), 64)), size_of_file - at))
            if size < 0:  # of unknown length, and so the last one
                break
            at += size + (size % 2 if field == "I" else 0)
    return chunks


def _data_bytes(path: Path, head: bytes) -> tuple[int, int]:
    """Bytes of samples that a header promises, and those that the file holds; two zeros where it does not say."""
    kind, chunks = head[:4], {}
    if kind == b".snd":
        start, size = struct.unpack(">II", head[4:12])
        return size, path.stat().st_size - start
    if kind in _BEFORE_SAMPLES:
        chunks = _chunks(path, head)
    name, before = _BEFORE_SAMPLES.get(kind, ("data", 0))
    size, _, held = chunks.get(name, (0, b"", 0))
    if kind == b"RF64" and len(body := chunks.get("ds64", (0, b"", 0))[1]) >= 16:
        size = struct.unpack("<Q", body[8:16])[0]
    return size - before, held - before


def _declared_frames(path: Path, head: bytes, file) -> int | None:
    """Frames the file promises: by its own word, because libsndfile corrects many a header by the file's size."""
    size, held = _data_bytes(path, head)
    if 0 < held < size and (size < _OPEN_ENDED or head[:4] in _LONG):
        return file.frames * size // held
    return file.frames if 0 <= file.frames < 1 << 60 else None


def _has_end(path: Path, head: bytes) -> bool:
    """Whether an Ogg file goes to its end: a whole last page, marked as the last one (RFC 3533). True for others."""
    if head[:4] != b"OggS":
        return True
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_TAIL))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS\0")):]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27:27 + page[26]])


def _soundfile_blocks(path: Path) -> Iterator[np.ndarray]:
    import soundfile

    try:
        with soundfile.SoundFile(native_name(path)) as file:
            while True:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
                if len(block) == 0:
                    return
                yield block
    except soundfile.LibsndfileError as error:
        text = getattr(error, "error_string", str(error)).strip()
        raise BadAudio(f"{path}: damaged ({text}); copy or record the file again") from None


def _open_film(path: Path, head: bytes) -> Source:
    """The file as PyAV sees it, or ffmpeg where PyAV is absent; BadAudio if neither is here or can read it."""
    shown = ascii(head[:8])[1:]
    try:
        import av
    except ImportError:
        return _open_with_ffmpeg(path, head, shown)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise BadAudio(f"{path}: holds no sound track; give a recording of a voice")
            stream = container.streams.audio[0]
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    except av.FFmpegError as error:
        raise BadAudio(f"{path}: not an audio file that soundfile or PyAV can read (first bytes {shown}: "
                       f"{error.strerror}); give {_SUPPORTED}, m4a or a video") from None
    if not rate or not channels:
        raise BadAudio(f"{path}: invalid header ({channels} channels at {rate} Hz); export the file again")
    return Source(path, "av", rate, channels, None)


def _av_blocks(path: Path, num_channels: int) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as container:
            plan = container.streams.audio[0].codec_context
            resampler = av.AudioResampler(format="fltp", layout=plan.layout, rate=plan.sample_rate)
            for frame in container.decode(audio=0):
                yield from _av_arrays(resampler.resample(frame), num_channels)
            yield from _av_arrays(resampler.resample(None), num_channels)
    except av.FFmpegError as error:
        raise BadAudio(f"{path}: damaged ({error.strerror}); copy or record the file again") from None


def _av_arrays(frames, num_channels: int) -> Iterator[np.ndarray]:
    """Planar frames as [samples, channels] float32."""
    for frame in frames:
        if frame.samples:
            yield np.ascontiguousarray(frame.to_ndarray().reshape(num_channels, -1).T)


def _open_with_ffmpeg(path: Path, head: bytes, shown: str) -> Source:
    """The file as the ffmpeg program sees it; BadAudio if there is none, or it cannot read it either."""
    if ffmpeg_decoding.find_ffmpeg() is None:
        film = head[4:8] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"FLV\x01") or head[8:12] == b"AVI "
        what = "MP4, M4A or a video" if film else "not an audio file soundfile can read"
        raise BadAudio(f"{path}: {what} (first bytes {shown}; readable are {_SUPPORTED}); for m4a/mp4 and video "
                       f"install the extra: pip install 'voice2style[av]', or put ffmpeg on the PATH")
    try:
        rate, channels = ffmpeg_decoding.probe(path)
    except ValueError as error:
        if str(error) == ffmpeg_decoding.NO_SOUND:
            raise BadAudio(f"{path}: holds no sound track; give a recording of a voice") from None
        raise BadAudio(f"{path}: not an audio file that soundfile or ffmpeg can read (first bytes {shown}: {error}); "
                       f"give {_SUPPORTED}, m4a or a video") from None
    return Source(path, "ffmpeg", rate, channels, None)


def _ffmpeg_blocks(path: Path) -> Iterator[np.ndarray]:
    try:
        yield from ffmpeg_decoding.blocks(path)
    except ValueError as error:
        raise BadAudio(f"{path}: damaged ({error}); copy or record the file again") from None
