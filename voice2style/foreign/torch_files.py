"""Reads what torch.save writes: the zip archive, the older stream, and the stream nested in NVIDIA's pickles."""

import io
import re
import struct
import zipfile

from voice2style.foreign.inert import DTYPES, Name, Storage
from voice2style.foreign.safe_pickle import Machine
from voice2style.foreign.windows import Blob, Refusal, memory_blob

STREAM_MAGIC = 0x1950A86A20F9469CFC6C
STREAM_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
STREAM_VERSION = 1001
MAX_NESTED_HEAD = 4096  # the five small pickles before the numbers of one nested storage take about 400 bytes
MAX_ENTRIES = 100_000
ONE_STORAGE = re.compile(  # how every torch since 1.0 writes a storage's description between head and numbers
    rb"\x80\x02\(X\x07\0\0\0storageq\0ctorch\n([A-Za-z0-9]{1,32})\nq\x01X(.)\0\0\0([0-9]{1,20})q\x02"
    rb"X(.)\0\0\0([a-z0-9:]{1,20})q\x03(?:K(.)|M(..)|J(...[\0-\x7f]))Ntq\x04Q\."
    rb"\x80\x02\]q\0X(.)\0\0\0([0-9]{1,20})q\x01a\.",
    re.DOTALL,
)


def storage_dtype(cls):
    """Element type of a torch storage class, by its name only (cuda classes included)."""
    known = isinstance(cls, Name) and cls.module in ("torch", "torch.cuda", "torch.storage") and DTYPES.get(cls.name)
    if not known:
        kind = cls.full if isinstance(cls, Name) else type(cls).__name__
        raise Refusal(f"a storage of kind {kind}: only plain numbers are read")
    return known


