"""The inert things a pickle may turn into here, and the closed table of calls that are understood rather than made."""

import math
import re

import numpy as np
import torch

from voice2style.foreign.windows import Blob, Latin1Blob, Refusal, Text

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

# Naming one of these has no place in a file of weights, wherever it stands.
CODE_MODULES = frozenset(
    "os posix nt posixpath ntpath subprocess sys shutil socket pty commands runpy importlib imp ctypes _ctypes code codeop"
    " pdb bdb webbrowser platform multiprocessing threading signal asyncio pip urllib http ftplib smtplib telnetlib"
    " tempfile pathlib glob pickle _pickle cloudpickle marshal types timeit cProfile profile trace doctest idlelib"
    " distutils setuptools zipimport pkgutil linecache inspect gc atexit site".split()
)
CODE_BUILTINS = frozenset("eval exec compile open __import__ print input breakpoint exit quit globals locals vars delattr".split())
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


class TensorRef:
    """A tensor described but not read: a view on a storage whose bounds have been checked."""

    __slots__ = ("storage", "offset", "shape", "stride", "is_parameter")

    def __init__(self, storage, offset, shape, stride):
        self.storage, self.offset, self.is_parameter = storage, offset, False
        self.shape, self.stride = tuple(shape), tuple(stride)
        whole = lambda v: type(v) is int and 0 <= v < 1 << 48  # noqa: E731 - bool is no size
        if not isinstance(storage, Storage):
            raise Refusal("a tensor is built on something that is not a storage of plain numbers")
        if not (whole(offset) and all(map(whole, self.shape)) and all(map(whole, self.stride))):
            raise Refusal(f"a tensor declares offset {offset!r}, size {self.shape!r}, strides {self.stride!r}: not counts")
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise Refusal(f"a tensor declares {len(self.shape)} sizes and {len(self.stride)} strides (at most {MAX_DIMENSIONS})")
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

    def load(self, allowance):
        """The tensor itself, contiguous, on the CPU, in its own element type."""
        dtype, extent = self.storage.dtype, self.extent()
        allowance.take_bytes(max(extent, self.numel()) * max(dtype.itemsize, 4), f"a tensor of size {self.shape}")
        raw = torch.empty(extent * dtype.itemsize, dtype=torch.uint8)
        if extent:
            start = self.storage.start + self.offset * dtype.itemsize
            self.storage.blob.read_into(start, memoryview(raw.numpy()))
        if self.storage.big_endian and dtype.itemsize > 1 and extent:
            raw = raw.view(-1, dtype.itemsize).flip(1).reshape(-1)
        return raw.view(dtype).as_strided(self.shape, self.stride).contiguous()


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
        if not (isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)):
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
        from voice2style.foreign.windows import memory_blob

        return memory_blob(bytes(value))
    if isinstance(value, (str, Text)):  # Python 2 wrote bytes as a string
        return as_blob(encode_latin1(None, (value, "latin1")))
    raise Refusal(f"raw numbers were expected where the pickle has {type(value).__name__}")


# ---- the calls that are understood: name -> function(machine, args) ----


def encode_latin1(_machine, args):
    text, encoding = (args + ("latin1",))[:2] if isinstance(args, tuple) and args else (None, None)
    if encoding not in ("latin1", "latin-1", "iso-8859-1") or not isinstance(text, (str, Text)):
        raise Refusal(f"_codecs.encode is only read for bytes written as latin-1 text, found {encoding!r}")
    return Latin1Blob(text) if isinstance(text, Text) else text.encode("latin-1")


def ordered_dict(machine, args):
    if not args or args == ({},) or args == ([],):
        return {}
    pairs = args[0]
    if len(args) == 1 and isinstance(pairs, list) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        machine.allowance.take_opcodes(len(pairs))
        return {machine.key(k): v for k, v in pairs}
    raise Refusal("collections.OrderedDict is called with something other than pairs")


def plain_set(machine, args):
    entries = args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else None
    if args and entries is None:
        raise Refusal("a set is built from something other than a list")
    machine.allowance.take_opcodes(len(entries or ()))
    return {machine.key(v) for v in entries or ()}


def plain_bytes(_machine, args):
    return args[0] if args and isinstance(args[0], (bytes, Blob, Latin1Blob)) else b""


def reconstructor(machine, args):
    """copyreg._reconstructor(class, base, state): how protocols 0 and 1 make an instance."""
    if len(args) != 3 or not isinstance(args[0], Name):
        raise Refusal("copyreg._reconstructor is called with something other than a class")
    made = machine.make(args[0], ())
    if isinstance(made, dict) and isinstance(args[2], dict):
        machine.allowance.take_opcodes(len(args[2]))
        made.update(args[2])
    return made


def persistent_module(_machine, args):
    meta = args[0] if len(args) == 1 else None
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict) or not isinstance(meta.get("class_name"), str):
        raise Refusal("a persistent object without class_name and state")
    return Module(meta["class_name"], meta["state"])


