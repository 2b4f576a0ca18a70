"""Image operators in plain torch, each in one file that is also the home of its later native form."""

import contextlib

import torch
from torch.autograd import forward_ad

# Asked once: the compiler of torch 2.11 cannot trace the question.
_WITH_AUTOCAST = frozenset(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))


def autocast_off(x: torch.Tensor):
    """Return a context in which torch.autocast leaves dtypes alone; free of cost where autocast is not active.

    Operators that promise "the result has x's dtype" (filters, statistics, demodulation) run inside it.
    """
    device_type = x.device.type
    if device_type in _WITH_AUTOCAST and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def is_traced() -> bool:
    """Return whether torch compiles, exports or traces what runs now, and has to see its own operators."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_plain(*tensors) -> bool:
    """Return whether tensors (None among them ignored) are what lies at their addresses, and nothing more.

    Those of forward-mode differentiation have tangents beside it, those inside torch.func's transforms have no address.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    try:
        return all(tensor.data_ptr() is not None and forward_ad.unpack_dual(tensor).tangent is None
                   for tensor in present)
    except RuntimeError:
        return False