def storage_fields(pid):
    """(dtype, key, numel, view) of ('storage', class, key, location, numel[, view]); the location is ignored."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise Refusal("a persistent id that is no torch storage")
    dtype, key, numel = storage_dtype(pid[1]), pid[2], pid[4]
    if not isinstance(key, (str, int)) or type(numel) is not int or not 0 <= numel < 1 << 48:
        raise Refusal(f"a storage with key {key!r} and {numel!r} elements")
    return dtype, str(key), numel, pid[5] if len(pid) == 6 else None


# ---- the stream form ----


def stream_head(file, end, allowance):
    """Checks magic, version and byte order; True if the numbers are big-endian.

    A snapshot repeats the same 70 bytes before every tensor: once checked, they are compared instead of interpreted."""
    start, known = file.tell(), allowance.checked_stream_head
    if known and file.read(len(known)) == known:
        return False
    file.seek(start)
    if Machine(file, end, allowance).run() != STREAM_MAGIC:
        raise Refusal("not a torch.save stream (wrong magic number)")
    if (version := Machine(file, end, allowance).run()) != STREAM_VERSION:
        raise Refusal(f"a torch.save stream of version {version!r}, only {STREAM_VERSION} is known")
    system = Machine(file, end, allowance).run()
    if not isinstance(system, dict):
        raise Refusal("a torch.save stream without its description of the system")
    stop = file.tell()
    file.seek(start)
    head = file.read(stop - start)
    if system.get("little_endian") is False:
        return True
    allowance.checked_stream_head = head
    return False


def stream_root(file, end, allowance, blobs):
    """(machine, root object, storages in order) of the stream in `file`; their places come later."""
    big_endian = stream_head(file, end, allowance)
    storages = {}

    def persistent(pid):
        if isinstance(pid, tuple) and pid and pid[0] == "module" and len(pid) >= 2:
            return pid[1]  # old torch also stored the source text of module classes: ignored
        dtype, key, numel, view = storage_fields(pid)
        whole = storages.setdefault(key, Storage(dtype, numel, big_endian=big_endian))
        if whole.dtype != dtype or whole.numel != numel:
            raise Refusal(f"storage {key} is described twice, differently")
        return whole if view is None else Slice(whole, view)

    machine = Machine(file, end, allowance, persistent, blobs)
    root = machine.run()
    keys = Machine(file, end, allowance).run()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise Refusal("the list of storages in a torch.save stream does not match its tensors")
    return machine, root, [storages[str(key)] for key in keys]


class Slice(Storage):
    """A part of another storage (torch before 0.4 named such parts in the stream); it lies where the whole lies."""

    __slots__ = ("whole", "first")

    def __init__(self, whole, view):
        if not isinstance(view, tuple) or len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
            raise Refusal("a view of a storage that is not (key, offset, size)")
        if view[1] + view[2] > whole.numel:
            raise Refusal("a view reaches outside its storage")
        self.whole, self.first = whole, view[1]
        self.dtype, self.numel, self.big_endian = whole.dtype, view[2], whole.big_endian

    blob = property(lambda self: self.whole.blob)
    start = property(lambda self: self.whole.start + self.first * self.dtype.itemsize)


def place_storages(storages, blob, start):
    """Gives each storage its place in `blob`: one after another, each after its own count of elements."""
    for storage in storages:
        count = blob.read(start, 8)
        if len(count) < 8:
            raise Refusal("truncated: the file ends before the values of its last tensors")
        (numel,) = struct.unpack(">q" if storage.big_endian else "<q", count)
        if numel != storage.numel:
            raise Refusal(f"a storage declares {storage.numel} elements and then {numel}")
        storage.blob, storage.start = blob, start + 8
        if not storage.fits():
            raise Refusal(
                f"a storage declares {numel} elements of {storage.dtype.itemsize} bytes"
                f" and {max(blob.length - start - 8, 0)} bytes are left: truncated, or a lie"
            )
        start = storage.start + numel * storage.dtype.itemsize


def _usual_storage(head, known):
    """(storage, where its count stands) for the usual layout, without a pickle machine for it; None for any other."""
    match = ONE_STORAGE.match(head, len(known)) if known and head.startswith(known) else None
    if match is None:
        return None
    kind, key_length, key, place_length, place, *counts, listed_length, listed = match.groups()
    if key_length[0] != len(key) or place_length[0] != len(place) or (listed_length, listed) != (key_length, key):
        return None
    dtype = storage_dtype(Name("torch", kind.decode()))
    return Storage(dtype, int.from_bytes(next(c for c in counts if c is not None), "little")), match.end()


def nested_storage(blob, allowance):
    """The one storage inside the bytes that NVIDIA's pickles hand to torch.storage._load_from_bytes."""
    head = blob.read(0, MAX_NESTED_HEAD)
    if head[:2] == b"PK":
        raise Refusal("a nested torch.save archive where a single storage is expected")
    if found := _usual_storage(head, allowance.checked_stream_head):
        root, stop = found
        place_storages([root], blob, stop)
        return root
    file = io.BytesIO(head)
    _, root, storages = stream_root(file, len(head), allowance, file)
    if not isinstance(root, Storage) or len(storages) != 1:
        raise Refusal("the bytes of a nested torch.save stream hold something other than one storage")
    place_storages(storages, blob, file.tell())
    return root


def read_stream(file, end, allowance, blobs):
    """(root object, inert names) of a whole file in the stream form."""
    machine, root, storages = stream_root(file, end, allowance, blobs)
    place_storages(storages, Blob(blobs, 0, end), file.tell())
    return root, machine.inert


# ---- the zip form ----


