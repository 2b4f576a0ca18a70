"""The front-end in one pass of vector kernels on the processor, where their library is built: equal, and sooner."""

import ctypes

import numpy as np
import torch
from torch import Tensor

from torch_utils.ops import build, is_plain, is_traced
from torch_utils.ops.native import check_answer, pointer
from voice2style.audio import filterbank

_FEWEST_POINTS = 32  # n_fft that the kernel's passes can split
_SMALLEST = 1e-37  # log_floor that float32 holds with all its bits

_Call = type("FrontEndCall", (ctypes.Structure,), {"_fields_": [
    *((name, ctypes.c_void_p) for name in ("wave", "lengths", "output", "window", "turns", "unmix", "mel_weights",
                                           "dct", "slope", "radices", "places", "mel_first", "mel_count")),
    *((name, ctypes.c_int64) for name in ("num_clips", "num_samples", "wave_stride", "num_frames")),
    ("preemphasis", ctypes.c_double), ("log_floor", ctypes.c_double),
    *((name, ctypes.c_int32) for name in ("n_fft", "frame", "hop", "num_mels", "num_mfcc", "delta_width", "cmvn",
                                          "threads"))]})


def prepare() -> bool:
    """Return whether the vector kernels will run, after building them if need be: worth it before many clips."""
    return build.prepare("simd")


def usable(settings, wave: Tensor) -> bool:
    """Return whether `FusedFrontEnd(settings)(wave)` is to run; where it would have to be built first, it is not.

    Not for float64 (the kernel's numbers are float32), gradients, other devices, and while torch traces or compiles.
    """
    return (type(wave) is Tensor and wave.dtype != torch.float64 and wave.device.type == "cpu" and wave.numel() > 0
            and not (wave.requires_grad and torch.is_grad_enabled())
            and not is_traced() and is_plain(wave) and supports(settings) and _library() is not None)


def supports(settings) -> bool:
    """Return whether the kernel knows these settings: MFCC or mel bands, and an FFT of a power of two."""
    return (settings.kind != "spectrogram" and settings.n_fft >= _FEWEST_POINTS
            and settings.n_fft & (settings.n_fft - 1) == 0 and settings.log_floor >= _SMALLEST)


class FusedFrontEnd:
    """`FrontEnd.forward` in float32, of waves that passed its checks. The result does not depend on the threads.

    The FFT is taken in float64; powers, mel bands and what follows are float32, as in plain torch.
    """

    def __init__(self, settings):
        self.num_features = settings.num_features
        self._tables = _tables(settings)
        self._call = _Call(
            preemphasis=settings.preemphasis, log_floor=settings.log_floor, n_fft=settings.n_fft,
            frame=settings.frame_samples, hop=settings.hop_samples, num_mels=settings.num_mels,
            num_mfcc=settings.num_mfcc if settings.kind == "mfcc" else 0, delta_width=settings.delta_width,
            cmvn=settings.normalise == "cmvn", **{name: table.ctypes.data for name, table in self._tables.items()})

    def __call__(self, wave: Tensor, lengths: Tensor | None, num_frames: int) -> Tensor:
        """Features [N, C, T] in the dtype of `wave` [N, S]; T = num_frames; `lengths` [N] or None."""
        samples = wave.float()
        samples = samples if samples.stride(1) == 1 else samples.contiguous()
        lengths = None if lengths is None else lengths.to(torch.int64).contiguous()
        output = torch.empty(len(samples), self.num_features, num_frames)
        call = _Call.from_buffer_copy(self._call)
        call.wave, call.lengths, call.output = pointer(samples), pointer(lengths), pointer(output)
        call.num_clips, call.num_samples = samples.shape
        call.wave_stride, call.num_frames, call.threads = samples.stride(0), num_frames, torch.get_num_threads()
        check_answer("front_end", _library().v2s_front_end(ctypes.byref(call), None), "simd")
        return output.to(wave.dtype)


def _library():
    """Returns the library with its function declared where it is built already, else None."""
    library = build.built("simd")
    if library is not None and library.v2s_front_end.argtypes is None:
        assert library.v2s_sizeof_front_end() == ctypes.sizeof(_Call), "the struct of front_end.cpp has other fields"
        library.v2s_front_end.restype = ctypes.c_char_p
        library.v2s_front_end.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    return library


def _tables(s):
    """Returns the arrays that the kernel reads, by the names of its struct."""
    radices, turns, places = _passes(s.n_fft // 2)
    tables = {
        "window": np.pad(filterbank.hamming(s.frame_samples) / 2, (0, s.n_fft - s.frame_samples)),
        "turns": turns, "unmix": _circle(np.arange(s.n_fft // 2) / s.n_fft),
        "radices": np.array(radices, np.int32), "places": places.astype(np.int32)}
    filters = filterbank.mel_filters(s.num_mels, s.n_fft, s.sample_rate_hz, s.fmin_hz, s.fmax_hz)
    stretches = [np.flatnonzero(row)[[0, -1]] + (0, 1) for row in filters]
    tables["mel_first"] = np.array([first for first, _ in stretches], np.int32)
    tables["mel_count"] = np.array([last - first for first, last in stretches], np.int32)
    tables["mel_weights"] = np.concatenate([row[first:last] for row, (first, last) in zip(filters, stretches)])
    if s.kind == "mfcc":
        tables["dct"] = filterbank.dct_matrix(s.num_mfcc, s.num_mels)
        tables["slope"] = filterbank.slope_weights(s.delta_width)
    single = ("mel_weights", "dct", "slope")
    return {name: np.ascontiguousarray(table, np.float32 if name in single else None) for name, table in tables.items()}


def _passes(num_points):
    """Returns radices, twiddles and places of a complex FFT decimated in frequency.

    A pass of radix R over L points leaves in each of R stretches of L / R points those k that agree modulo R.
    """
    bits = num_points.bit_length() - 3  # the last pass has radix 4
    radices = []
    while bits:
        radices.append(4 if bits in (2, 4) else 8)
        bits -= radices[-1].bit_length() - 1
    rest, length = np.arange(num_points // 4), num_points
    turns, places = [], np.zeros_like(rest)
    for radix in radices:
        step = length // radix
        turns.append(_circle(np.outer(np.arange(step), np.arange(1, radix)) / length).ravel())
        places += rest % radix * step
        rest, length = rest // radix, step
    return [*radices, 4], np.concatenate(turns), places + places // 32  # kGap of fourier.h


def _circle(turns):
    """Returns exp(-2 pi i turns) as pairs of real and imaginary part."""
    return np.exp(-2j * np.pi * turns).view(np.float64)