def tensor_v2(_machine, args):
    if len(args) < 4:
        raise Refusal(f"a tensor is described by {len(args)} values, 4 or more are needed")
    shape, stride = args[2], args[3]
    if not isinstance(shape, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise Refusal("a tensor's size or strides are not lists of numbers")
    return TensorRef(args[0], args[1], shape, stride)


def tensor_v3(machine, args):
    """(storage of bytes, offset, size, stride, requires_grad, hooks, dtype, ...)."""
    dtype = getattr(torch, args[6].name, None) if len(args) > 6 and isinstance(args[6], Name) else None
    if not isinstance(dtype, torch.dtype) or not isinstance(args[0], Storage):
        raise Refusal("a tensor of an element type that this reader does not know")
    old = args[0]
    numel = old.numel * old.dtype.itemsize // dtype.itemsize
    return tensor_v2(machine, (Storage(dtype, numel, old.blob, old.start, big_endian=old.big_endian),) + args[1:])


def parameter(_machine, args):
    if args and isinstance(args[0], TensorRef):
        args[0].is_parameter = True
        return args[0]
    raise Refusal("a parameter that is not made from a tensor")


def from_type(machine, args):
    """torch._tensor._rebuild_from_type_v2(function, type, args, state): a tensor with attributes, which are dropped."""
    if len(args) >= 3 and isinstance(args[0], Name) and isinstance(args[2], tuple) and args[0].full in TENSOR_CALLS:
        return TENSOR_CALLS[args[0].full](machine, args[2])
    raise Refusal("a tensor subclass that this reader does not know")


def numpy_type(_machine, args):
    return NumpyType(args[0] if args else None)


def numpy_scalar(_machine, args):
    """A number, for a rank-0 value."""
    if len(args) != 2 or not isinstance(args[0], NumpyType):
        raise Refusal("a numpy scalar of an unknown type")
    dtype, blob = args[0].resolve(), as_blob(args[1])
    raw = blob.read(0, dtype.itemsize)
    if len(raw) != dtype.itemsize:
        raise Refusal("a numpy scalar shorter than its type")
    return np.frombuffer(raw, dtype=dtype)[0].item()


def numpy_reconstruct(_machine, args):
    if not args or not isinstance(args[0], Name) or args[0].full != "numpy.ndarray":
        raise Refusal("numpy._reconstruct is only read for plain arrays")
    return ArrayRef()


def numpy_frombuffer(_machine, args):
    if len(args) != 4:
        raise Refusal("numpy._frombuffer with the wrong number of values")
    array = ArrayRef()
    array.fill(args[2], args[1], args[0], args[3] == "F")
    return array


def load_from_bytes(machine, args):
    """One storage in torch's old stream form: read by this same machine, which has nothing to run."""
    from voice2style.foreign.torch_files import nested_storage

    if len(args) != 1:
        raise Refusal("torch.storage._load_from_bytes needs one value")
    return nested_storage(as_blob(args[0]), machine.allowance)


def refuse_kind(machine, args):
    raise Refusal("a sparse, quantised, nested or meta tensor: only plain dense tensors of weights are read")


TENSOR_CALLS = {
    "torch._utils._rebuild_tensor": tensor_v2,
    "torch._utils._rebuild_tensor_v2": tensor_v2,
    "torch._utils._rebuild_tensor_v3": tensor_v3,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch._tensor._rebuild_from_type_v2": from_type,
}
CALLS = {
    **TENSOR_CALLS,
    "torch.storage._load_from_bytes": load_from_bytes,
    "torch.nn.parameter.Parameter": parameter,
    "torch.Size": lambda machine, args: tuple(args[0]) if args and isinstance(args[0], (tuple, list)) else (),
    "collections.OrderedDict": ordered_dict,
    "builtins.set": plain_set,
    "builtins.bytes": plain_bytes,
    "_codecs.encode": encode_latin1,
    "copyreg._reconstructor": reconstructor,
    "numpy.dtype": numpy_type,
    "numpy._core.multiarray.scalar": numpy_scalar,
    "numpy._core.multiarray._reconstruct": numpy_reconstruct,
    "numpy._core.numeric._frombuffer": numpy_frombuffer,
    **{
        f"torch._utils._rebuild_{kind}": refuse_kind
        for kind in (
            "sparse_tensor sparse_csr_tensor qtensor meta_tensor_no_storage wrapper_subclass nested_tensor"
            " device_tensor_from_numpy device_tensor_from_cpu_tensor xla_tensor mlc_tensor"
        ).split()
    },
}


def call_for(name):
    """The understood call behind a Name, or None: then the result stays inert."""
    if name.name == "_reconstruct_persistent_obj":  # forks move the folder, not the function
        return persistent_module
    if name.name == "EasyDict":
        return ordered_dict
    return CALLS.get(name.full)