def checked_entries(archive, end):
    """Entries by name, after checks on names, sizes and places; nothing has been unpacked yet."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise Refusal(f"a zip archive of {len(infos)} entries, at most {MAX_ENTRIES} are read")
    entries, last = {}, 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        name = info.filename
        if (
            name.startswith(("/", "\\"))
            or "\\" in name
            or ".." in name.split("/")
            or ":" in name.split("/")[0]
            or "\0" in name
        ):
            raise Refusal(f"a zip entry named {name!r} that points outside the archive")
        if name in entries:
            raise Refusal(f"two zip entries named {name!r}")
        if info.flag_bits & 1:
            raise Refusal("an encrypted zip archive")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise Refusal(f"zip entry {name!r} is stored plainly with two different sizes")
        if info.header_offset < last:
            raise Refusal(f"zip entry {name!r} lies inside another one (a way to build bombs)")
        last = info.header_offset + 30 + info.compress_size
        if last > end:
            raise Refusal(f"truncated: zip entry {name!r} declares more bytes than the file has")
        entries[name] = info
    return entries


class Archive:
    """A torch.save archive: finds entries, and reads them where they lie."""

    def __init__(self, file, end, allowance):
        self.file, self.end, self.allowance, self.unpacked = file, end, allowance, {}
        try:
            self.zip = zipfile.ZipFile(file)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            struct.error,
            ValueError,
            EOFError,
            IndexError,
            OSError,
        ) as error:
            raise Refusal(f"a zip archive that is damaged or truncated ({error})") from error
        self.entries = checked_entries(self.zip, end)

    def blob(self, name):
        """Bytes of one entry: in place when stored plainly, else unpacked once within the allowance."""
        info = self.entries.get(name)
        if info is None:
            raise Refusal(f"the archive lacks its entry {name!r}")
        if info.compress_type == zipfile.ZIP_STORED:
            return Blob(self.file, self._place(info), info.file_size)
        if name not in self.unpacked:
            self.allowance.take_bytes(info.file_size, f"compressed zip entry {name!r}")
            self.unpacked[name] = memory_blob(self._unpack(info))
        return self.unpacked[name]

    def _unpack(self, info):
        try:
            with self.zip.open(info) as entry:
                data = entry.read(info.file_size)  # never more than was declared and charged
        except (zipfile.BadZipFile, zipfile.zlib.error, NotImplementedError, EOFError, OSError, ValueError) as error:
            raise Refusal(f"zip entry {info.filename!r} cannot be unpacked ({error})") from error
        if len(data) != info.file_size:
            raise Refusal(f"zip entry {info.filename!r} unpacks to {len(data)} bytes, {info.file_size} were declared")
        return data

    def _place(self, info):
        """Start of a stored entry's bytes, from its local header."""
        head = Blob(self.file, info.header_offset, 30).read()
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise Refusal(f"zip entry {info.filename!r} has no header where the archive says")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        if start + info.file_size > self.end:
            raise Refusal(f"truncated: zip entry {info.filename!r} ends after the file does")
        return start

    def folder(self):
        """The name of the archive's one folder, that of data.pkl."""
        found = [name[: -len("data.pkl")] for name in self.entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(found) != 1:
            raise Refusal(f"a zip archive with {len(found)} entries named data.pkl; {describe_archive(self.entries)}")
        return found[0]


def describe_archive(names):
    """What a zip archive without weights probably is."""
    if any(name.endswith(".npy") for name in names):
        return "it looks like numpy arrays (.npz)"
    if any(name.lower().endswith((".png", ".jpg", ".webp")) for name in names):
        return "it looks like a dataset of pictures"
    return "first entries: " + (", ".join(sorted(names)[:3]) or "none")


def read_archive(file, end, allowance):
    """(root object, inert names) of a torch.save zip archive."""
    archive = Archive(file, end, allowance)
    folder = archive.folder()
    if f"{folder}constants.pkl" in archive.entries or any(n.startswith(f"{folder}code/") for n in archive.entries):
        raise Refusal("it seems to be a TorchScript program, which is code: save its state_dict() instead")
    order = archive.blob(f"{folder}byteorder").read(0, 16) if f"{folder}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise Refusal(f"an archive of byte order {order!r}")
    storages = {}

    def persistent(pid):
        dtype, key, numel, _view = storage_fields(pid)
        if key not in storages:
            storage = Storage(dtype, numel, archive.blob(f"{folder}data/{key}"), big_endian=order == b"big")
            if not storage.fits():
                raise Refusal(
                    f"storage {key} declares {numel} elements of {dtype.itemsize} bytes,"
                    f" its entry has {storage.blob.length} bytes"
                )
            storages[key] = storage
        if storages[key].dtype != dtype or storages[key].numel != numel:
            raise Refusal(f"storage {key} is described twice, differently")
        return storages[key]

    program = archive.blob(f"{folder}data.pkl")
    allowance.take_bytes(program.length, "data.pkl")
    data = program.read()
    machine = Machine(io.BytesIO(data), len(data), allowance, persistent)
    return machine.run(), machine.inert
