"""Our own speaker recogniser: waves in, log-mel bands inside the network, points on a sphere out."""

import dataclasses
import math

import torch

from metrics.judges.people_sphere import PeopleSphere

_FLOOR = 1e-8  # of a band's energy: below 16-bit noise


@dataclasses.dataclass(frozen=True)
class SpeakerRecogniserSettings:
    """Rate it hears, mel bands, width of the layers, length of the embedding, number of people, scale of the cosines.

    `source` says what it was trained on, as that of a FaceRecogniser does.
    """

    sample_rate_hz: int = 16000
    bands: int = 64
    width: int = 96
    embed_dim: int = 128
    num_people: int = 0
    scale: float = 24.0
    source: dict = dataclasses.field(default_factory=dict)


class SpeakerRecogniser(PeopleSphere):
    """Log-mel bands (25 ms every 10 ms, less their mean over the clip), three strided convolutions over time, mean and
    deviation over time, one linear layer. The loudness of a clip does not change the answer.
    """

    KIND = "speaker_recogniser/1"

    def __init__(self, settings):
        super().__init__(settings, 2 * settings.width)
        self.sample_rate_hz = settings.sample_rate_hz
        self._window, self._hop = settings.sample_rate_hz // 40, settings.sample_rate_hz // 100
        self._size = 2 ** math.ceil(math.log2(self._window))
        self.register_buffer("hann", torch.hann_window(self._window), persistent=False)
        self.register_buffer("mel", mel_triangles(settings.bands, self._size, settings.sample_rate_hz),
                             persistent=False)
        layers, before = [], settings.bands
        for _ in range(3):
            layers += [torch.nn.Conv1d(before, settings.width, 5, stride=2, padding=2, bias=False),
                       torch.nn.BatchNorm1d(settings.width), torch.nn.Mish()]
            before = settings.width
        self.trunk = torch.nn.Sequential(*layers)

    def forward(self, waves):  # [N, S] in [-1, 1] -> [N, K] of unit length
        """Returns the embeddings; ValueError for waves of another form."""
        return self.embedding_of(self.features(check_waves(waves)))

    def features(self, waves):  # [N, S] -> [N, 2·width]
        """Returns mean and deviation over time of the last layer."""
        found = self.trunk(self.bands_of(waves.float()))
        return torch.cat([found.mean(2), (found.var(2, unbiased=False) + 1e-5).sqrt()], 1)

    def bands_of(self, waves):  # [N, S] -> [N, M, T]
        """Returns the log energies of mel bands, less their mean over time."""
        spectrum = torch.stft(waves, self._size, self._hop, self._window, self.hann, pad_mode="constant",
                              return_complex=True)
        energy = self.mel @ (spectrum.real ** 2 + spectrum.imag ** 2)
        bands = energy.clamp(min=_FLOOR).log()
        return bands - bands.mean(2, keepdim=True)


def check_waves(waves, least=400):
    """Returns waves as a tensor [N, S]; ValueError for another form, or fewer than `least` samples."""
    waves = torch.as_tensor(waves)
    if waves.ndim != 2 or not waves.is_floating_point() or waves.shape[1] < least:
        raise ValueError(f"a speaker recogniser takes float waves [N, S] in [-1, 1] with S of {least} or "
                         f"more, got {waves.dtype} {tuple(waves.shape)}.")
    return waves


def mel_triangles(bands, size, rate):  # -> [M, size/2 + 1]
    """Returns triangles of height 1, evenly spaced in mel (2595 log₁₀(1 + f/700)) from 20 Hz to half the rate."""
    ends = torch.tensor([20.0, rate / 2], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    edges = 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


def fitted(waves, num_samples):  # [N, S] -> [N, num_samples]
    """Returns waves of a length: short ones repeated, long ones cut to their middle; None leaves them."""
    if num_samples is None or waves.shape[1] == num_samples:
        return waves
    if waves.shape[1] < num_samples:
        return waves.repeat(1, -(-num_samples // waves.shape[1]))[:, :num_samples]
    start = (waves.shape[1] - num_samples) // 2
    return waves[:, start:start + num_samples]
