"""The audio front-end: waves to MFCC with slopes, log-mel bands or a compressed spectrogram, whole or streamed."""

from typing import Optional

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voice2style.audio import filterbank
from voice2style.audio.settings import AudioSettings

_COMPRESSION = 0.3  # exponent of the spectrogram's parts


class FrontEnd(nn.Module):
    """Features of waves, [N, S] -> [N, C, T], differentiable and on the wave's device.

    It computes in the dtype of the wave (float16 and bfloat16 in float32). It holds no parameters and no buffers:
    its tables are made in float64 once for each device and dtype, so that `.half()` on the model cannot blunt them.
    """

    def __init__(self, settings: AudioSettings):
        super().__init__()
        self.settings = settings
        self._tables = {}  # (device, dtype) -> {name: tensor}

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

    def forward(self, wave: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """Features [N, C, T] of `wave` [N, S] in [-1, 1].

        `lengths` [N] are the valid samples of each clip (None: all S). Padding never changes a valid frame, and
        frames from `num_frames(length)` on are zero.
        """
        wave, lengths, dtype = _checked(wave, lengths)
        with torch.autocast(wave.device.type, enabled=False):
            num_frames = None if lengths is None else self.num_frames(lengths)
            wave = self._pre_emphasised(wave)
            if lengths is not None:  # after pre-emphasis, which reaches one sample into the padding
                wave = wave.masked_fill(torch.arange(wave.shape[1], device=wave.device) >= lengths[:, None], 0.0)
            return self._finish(self._static(wave), num_frames).to(dtype)

    def stream(self) -> "FrontEndStream":
        """A fresh stream with these settings."""
        return FrontEndStream(self)

    def extra_repr(self) -> str:
        return repr(self.settings)

    def __getstate__(self):
        return {**self.__dict__, "_tables": {}}

    def _pre_emphasised(self, wave: Tensor, before: Optional[Tensor] = None) -> Tensor:
        """s'(n) = s(n) - a s(n-1) [N, S]; `before` [N, 1] is the sample in front of the first (None: it has none)."""
        a = self.settings.preemphasis
        if a == 0:
            return wave
        first = wave[:, :1] if before is None else wave[:, :1] - a * before
        return torch.cat([first, torch.sub(wave[:, 1:], wave[:, :-1], alpha=a)], dim=1)

    def _static(self, wave: Tensor) -> Tensor:
        """Static features [N, rows of the static planes, T] of pre-emphasised samples [N, S]."""
        s = self.settings
        if wave.shape[1] < s.frame_samples:
            wave = F.pad(wave, (0, s.frame_samples - wave.shape[1]))
        if s.kind == "spectrogram":
            return self._compressed_spectrum(wave)
        tables = self._tables_for(wave)
        frames = wave.unfold(1, s.frame_samples, s.hop_samples) * tables["window"]  # [N, T, frame]
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=s.n_fft))
        power = spectrum.square().sum(-1)  # [N, T, n_fft // 2 + 1]
        log_energy = (power @ tables["mel"]).clamp(min=s.log_floor).log()  # [N, T, num_mels]
        if s.kind == "mfcc":
            log_energy = log_energy @ tables["dct"]
        return log_energy.transpose(1, 2)

    def _compressed_spectrum(self, wave: Tensor) -> Tensor:
        """sgn(x)|x|^0.3 of the real plane, then of the imaginary plane [N, 2 (n_fft // 2 + 1), T]."""
        s = self.settings
        dtype = wave.dtype
        if wave.device.type != "mps":  # the root magnifies rounding errors near zero; MPS has no float64
            wave = wave.double()
        frames = wave.unfold(1, s.frame_samples, s.hop_samples) * self._tables_for(wave)["window"]
        parts = torch.view_as_real(torch.fft.rfft(frames, n=s.n_fft))  # [N, T, bins, 2]
        size = parts.abs()
        tiny = torch.finfo(torch.float32).tiny  # the slope of the root is infinite at 0: there it is set to 0
        root = torch.where(size > tiny, size, torch.ones_like(size)).pow(_COMPRESSION) * (size > tiny)
        return (root * parts.sign()).permute(0, 3, 2, 1).flatten(1, 2).to(dtype)

    def _finish(self, static: Tensor, num_frames: Optional[Tensor]) -> Tensor:
        """All planes, normalised and with zeros past the valid frames, from the static features [N, rows, T]."""
        features = self._with_slopes(static, num_frames) if self.settings.kind == "mfcc" else static
        if self.settings.normalise == "cmvn":
            features = _cmvn(features, num_frames)
        if num_frames is not None:
            past = torch.arange(features.shape[2], device=features.device) >= num_frames[:, None]
            features = features.masked_fill(past[:, None], 0.0)
        return features

    def _with_slopes(self, static: Tensor, num_frames: Optional[Tensor]) -> Tensor:
        """Static, delta and delta-delta planes [N, 3 rows, T]; the slope's slope is the same operator again (eq. 10)."""
        delta = self._slope(static, num_frames)
        return torch.cat([static, delta, self._slope(delta, num_frames)], dim=1)

    def _slope(self, rows: Tensor, num_frames: Optional[Tensor]) -> Tensor:
        """Regression slope over 2K+1 frames [N, rows, T] (eq. 9); the first and last valid frame are replicated."""
        width, num = self.settings.delta_width, rows.shape[2]
        if num_frames is None:
            padded = torch.cat([rows[:, :, :1].expand(-1, -1, width), rows,
                                rows[:, :, -1:].expand(-1, -1, width)], dim=2)
        else:
            at = torch.arange(-width, num + width, device=rows.device).clamp(min=0)
            at = torch.minimum(at, num_frames[:, None] - 1)  # [N, T + 2K]
            padded = rows.gather(2, at[:, None].expand(-1, rows.shape[1], -1))
        slope = torch.zeros_like(rows)
        for k, weight in enumerate(filterbank.slope_weights(width), start=1):
            ahead, behind = padded[:, :, width + k:width + k + num], padded[:, :, width - k:width - k + num]
            slope = torch.add(slope, ahead - behind, alpha=float(weight))
        return slope

    def _tables_for(self, like: Tensor) -> dict:
        """The window [frame], mel [bins, num_mels] and DCT [num_mels, num_mfcc] on the device and in the dtype of `like`."""
        key = (like.device, like.dtype)
        if key not in self._tables:
            s = self.settings
            if s.kind == "spectrogram":
                tables = {"window": filterbank.hann(s.frame_samples)}
            else:
                mel = filterbank.mel_filters(s.num_mels, s.n_fft, s.sample_rate_hz, s.fmin_hz, s.fmax_hz)
                tables = {"window": filterbank.hamming(s.frame_samples), "mel": mel.T}
                tables["dct"] = filterbank.dct_matrix(s.num_mfcc, s.num_mels).T if s.kind == "mfcc" else np.eye(1)
            with torch.inference_mode(False):
                self._tables[key] = {name: torch.tensor(np.ascontiguousarray(table)).to(like.dtype).to(like.device)
                                     for name, table in tables.items()}
        return self._tables[key]


