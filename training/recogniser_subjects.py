"""What a recogniser learns people from, faces or voices: rows, batches, the network, and the embeddings of rows."""

import numpy as np
import torch

from metrics.judges.face_id import FaceRecogniser, FaceRecogniserSettings
from metrics.judges.speaker_network import SpeakerRecogniser, SpeakerRecogniserSettings, fitted
from torch_utils.images import to_float
from torch_utils.random_streams import numpy_stream, stream
from training.probe_loop import noisy
from training.reals import EndlessOrder, RealFaces

_MOST_BYTES = 1 << 30  # of voices kept in memory; the others are read again each time


class FaceSubject:
    """Faces: noise, blur and mirroring vary them, for generated faces are not as crisp as real ones."""

    noun, file = "faces", "recogniser.safetensors"

    def __init__(self, dataset, settings):
        self.dataset, self.settings = dataset, settings

    def rows(self, split):
        """Returns the manifest rows of a split."""
        return self.dataset.faces(split)

    def open(self):
        """Reads what batches need."""
        self._faces = RealFaces(self.dataset, resolution=self.settings.resolution, seed=self.settings.seed)

    def batch(self, index):  # -> ([N, 3, H, W] in [-1, 1], positions of rows)
        """Returns the pictures of an iteration, varied."""
        return (varied(self._faces.batch(index, self.settings.batch), self.settings, index),
                self._faces.order.batch(index, self.settings.batch))

    def build(self, num_people, source):
        """Returns a fresh network."""
        settings = self.settings
        return FaceRecogniser(FaceRecogniserSettings(
            resolution=settings.resolution, width=settings.width, embed_dim=settings.embed_dim, num_people=num_people,
            scale=settings.scale, source=source))

    def embed(self, recogniser, split, device):  # -> [N, K]
        """Returns the embeddings of the rows of a split."""
        images = RealFaces(self.dataset, split=split, resolution=recogniser.settings.resolution).images
        return torch.cat([recogniser(to_float(part).to(device)) for part in images.split(64)])


class VoiceSubject:
    """Voices: crops of `settings.seconds` at random places, with noise of up to `settings.noise` of their loudness."""

    noun, file = "voices", "speaker.safetensors"

    def __init__(self, dataset, settings):
        self.dataset, self.settings, self._kept, self._bytes = dataset, settings, {}, 0

    def rows(self, split):
        """Returns the manifest rows of a split."""
        return self.dataset.voices(split)

    def open(self):
        """Notes the rate and the order of the training rows; ValueError for clips of several rates."""
        self._rows = self.rows("train")
        rates = sorted({row["sample_rate_hz"] for row in self._rows})
        if len(rates) > 1:
            raise ValueError(f'"{self.dataset.path}" has clips of {", ".join(map(str, rates))} Hz; a speaker '
                             "recogniser hears one rate. Build the dataset with one --sample-rate.")
        self._rate = rates[0]
        self._order = EndlessOrder(len(self._rows), self.settings.seed, "voices")

    def batch(self, index):  # -> ([N, S], positions of rows)
        """Returns the crops of an iteration."""
        settings, random = self.settings, numpy_stream(self.settings.seed, "speaker crops", index)
        picks, length = self._order.batch(index, settings.batch), round(settings.seconds * self._rate)
        waves = torch.stack([torch.from_numpy(self._crop(pick, length, random)) for pick in picks])
        generator = stream(settings.seed, "speaker noise", index)
        loudness = waves.square().mean(1, keepdim=True).sqrt()
        strength = settings.noise * torch.rand([len(waves), 1], generator=generator)
        return waves + loudness * strength * torch.randn(waves.shape, generator=generator), picks

    def build(self, num_people, source):
        """Returns a fresh network."""
        settings = self.settings
        return SpeakerRecogniser(SpeakerRecogniserSettings(
            sample_rate_hz=self._rate, width=settings.width, embed_dim=settings.embed_dim, num_people=num_people,
            scale=settings.scale, source=source))

    def embed(self, recogniser, split, device):  # -> [N, K]
        """Returns the embeddings of whole clips of a split."""
        waves = (torch.from_numpy(np.array(self.dataset.read_voice(row)))[None] for row in self.rows(split))
        return torch.cat([recogniser(wave.to(device)) for wave in waves])

    def _crop(self, pick, length, random):  # -> float32 [length]
        wave = self._kept.get(pick)
        if wave is None:
            wave = np.array(self.dataset.read_voice(self._rows[pick]), np.float32)
            if self._bytes + wave.nbytes <= _MOST_BYTES:
                self._kept[pick], self._bytes = wave, self._bytes + wave.nbytes
        start = int(random.integers(0, max(1, len(wave) - length + 1)))
        return fitted(torch.from_numpy(wave[start:start + length])[None], length)[0].numpy()


def varied(images, settings, index):  # [N, 3, H, W] -> [N, 3, H, W]
    """Returns pictures with noise and blur, half of them mirrored: generated faces are not as crisp as real ones."""
    generator = stream(settings.seed, "recogniser", index)
    flip = torch.rand([len(images), 1, 1, 1], generator=generator) < 0.5
    return noisy(torch.where(flip, images.flip(3), images), generator, settings.noise)
