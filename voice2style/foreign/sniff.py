"""Tells what kind of file this is by its first bytes, opens it inertly, and names the common mistakes."""

import contextlib
import os
import stat

from voice2style.foreign.safe_pickle import Machine
from voice2style.foreign.safetensors_files import read_file
from voice2style.foreign.structure import lay_out
from voice2style.foreign.torch_files import STREAM_HEAD, read_archive, read_stream
from voice2style.foreign.windows import Refusal

MAX_BYTES = 64 << 30
MISTAKES = [  # first bytes -> what it is and what to do
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself: run git lfs pull"),
    (b"<!DOCTYPE", "a web page: the download gave an error page instead of the file"),
    (b"<!doctype", "a web page: the download gave an error page instead of the file"),
    (b"<html", "a web page: the download gave an error page instead of the file"),
    (b"<?xml", "an XML page: the download gave an error message instead of the file"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a rar archive: unpack it first"),
    (b"\x89HDF", "an HDF5 (Keras) file, which holds no StyleGAN2 network of a known form"),
    (b"\x93NUMPY", "a numpy array, not a network"),
    (b"\x89PNG", "a picture, not a network"),
    (b"\xff\xd8\xff", "a picture, not a network"),
    (b"RIFF", "a sound or picture, not a network"),
    (b"fLaC", "a sound, not a network"),
    (b"OggS", "a sound, not a network"),
    (b"ID3", "a sound, not a network"),
    (b"GGUF", "a GGUF language model, not a network for pictures"),
    (b"\x08\x03\x12", "an ONNX program: give the weights it was exported from"),
    (b"\x08\x07\x12", "an ONNX program: give the weights it was exported from"),
    (b"\x08\x08\x12", "an ONNX program: give the weights it was exported from"),
]
PICKLE_STARTS = b"\x80(]})cNI\x8c.K"  # protocol mark, or the first instruction of protocols 0 and 1


@contextlib.contextmanager
def handles(path):
    """(buffered handle, unbuffered handle for values read later, length) of a file."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Refusal("no ordinary file (a pipe or a device): save its contents first")
    with open(path, "rb") as file, open(path, "rb", buffering=0) as blobs:
        length = os.fstat(file.fileno()).st_size
        if length > MAX_BYTES:
            raise Refusal(f"a file of {length} bytes, far larger than any StyleGAN2 network")
        yield file, blobs, length


def open_contents(file, blobs, length, allowance):
    """Contents of an open file of any readable container."""
    head = file.read(512)
    file.seek(0)
    if not head:
        raise Refusal("an empty file (0 bytes)")
    for start, what in MISTAKES:
        if head.startswith(start):
            raise Refusal(f"it seems to be {what}")
    if head[257:262] == b"ustar":
        raise Refusal(
            "it seems to be a tar archive (or a torch file from before 2017): unpack it,"
            " or save it again with newer torch"
        )
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return lay_out("torch.save archive", *read_archive(blobs, length, allowance))
    if head.startswith(STREAM_HEAD):
        return lay_out("torch.save stream", *read_stream(file, length, allowance, blobs))
    if len(head) > 8 and head[8:9] == b"{":
        return read_file(blobs, length)
    if head[0] not in PICKLE_STARTS:
        raise Refusal(f"neither a pickle nor a torch.save archive nor .safetensors (it starts with {head[:8]!r})")
    machine = Machine(file, length, allowance, None, blobs)
    root = machine.run()
    return lay_out("pickle", root, machine.inert)
