"""Voices made different without making them another person's; what happens is drawn afresh for each clip."""

import dataclasses

import numpy as np
import torch
from torch import nn

from training import voice_changes as changes


@dataclasses.dataclass(frozen=True)
class VoiceAugmentSettings:
    """How a voice is changed in training; every `*_chance` is the probability that it happens to a clip.

    snr_db, snr_range_db   noise so many dB below the speech, and up to `snr_range_db` further below, all equally likely
    noises                 kinds that are drawn from: white, pink, babble (other clips over each other)
    tempo                  0.2: 20 % slower to 20 % faster by WSOLA, which keeps pitch and formants
    speed                  the same by resampling, at most 0.05: it moves pitch and formants, so it changes the speaker
    gain_db                louder or softer by up to this
    low_hz, high_hz        ranges of the lower and upper limit of the band (a telephone: 300 to 3400)
    rt60_s, direct_db      ranges of the room's decay and of direct sound over reverberation
    crop_s                 range of the length of a random crop; (4, 4) is always 4 s
    """

    noise_chance: float = 1.0
    snr_db: float = 10.0
    snr_range_db: float = 30.0
    noises: tuple = ("white", "pink")
    tempo: float = 0.2
    tempo_chance: float = 0.5
    speed: float = 0.0
    speed_chance: float = 0.0
    gain_db: float = 6.0
    gain_chance: float = 0.5
    low_hz: tuple = (20.0, 300.0)
    high_hz: tuple = (3400.0, 8000.0)
    band_chance: float = 0.2
    rt60_s: tuple = (0.1, 0.6)
    direct_db: tuple = (0.0, 15.0)
    reverb_chance: float = 0.2
    crop_s: tuple = (3.0, 8.0)

    def __post_init__(self):
        for name in ("noises", "low_hz", "high_hz", "rt60_s", "direct_db", "crop_s"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in (field.name for field in dataclasses.fields(self) if field.name.endswith("_chance")):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 to 1")
        for name in ("low_hz", "high_hz", "rt60_s", "direct_db", "crop_s"):
            if len(getattr(self, name)) != 2 or getattr(self, name)[0] > getattr(self, name)[1]:
                raise ValueError(f"{name} is {getattr(self, name)}; give a range (low, high)")
        if unknown := [kind for kind in self.noises if kind not in changes.NOISES]:
            raise ValueError(f'no noise of kind "{unknown[0]}"; allowed: {", ".join(changes.NOISES)}')
        if not 0 <= self.tempo <= 0.5:
            raise ValueError(f"tempo is {self.tempo}; allowed: 0 to 0.5 (0.2 is 20 % slower to 20 % faster)")
        if not 0 <= self.speed <= changes.MAX_SPEED:
            raise ValueError(f"speed is {self.speed}; allowed: 0 to {changes.MAX_SPEED}: resampling moves pitch and "
                             "formants and changes the speaker; use tempo for more")
        if self.low_hz[1] >= self.high_hz[0]:
            raise ValueError(f"low_hz {self.low_hz} reaches into high_hz {self.high_hz}; nothing would be left between")
        if not self.crop_s[0] > 0 or not self.rt60_s[0] > 0:
            raise ValueError("crop_s and rt60_s are lengths in seconds; give more than 0")


QUIET = VoiceAugmentSettings(noise_chance=0.0, tempo_chance=0.0, gain_chance=0.0, band_chance=0.0, reverb_chance=0.0)


class VoiceAugment:
    """`augment(wave, rng, sample_rate_hz)` -> wave, in a loader's worker too: nothing but numpy, no global state.

    With `num_samples` the result has exactly so many: a stretch long enough for the new tempo is cut out at random,
    changed, and cut to length. `babble` are other clips, needed for the noise of that name.
    """

    def __init__(self, settings=None, *, babble=()):
        self.settings, self.babble = settings or VoiceAugmentSettings(), babble
        if "babble" in self.settings.noises and self.settings.noise_chance and not len(babble):
            raise ValueError("noise of kind babble needs clips of other voices to be made of; give some, or leave it "
                             "out of noises")

    def augment(self, wave, rng, sample_rate_hz, *, num_samples=None):  # [S] -> [num_samples] or of another length
        """Returns the wave changed as the settings say; ValueError for anything but one mono clip."""
        settings = self.settings
        wave = np.asarray(wave, np.float32)
        if wave.ndim != 1 or len(wave) == 0:
            raise ValueError(f"a wave of shape {wave.shape} cannot be augmented; give one mono clip [S]")
        tempo, speed = (self._drawn(rng, chance, 1 - most, 1 + most, otherwise=1.0) for chance, most in (
            (settings.tempo_chance, settings.tempo), (settings.speed_chance, settings.speed)))
        place = rng.random()
        if num_samples is not None:
            wave = changes.crop(wave, int(np.ceil(num_samples * tempo * speed)) + 2, place)
        wave = changes.change_speed(wave, speed, sample_rate_hz=sample_rate_hz)
        wave = changes.change_tempo(wave, tempo, sample_rate_hz=sample_rate_hz)
        wave = wave if num_samples is None else wave[:num_samples]
        return self._in_a_room(wave, rng, sample_rate_hz)

    def _in_a_room(self, wave, rng, sample_rate_hz):
        """Returns the wave after reverberation, noise, band limits (of the microphone) and gain, in that order."""
        settings, rate = self.settings, {"sample_rate_hz": sample_rate_hz}
        if rng.random() < settings.reverb_chance:
            decay_s, direct_db = rng.uniform(*settings.rt60_s), rng.uniform(*settings.direct_db)
            wave = changes.reverberate(wave, changes.room_response(decay_s, direct_db, rng, **rate))
        if settings.noises and rng.random() < settings.noise_chance:
            snr_db = settings.snr_db + settings.snr_range_db * rng.random()
            kind = settings.noises[rng.integers(len(settings.noises))]
            wave = changes.add_noise(wave, snr_db, rng, kind=kind, babble=self.babble, **rate)
        if rng.random() < settings.band_chance:
            wave = changes.limit_band(wave, rng.uniform(*settings.low_hz), rng.uniform(*settings.high_hz), **rate)
        gain_db = self._drawn(rng, settings.gain_chance, -settings.gain_db, settings.gain_db, otherwise=0.0)
        return changes.change_gain(wave, gain_db) if gain_db else wave

    __call__ = augment

    def crop_samples(self, rng, sample_rate_hz):
        """Returns a length drawn from `crop_s`, in samples: draw it once a batch, so that its clips fit together."""
        return round(rng.uniform(*self.settings.crop_s) * sample_rate_hz)

    @staticmethod
    def _drawn(rng, chance, low, high, *, otherwise):
        used, value = rng.random() < chance, rng.uniform(low, high)
        return value if used else otherwise


class FeatureMasks(nn.Module):
    """Stretches of time and of rows of features are blotted out (SpecAugment, Park et al. 2019).

    What is masked becomes the clip's own mean of that row, so that a mask is neither loud nor silent. Of features that
    are several planes of the same rows (MFCC and its slopes) the same rows go in each. At most `most` of a clip's
    length is masked by one time mask.
    """

    def __init__(self, *, planes=1, num_time=2, time_frames=40, num_rows=2, row_width=6, most=0.2):
        super().__init__()
        if min(planes, num_time + 1, time_frames + 1, num_rows + 1, row_width + 1) < 1 or not 0 <= most <= 1:
            raise ValueError("masks need planes of 1 or more, counts and widths of 0 or more, and a share from 0 to 1")
        self.planes, self.num_time, self.time_frames = planes, num_time, time_frames
        self.num_rows, self.row_width, self.most = num_rows, row_width, most

    def forward(self, features, generator=None, *, lengths=None, batch=None):  # [N, C, T] -> [N, C, T]
        n, c, t = features.shape
        if c % self.planes:
            raise ValueError(f"features of {c} rows are not {self.planes} planes of equal height")
        size, positions = (n, slice(None)) if batch is None else (batch.size, batch.positions.cpu())
        valid = torch.full([n], t) if lengths is None else torch.as_tensor(lengths).cpu()
        rows = c // self.planes
        times = self._masks(size, positions, generator, self.num_time, t, valid,
                            (valid * self.most).long().clamp(max=self.time_frames))
        bands = self._masks(size, positions, generator, self.num_rows, rows, torch.full([n], rows),
                            torch.full([n], min(self.row_width, rows)))
        inside = (torch.arange(t) < valid[:, None])[:, None].to(features.device)
        mean = (features * inside).sum(2, keepdim=True) / valid.to(features)[:, None, None]
        hidden = times[:, None, :] | bands.repeat(1, self.planes)[:, :, None]
        return torch.where(hidden.to(features.device) & inside, mean, features)

    @staticmethod
    def _masks(size, positions, generator, count, length, ends, widths):  # -> [n, length] bool
        """Returns `count` stretches a row, each of a width from 0 to `widths` and lying before `ends`."""
        draws = torch.rand([size, count, 2], generator=generator)[positions]
        width = (draws[..., 0] * (widths[:, None] + 1)).long()
        start = (draws[..., 1] * (ends[:, None] - width + 1)).long()
        place = torch.arange(length)
        return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1)
