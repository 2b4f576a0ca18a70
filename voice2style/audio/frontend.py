"""The audio front-end: waves to MFCC with slopes, log-mel bands or a compressed spectrogram, whole or streamed."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voice2style.audio import filterbank, fused_frontend
from voice2style.audio.settings import AudioSettings

_COMPRESSION = 0.3  # exponent of the spectrogram's parts
_MEL_GROUP = 16  # filters of one product: a multiple of the processor's vectors, few enough to skip zeros
_CACHED_FRAMES = 512  # frames that one processor core handles at a time, so that they stay in its cache


class FrontEnd(nn.Module):
    """Features of waves, [N, S] -> [N, C, T], differentiable and on the wave's device.

    It computes in the dtype of the wave (float16 and bfloat16 in float32). It holds no parameters and no buffers:
    its tables are made in float64 once for each device and dtype, so that `.half()` on the model cannot blunt them.
    """

    def __init__(self, settings: AudioSettings):
        super().__init__()
        self.settings = settings
        self._tables = {}  # (device, dtypes) -> {name: tensor}, and "fused" -> FusedFrontEnd

    @property
    def num_features(self) -> int:
        """C of the output."""
        return self.settings.num_features

    @property
    def planes(self) -> int:
        """Planes stacked along C: 3 for mfcc, 1 for logmel, 2 for spectrogram."""
        return self.settings.planes

    def num_frames(self, num_samples):
        """T for a clip of `num_samples` (int or integer tensor): the last partial frame is dropped; at least one."""
        beyond = num_samples - self.settings.frame_samples
        if isinstance(num_samples, Tensor):
            return 1 + torch.div(beyond.clamp(min=0), self.settings.hop_samples, rounding_mode="floor")
        return 1 + max(0, beyond) // self.settings.hop_samples

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features [N, C, T] of `wave` [N, S] in [-1, 1].

        `lengths` [N] are the valid samples of each clip (None: all S). Padding never changes a valid frame, and
        frames from `num_frames(length)` on are zero.
        """
        wave, lengths = _checked(wave, lengths)
        if fused_frontend.usable(self.settings, wave):
            return self._fused()(wave, lengths, self.num_frames(wave.shape[1]))
        dtype = wave.dtype
        clips = max(1, _chunk_of(wave) // self.num_frames(wave.shape[1]))
        with torch.autocast(wave.device.type, enabled=False):
            if lengths is None:
                parts = [self._features(part, None) for part in wave.split(clips)]
            else:
                parts = [self._features(*part) for part in zip(wave.split(clips), lengths.split(clips))]
            return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(dtype)

    def stream(self) -> "FrontEndStream":
        """A fresh stream with these settings."""
        return FrontEndStream(self)

    def extra_repr(self) -> str:
        return repr(self.settings)

    def __getstate__(self):
        return {**self.__dict__, "_tables": {}}

    def _fused(self):
        """The same by vector kernels."""
        if "fused" not in self._tables:
            self._tables["fused"] = fused_frontend.FusedFrontEnd(self.settings)
        return self._tables["fused"]

    def _features(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """`forward` for as many clips as fit the processor's cache."""
        wave = wave if wave.dtype == torch.float64 else wave.float()
        emphasised = self._pre_emphasised(wave)
        num_frames = None
        if lengths is not None:  # mask after pre-emphasis, which reaches one sample into the padding
            num_frames = self.num_frames(lengths)
            past = torch.arange(emphasised.shape[1], device=wave.device) >= lengths[:, None]
            emphasised = emphasised.masked_fill(past, 0.0)
        return self._finish(self._static(emphasised, wave.dtype), num_frames)

    def _pre_emphasised(self, wave: Tensor, before: Tensor | None = None) -> Tensor:
        """s'(n) = s(n) - a s(n-1) in the spectrum's dtype, [N, S] -> [N, S + room], with the zeros `_static` needs.

        `before` [N, 1] is the sample in front of the first one (None: there is none, s'(0) = s(0)).
        """
        s, num = self.settings, wave.shape[1]
        room = max(s.frame_samples - num, 0) + s.n_fft - s.frame_samples
        out = wave.new_zeros(wave.shape[0], num + room, dtype=_spectral_dtype(wave))
        out[:, :num] = wave
        if s.preemphasis:
            out[:, 1:num].sub_(wave[:, :-1], alpha=s.preemphasis)
            if before is not None:
                out[:, :1].sub_(before, alpha=s.preemphasis)
        return out

    def _static(self, emphasised: Tensor, dtype: torch.dtype) -> Tensor:
        """Static features [N, rows, T] in `dtype` of pre-emphasised samples [N, S] followed by n_fft - frame zeros.

        The spectrum is taken in float64 where the device has it: a float32 FFT would carry rounding errors of loud bins
        into quiet bands, where the logarithm (and even more the root of the spectrogram) magnifies them.
        """
        s = self.settings
        tables = self._tables_for(emphasised, dtype)
        frames = emphasised.unfold(1, s.n_fft, s.hop_samples)  # [N, T, n_fft]; the window is 0 past the frame
        num_chunks = -(-frames.shape[0] * frames.shape[1] // _chunk_of(emphasised))
        rows = []
        for chunk in frames.tensor_split(min(num_chunks, frames.shape[1]), dim=1):
            parts = torch.view_as_real(torch.fft.rfft(chunk * tables["window"]))  # [N, t, bins, 2]
            if s.kind == "spectrogram":
                rows.append(_compressed(parts).permute(0, 3, 2, 1).flatten(1, 2).to(dtype))
                continue
            power = parts.flatten(2).to(dtype).square().flatten(0, 1)  # [N t, 2 bins]
            energy = torch.cat([power[:, group.first:group.last] @ group.weights for group in tables["mel"]], dim=1)
            log_energy = energy.clamp(min=s.log_floor).log().unflatten(0, chunk.shape[:2]).transpose(1, 2)
            rows.append(tables["dct"] @ log_energy if s.kind == "mfcc" else log_energy)
        return torch.cat(rows, dim=2)

    def _finish(self, static: Tensor, num_frames: Tensor | None) -> Tensor:
        """All planes, normalised and with zeros past the valid frames, from the static features [N, rows, T]."""
        features = self._with_slopes(static, num_frames) if self.settings.kind == "mfcc" else static
        if self.settings.normalise == "cmvn":
            features = _cmvn(features, num_frames)
        if num_frames is not None:
            past = torch.arange(features.shape[2], device=features.device) >= num_frames[:, None]
            features = features.masked_fill(past[:, None], 0.0)
        return features

    def _with_slopes(self, static: Tensor, num_frames: Tensor | None) -> Tensor:
        """Static, delta and delta-delta planes [N, 3 rows, T]; the last is the slope of the slope (eq. 10)."""
        delta = self._slope(static, num_frames)
        return torch.cat([static, delta, self._slope(delta, num_frames)], dim=1)

    def _slope(self, rows: Tensor, num_frames: Tensor | None) -> Tensor:
        """Regression slope over 2K+1 frames [N, rows, T] (eq. 9); the first and last valid frame are replicated."""
        width, num = self.settings.delta_width, rows.shape[2]
        if num_frames is None:
            padded = torch.cat([rows[:, :, :1].expand(-1, -1, width), rows,
                                rows[:, :, -1:].expand(-1, -1, width)], dim=2)
        else:
            at = torch.arange(-width, num + width, device=rows.device).clamp(min=0)
            at = torch.minimum(at, num_frames[:, None] - 1)  # [N, T + 2K]
            padded = rows.gather(2, at[:, None].expand(-1, rows.shape[1], -1))
        slope = None
        for k, weight in enumerate(filterbank.slope_weights(width).tolist(), start=1):
            rise = padded[:, :, width + k:width + k + num] - padded[:, :, width - k:width - k + num]
            slope = rise.mul_(weight) if slope is None else slope.add_(rise, alpha=weight)
        return slope

    def _tables_for(self, like: Tensor, dtype: torch.dtype) -> dict:
        """The window [n_fft] in the dtype of `like`, groups of mel filters and DCT [num_mfcc, num_mels] in `dtype`."""
        key = (like.device, like.dtype, dtype)
        if key not in self._tables:
            s = self.settings
            shape = filterbank.hann if s.kind == "spectrogram" else filterbank.hamming
            window = np.pad(shape(s.frame_samples), (0, s.n_fft - s.frame_samples))
            tables = {"window": (window, like.dtype)}
            if s.kind != "spectrogram":
                mel = filterbank.mel_filters(s.num_mels, s.n_fft, s.sample_rate_hz, s.fmin_hz, s.fmax_hz)
            if s.kind == "mfcc":
                tables["dct"] = filterbank.dct_matrix(s.num_mfcc, s.num_mels), dtype
            with torch.inference_mode(False):
                self._tables[key] = {name: torch.from_numpy(table).to(as_dtype).to(like.device)
                                     for name, (table, as_dtype) in tables.items()}
                if s.kind != "spectrogram":
                    self._tables[key]["mel"] = _mel_groups(mel, dtype, like.device)
        return self._tables[key]


class FrontEndStream:
    """The front-end over blocks of any size: all that `push` and `flush` return, joined, is the whole signal's result.

    Slopes look ahead, so features come 2 * delta_width frames late. "cmvn" needs the whole clip and is refused.
    """

    def __init__(self, frontend: FrontEnd):
        if frontend.settings.normalise != "none":
            raise ValueError('normalise="cmvn" needs the whole clip and cannot be streamed; use normalise="none"')
        self.frontend = frontend
        self._tail = None  # pre-emphasised samples [N, .] that later frames still need
        self._dtype = None  # of the waves
        self._last = None  # last raw sample [N, 1]
        self._static = None  # static frames [N, rows, .] kept for the slopes
        self._done = 0  # how many of the kept static frames were already returned
        self._ended = False

    def push(self, block: Tensor) -> Tensor:
        """The features [N, C, t] that `block` [N, S] completes; t may be 0."""
        if self._ended:
            raise ValueError("this stream was flushed; start a new one with FrontEnd.stream()")
        block, _ = _checked(block, None, empty=True)
        if block.shape[1]:
            wave = block if block.dtype == torch.float64 else block.float()
            emphasised = self.frontend._pre_emphasised(wave, self._last)[:, : wave.shape[1]]
            self._dtype, self._last = block.dtype, wave[:, -1:]
            self._tail = emphasised if self._tail is None else torch.cat([self._tail, emphasised], dim=1)
            s = self.frontend.settings
            if self._tail.shape[1] >= s.frame_samples:
                start = self.frontend.num_frames(self._tail.shape[1]) * s.hop_samples  # of the next frame
                self._keep_static()
                self._tail = self._tail[:, start:]
        return self._emit(block, last=False)

    def flush(self) -> Tensor:
        """The features [N, C, t] that were still waiting for later frames; ends the stream."""
        if self._ended or self._tail is None:
            raise ValueError("nothing to flush: no samples were pushed since the stream began")
        self._ended = True
        if self._static is None:  # shorter than a frame: zero-padded to one
            self._keep_static()
        return self._emit(self._last.to(self._dtype), last=True)

    def _keep_static(self) -> None:
        """Append the static features of every whole frame in the tail (of the padded tail, if it holds none)."""
        s, wave = self.frontend.settings, self._tail
        room = max(s.frame_samples - wave.shape[1], 0) + s.n_fft - s.frame_samples
        fresh = self.frontend._static(F.pad(wave, (0, room)), self._last.dtype)
        self._static = fresh if self._static is None else torch.cat([self._static, fresh], dim=2)

    def _emit(self, like: Tensor, last: bool) -> Tensor:
        """Features whose neighbours are all known (or, at the end, all the rest); forgets what no slope needs."""
        if self._static is None:
            return like.new_zeros(like.shape[0], self.frontend.num_features, 0)
        reach = 2 * self.frontend.settings.delta_width if self.frontend.settings.kind == "mfcc" else 0
        stop = self._static.shape[2] - (0 if last else reach)
        if stop <= self._done:
            return like.new_zeros(like.shape[0], self.frontend.num_features, 0)
        features = self.frontend._finish(self._static, None)[:, :, self._done:stop]
        forget = max(0, stop - reach)
        self._static, self._done = self._static[:, :, forget:], stop - forget
        return features.to(like.dtype)


def _checked(wave: Tensor, lengths, *, empty: bool = False):
    """The wave, and `lengths` as a tensor on its device; ValueError if either is unusable."""
    if not isinstance(wave, Tensor) or wave.ndim != 2:
        came = f"shape {tuple(wave.shape)}" if isinstance(wave, Tensor) else type(wave).__name__
        raise ValueError(f"the front-end takes a tensor [N, S], but {came} came; a single clip is wave[None]")
    if not wave.is_floating_point():
        raise ValueError(f"the wave is {wave.dtype}; give floats in [-1, 1] (16-bit samples divided by 32768)")
    if wave.shape[1] == 0 and not empty:
        raise ValueError("the wave has no samples; give at least one")
    if lengths is not None:
        lengths = torch.as_tensor(lengths, device=wave.device)
        if lengths.shape != wave.shape[:1] or lengths.is_floating_point():
            raise ValueError(f"lengths must be {wave.shape[0]} whole numbers of samples, one a clip; "
                             f"{tuple(lengths.shape)} {lengths.dtype} came")
        if wave.shape[0] and (int(lengths.min()) < 1 or int(lengths.max()) > wave.shape[1]):
            raise ValueError(f"lengths run from {int(lengths.min())} to {int(lengths.max())}; "
                             f"they must lie between 1 and the {wave.shape[1]} samples given")
    return wave, lengths


class _MelGroup(NamedTuple):
    """Some neighbouring filters and the stretch of the spectrum that they cover: most of a filter bank is zeros."""

    first: int
    last: int
    weights: Tensor  # [last - first, filters]


def _mel_groups(mel, dtype, device):
    """Groups of a filter bank [num_mels, bins]; a bin has two rows, one for its real, one for its imaginary part."""
    table, groups = np.repeat(mel.T, 2, axis=0), []
    for columns in np.array_split(np.arange(table.shape[1]), -(-table.shape[1] // _MEL_GROUP)):
        rows = np.flatnonzero(table[:, columns].any(axis=1))
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
        weights = torch.from_numpy(np.ascontiguousarray(table[first:last, columns]))
        groups.append(_MelGroup(first, last, weights.to(dtype).to(device)))
    return groups


def _spectral_dtype(wave: Tensor) -> torch.dtype:
    """float64, or float32 on Apple's MPS, which knows no float64."""
    return torch.float32 if wave.device.type == "mps" else torch.float64


def _chunk_of(wave: Tensor) -> int:
    """Frames to handle at a time: as many as fit the cores' caches, or on an accelerator all."""
    return _CACHED_FRAMES * torch.get_num_threads() if wave.device.type == "cpu" else 1 << 30


def _compressed(parts: Tensor) -> Tensor:
    """sgn(x)|x|^0.3; its slope, infinite at 0, is taken as 0 there."""
    size = parts.abs()
    nonzero = size > torch.finfo(torch.float32).tiny
    return torch.where(nonzero, torch.where(nonzero, size, 1.0).pow(_COMPRESSION), 0.0) * parts.sign()


def _cmvn(features: Tensor, num_frames: Tensor | None) -> Tensor:
    """Rows [N, C, T] with mean 0 and variance 1 over the valid frames; population variance, sqrt(var + 1e-8)."""
    features = features - features[:, :, :1]  # a constant row becomes exactly 0, which the division would not forgive
    if num_frames is None:
        centred = features - features.mean(2, keepdim=True)
        variance = centred.square().mean(2, keepdim=True)
    else:
        valid = (torch.arange(features.shape[2], device=features.device) < num_frames[:, None])[:, None]
        count = num_frames[:, None, None].to(features.dtype)
        features = features.masked_fill(~valid, 0.0)
        centred = (features - features.sum(2, keepdim=True) / count).masked_fill(~valid, 0.0)
        variance = centred.square().sum(2, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-8)