class FrontEndStream:
    """The front-end over blocks of any size: all that `push` and `flush` return, joined, is the whole signal's result.

    Slopes look ahead, so features come 2 * delta_width frames late. "cmvn" needs the whole clip and is refused.
    """

    def __init__(self, frontend: FrontEnd):
        if frontend.settings.normalise != "none":
            raise ValueError('normalise="cmvn" needs the whole clip and cannot be streamed; use normalise="none"')
        self.frontend = frontend
        self._tail = None  # pre-emphasised samples [N, <= frame] that later frames still need
        self._last = None  # last raw sample [N, 1]
        self._static = None  # static frames [N, rows, .] kept for the slopes
        self._done = 0  # how many of the kept static frames were already returned
        self._any = False  # whether a static frame exists yet
        self._ended = False

    def push(self, block: Tensor) -> Tensor:
        """The features [N, C, t] that `block` [N, S] completes; t may be 0."""
        if self._ended:
            raise ValueError("this stream was flushed; start a new one with FrontEnd.stream()")
        block, _, _ = _checked(block, None, empty=True)
        if block.shape[1]:
            emphasised = self.frontend._pre_emphasised(block, self._last)
            self._last = block[:, -1:]
            self._tail = emphasised if self._tail is None else torch.cat([self._tail, emphasised], dim=1)
        s = self.frontend.settings
        available = 0 if self._tail is None else self._tail.shape[1] - s.frame_samples
        if self._tail is not None and available >= 0:
            num = 1 + available // s.hop_samples
            fresh = self.frontend._static(self._tail[:, : (num - 1) * s.hop_samples + s.frame_samples])
            self._tail = self._tail[:, num * s.hop_samples:]
            self._keep(fresh)
        return self._emit(block, last=False)

    def flush(self) -> Tensor:
        """The features [N, C, t] that were still waiting for later frames; ends the stream."""
        if self._ended or self._tail is None:
            raise ValueError("nothing to flush: no samples were pushed since the stream began")
        self._ended = True
        if not self._any:  # shorter than a frame: zero-padded to one
            self._keep(self.frontend._static(self._tail))
        return self._emit(self._tail, last=True)

    def _keep(self, fresh: Tensor) -> None:
        self._static = fresh if self._static is None else torch.cat([self._static, fresh], dim=2)
        self._any = True

    def _emit(self, like: Tensor, last: bool) -> Tensor:
        """Features whose neighbours are all known (or, at the end, all the rest); forgets what no slope needs."""
        if self._static is None:
            return like.new_zeros(like.shape[0], self.frontend.num_features, 0)
        reach = 2 * self.frontend.settings.delta_width if self.frontend.settings.kind == "mfcc" else 0
        stop = self._static.shape[2] - (0 if last else reach)
        if stop <= self._done:
            return self._static.new_zeros(like.shape[0], self.frontend.num_features, 0)
        features = self.frontend._finish(self._static, None)[:, :, self._done:stop]
        forget = max(0, stop - reach)
        self._static, self._done = self._static[:, :, forget:], stop - forget
        return features


def _checked(wave: Tensor, lengths, *, empty: bool = False):
    """The wave ready to compute with, `lengths` on its device, and the dtype to answer in; ValueError if unusable."""
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
    narrow = wave.dtype in (torch.float16, torch.bfloat16)
    return (wave.float() if narrow else wave), lengths, wave.dtype


def _cmvn(features: Tensor, num_frames: Optional[Tensor]) -> Tensor:
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
