"""A small regressor from a picture to the traits of a drawn face: reads R² where the truth is known."""

import dataclasses

import torch
import torch.nn.functional as F

from dnnlib.settings import from_dict, to_dict
from torch_utils.checkpoint import load_checkpoint, load_strictly, save_checkpoint

KIND = "trait_probe/1"


@dataclasses.dataclass(frozen=True)
class TraitProbeSettings:
    """Names of the traits that are read, side of the picture it looks at, and width of the first layer."""

    traits: tuple
    resolution: int = 64
    width: int = 32
    source: dict = dataclasses.field(default_factory=dict)


def build_trunk(width, resolution):
    """Returns four strided convolutions, from a picture to a 16th of its side, and how many numbers they leave."""
    widths, layers = [3, *(width * k for k in (1, 2, 3, 4))], []
    for before, after in zip(widths[:-1], widths[1:]):
        layers += [torch.nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), torch.nn.BatchNorm2d(after),
                   torch.nn.Mish()]
    return torch.nn.Sequential(*layers), (resolution // 16) ** 2 * widths[-1]


class TraitProbe(torch.nn.Module):
    """Strided convolutions over the whole picture; `probe(images [N, 3, H, W] in [-1, 1])` -> traits [N, K]."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        self.trunk, cells = build_trunk(settings.width, settings.resolution)
        self.hidden = torch.nn.Linear(cells, 8 * settings.width)
        self.out = torch.nn.Linear(8 * settings.width, len(settings.traits))

    def features(self, images):  # -> [N, F]
        """Returns the last hidden layer."""
        side = self.settings.resolution
        if images.shape[2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return F.mish(self.hidden(self.trunk(images).flatten(1)))

    def forward(self, images):
        return self.out(self.features(images))


def save_probe(probe, path):
    """Writes the probe to one .safetensors file."""
    save_checkpoint(path, probe.state_dict(), {"format": KIND, **to_dict(probe.settings)})


def load_probe(path, *, device="cpu"):
    """Returns the probe of a file, frozen; ValueError when the file is something else."""
    tensors, card = load_checkpoint(path)
    if not isinstance(card, dict) or card.get("format") != KIND:
        raise ValueError(f'"{path}" is not a trait probe; make one with train.py --task probe.')
    settings = from_dict(TraitProbeSettings, {key: value for key, value in card.items() if key != "format"},
                         where=f'the card of "{path}"')
    probe = TraitProbe(settings)
    load_strictly(probe, tensors, where=f'"{path}"')
    return probe.eval().requires_grad_(False).to(device)


class TraitJudge(torch.nn.Module):
    """A trait probe in the place of a recogniser: the embedding is the direction of the traits that it reads.

    Two faces match when their traits do, and nothing else counts: not skin, not hair. So it asks what a recogniser,
    which also looks at what no voice can tell, cannot: whether what can be heard got into the face.
    """

    differentiable = True

    def __init__(self, probe, *, name, sha256):
        super().__init__()
        self.probe, self.name, self.sha256 = probe, f"traits of {name}", sha256

    @property
    def settings(self):
        """The settings of the probe; their source says what it was trained on."""
        return self.probe.settings

    def features(self, images):  # [N, 3, H, W] in [-1, 1] -> [N, F]
        """Returns the probe's last hidden layer."""
        return self.probe.features(images)

    def embedding_of(self, features):  # [N, F] -> [N, K] of unit length
        """Returns the directions of the traits; each has mean 0 and variance 1 over people by construction."""
        return F.normalize(self.probe.out(features), dim=1)

    def forward(self, images):
        return self.embedding_of(self.features(images))
