"""Which device to compute on: auto, cpu, cuda, cuda:1 or mps, with one clear line when it is not there."""

ALLOWED = "auto, cpu, cuda, cuda:1, mps"


def pick_device(name="auto"):
    """Returns the torch.device of a name; "auto" takes CUDA, else Apple's MPS, else the CPU.

    ValueError when the name is unknown or this machine (or this torch) does not have that device.
    """
    import torch

    text = str(name).strip().lower()
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    kind, colon, index = text.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not index.isdecimal()):
        raise ValueError(f'unknown device "{name}"; allowed: {ALLOWED}.')
    if kind == "cpu":
        if colon:
            raise ValueError(f'unknown device "{name}"; the CPU has no number: write cpu.')
        return torch.device("cpu")
    num_devices = (torch.cuda.device_count() if torch.cuda.is_available() else 0) if kind == "cuda" else int(_has_mps())
    if num_devices == 0:
        raise ValueError(f'device "{name}" is not available: this torch sees no {kind} device; use --device=cpu.')
    if colon and int(index) >= num_devices:
        raise ValueError(f'device "{name}" is not available: there are {num_devices}, numbered from 0.')
    return torch.device(text)


def set_tf32(allowed):
    """Lets CUDA round float32 products to TF32 (10 bits) in matrix products and convolutions, or forbids it.

    PyTorch allows it in convolutions unless told otherwise: say what is wanted, once, before anything is computed.
    Forbidden, float32 results on a GPU are those of a processor to rounding. Without CUDA nothing happens.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = bool(allowed)
    torch.backends.cudnn.allow_tf32 = bool(allowed)


def _has_mps():
    import torch

    return torch.backends.mps.is_available()
