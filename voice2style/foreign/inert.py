"""The inert things a pickle may turn into here, and the names that end the reading at once."""

import math
import re

import numpy as np
import torch

from voice2style.foreign.windows import Blob, Latin1Blob, Refusal, Text, memory_blob

DTYPES = {  # torch storage class -> element type; quantised and unknown classes are refused
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
NUMERIC_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16)")  # never O (objects), V, S, U, M, m
MAX_DIMENSIONS = 8
PIECE = 1 << 18  # elements converted at a time

# Naming one of these has no place in a file of weights, wherever it stands.
CODE_MODULES = frozenset(
    """os posix nt posixpath ntpath subprocess sys shutil socket pty commands runpy importlib imp ctypes _ctypes code
    codeop pdb bdb webbrowser platform multiprocessing threading signal asyncio pip urllib http ftplib smtplib telnetlib
    tempfile pathlib glob pickle _pickle cloudpickle marshal types timeit cProfile profile trace doctest idlelib
    distutils setuptools zipimport pkgutil linecache inspect gc atexit site""".split()  # noqa: SIM905
)
CODE_BUILTINS = frozenset(
    """eval exec compile open __import__ print input breakpoint exit quit globals locals vars
    delattr""".split()  # noqa: SIM905
)
OLD_MODULE_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}


class Name:
    """A global a pickle refers to: its two strings and nothing behind them."""

    __slots__ = ("module", "name")

    def __init__(self, module, name):
        for old, new in OLD_MODULE_NAMES.items():
            if module == old or module.startswith(old + "."):
                module = new + module[len(old) :]
        self.module, self.name = module, name

    @property
    def full(self):
        return f"{self.module}.{self.name}"

    def runs_code(self):
        if self.module == "builtins":
            return self.name.split(".")[0] in CODE_BUILTINS
        return self.module.split(".")[0] in CODE_MODULES


class Thing:
    """What an unknown call or class would have made: the recipe, kept and never followed."""

    __slots__ = ("maker", "args", "state", "items", "entries")

    def __init__(self, maker, args):
        self.maker, self.args, self.state, self.items, self.entries = maker, args, None, {}, []

    @property
    def full(self):
        return self.maker.full if isinstance(self.maker, Name) else "a computed call"

    def children(self):
        return [self.args, self.state, self.items, self.entries]


class Module:
    """A network module of a published pickle: the name of its class and its attributes."""

    __slots__ = ("class_name", "state")

    def __init__(self, class_name, state):
        self.class_name, self.state = class_name, state


class Storage:
    """A run of numbers inside the file."""

    __slots__ = ("dtype", "numel", "blob", "start", "big_endian")

    def __init__(self, dtype, numel, blob=None, start=0, *, big_endian=False):
        self.dtype, self.numel, self.blob, self.start, self.big_endian = dtype, numel, blob, start, big_endian

    def fits(self):
        return self.start + self.numel * self.dtype.itemsize <= self.blob.length


def is_count(value):
    """True for a whole number that may be a size; a bool is none."""
    return type(value) is int and 0 <= value < 1 << 48


