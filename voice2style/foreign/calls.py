"""The closed table of calls that a pickle may ask for: each is understood by name and filled in by our own code."""

import numpy as np
import torch

from voice2style.foreign.inert import ArrayRef, Module, Name, NumpyType, Storage, TensorRef, as_blob, encode_latin1
from voice2style.foreign.windows import Blob, Latin1Blob, Refusal

REFUSED_TENSORS = """sparse_tensor sparse_csr_tensor qtensor meta_tensor_no_storage wrapper_subclass nested_tensor
    device_tensor_from_numpy device_tensor_from_cpu_tensor xla_tensor mlc_tensor""".split()  # noqa: SIM905


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
    if (
        not isinstance(meta, dict)
        or not isinstance(meta.get("state"), dict)
        or not isinstance(meta.get("class_name"), str)
    ):
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
    **{f"torch._utils._rebuild_{kind}": refuse_kind for kind in REFUSED_TENSORS},
}


def call_for(name):
    """The understood call behind a Name, or None: then the result stays inert."""
    if name.name == "_reconstruct_persistent_obj":  # forks move the folder, not the function
        return persistent_module
    if name.name == "EasyDict":
        return ordered_dict
    return CALLS.get(name.full)