class TensorRef:
    """A tensor described but not read: a view on a storage whose bounds have been checked."""

    __slots__ = ("storage", "offset", "shape", "stride", "is_parameter")

    def __init__(self, storage, offset, shape, stride):
        self.storage, self.offset, self.is_parameter = storage, offset, False
        self.shape, self.stride = tuple(shape), tuple(stride)
        if not isinstance(storage, Storage):
            raise Refusal("a tensor is built on something that is not a storage of plain numbers")
        if not (is_count(offset) and all(map(is_count, self.shape)) and all(map(is_count, self.stride))):
            raise Refusal(
                f"a tensor declares offset {offset!r}, size {self.shape!r}, strides {self.stride!r}: not counts"
            )
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise Refusal(
                f"a tensor declares {len(self.shape)} sizes and {len(self.stride)} strides (at most {MAX_DIMENSIONS})"
            )
        if self.offset + self.extent() > storage.numel:
            raise Refusal(
                f"a tensor reaches outside its storage: offset {offset}, size {self.shape}, strides {self.stride},"
                f" storage of {storage.numel} numbers"
            )

    def numel(self):
        return math.prod(self.shape)

    def extent(self):
        """Number of storage elements between the first and the last one of this view."""
        return sum((n - 1) * s for n, s in zip(self.shape, self.stride)) + 1 if self.numel() else 0

    def load(self, allowance, dtype=None):
        """The tensor itself, contiguous, on the CPU, in its own element type or in `dtype`."""
        own, extent = self.storage.dtype, self.extent()
        dtype = own if dtype is None else dtype
        size = max(own.itemsize, dtype.itemsize)
        allowance.take_bytes(max(extent, self.numel()) * size, f"a tensor of size {self.shape}")
        if dtype == own or extent != self.numel():
            return self._span(0, extent).as_strided(self.shape, self.stride).contiguous().to(dtype)
        whole = torch.empty(
            extent, dtype=dtype
        )  # converted piece by piece: both precisions never lie in memory at once
        for start in range(0, extent, PIECE):
            num = min(PIECE, extent - start)
            whole[start : start + num] = self._span(start, num)
        return whole.as_strided(self.shape, self.stride).contiguous()

    def _span(self, first, num):
        """`num` elements of the storage from the view's element `first` on."""
        size = self.storage.dtype.itemsize
        raw = torch.empty(num * size, dtype=torch.uint8)
        if num:
            start = self.storage.start + (self.offset + first) * size
            self.storage.blob.read_into(start, memoryview(raw.numpy()))
        if self.storage.big_endian and size > 1 and num:
            raw = raw.view(-1, size).flip(1).reshape(-1)
        return raw.view(self.storage.dtype)


class NumpyType:
    """A numpy element type: its short name, checked when used."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text

    def resolve(self):
        if not isinstance(self.text, str) or not NUMERIC_DTYPE.fullmatch(self.text):
            raise Refusal(f"a numpy array of type {self.text!r}: only plain numbers are read, never objects or records")
        return np.dtype(self.text)


class ArrayRef:
    """A numpy array described but not read."""

    __slots__ = ("shape", "type", "blob", "fortran")

    def __init__(self):
        self.shape, self.type, self.blob, self.fortran = None, None, None, False

    def fill(self, shape, type_, data, fortran):
        if isinstance(data, list) or not isinstance(type_, NumpyType):
            raise Refusal("a numpy array of Python objects: only plain numbers are read")
        dtype = type_.resolve()
        if not (
            isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)
        ):
            raise Refusal(f"a numpy array of impossible shape {shape!r}")
        self.shape, self.type, self.fortran, self.blob = shape, dtype, bool(fortran), as_blob(data)
        if math.prod(shape) * dtype.itemsize > self.blob.length:
            raise Refusal(f"a numpy array of shape {shape} is declared over {self.blob.length} bytes of data")

    def load(self, allowance):
        """numpy array in its own type."""
        if self.blob is None:
            raise Refusal("a numpy array was announced but its values never came")
        num = math.prod(self.shape) * self.type.itemsize
        allowance.take_bytes(num, f"an array of shape {self.shape}")
        raw = np.empty(num, dtype=np.uint8)
        if num:
            self.blob.read_into(0, memoryview(raw))
        return raw.view(self.type).reshape(self.shape, order="F" if self.fortran else "C")


def as_blob(value):
    if isinstance(value, (Blob, Latin1Blob)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return memory_blob(bytes(value))
    if isinstance(value, (str, Text)):  # Python 2 wrote bytes as a string
        return as_blob(encode_latin1(None, (value, "latin1")))
    raise Refusal(f"raw numbers were expected where the pickle has {type(value).__name__}")


def encode_latin1(_machine, args):
    text, encoding = (args + ("latin1",))[:2] if isinstance(args, tuple) and args else (None, None)
    if encoding not in ("latin1", "latin-1", "iso-8859-1") or not isinstance(text, (str, Text)):
        raise Refusal(f"_codecs.encode is only read for bytes written as latin-1 text, found {encoding!r}")
    return Latin1Blob(text) if isinstance(text, Text) else text.encode("latin-1")
