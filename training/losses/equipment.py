"""What terms need beside the batch, made once a run: judges by file, prototypes of the training people, matrices."""

import dataclasses

import torch
from torch import nn

from torch_utils.random_streams import stream
from training.losses.identity import person_prototypes


@dataclasses.dataclass
class Equipment:
    """Frozen networks and tables; None where a run has none.

    mean_codes  [1, L, D], the mean latent in every layer    whitening   [D, D], see losses/latent.py
    synthesis   the generator's synthesis network (its affine layers are read)
    probe       pictures -> traits [N, K]                     truth       [people, K] the traits to be read
    recogniser  pictures -> face features [N, K]              prototypes  [people, K] their mean directions
    perceptual  a distance with features(images), between(a, b)
    projection  voice embedding [N, E] -> [N, K], trained with the encoder
    """

    mean_codes: torch.Tensor | None = None
    whitening: torch.Tensor | None = None
    synthesis: nn.Module | None = None
    probe: nn.Module | None = None
    truth: torch.Tensor | None = None
    recogniser: object | None = None
    prototypes: torch.Tensor | None = None
    perceptual: nn.Module | None = None
    projection: nn.Module | None = None


def voice_projection(embed_dim, num_features, *, seed):
    """Returns the linear layer from voice embeddings to the space of the recogniser's features, near an isometry."""
    layer = nn.Linear(embed_dim, num_features)
    with torch.no_grad():
        layer.weight.normal_(std=embed_dim**-0.5, generator=stream(seed, "voice projection"))
        layer.bias.zero_()
    return layer


@torch.no_grad()
def training_prototypes(recogniser, batches, num_people):  # iterable of ([n, 3, H, W], [n]) -> [P, K]
    """Returns the prototype of each training person from real faces and their people's numbers, batch by batch."""
    features, people = zip(*((recogniser(images), numbers) for images, numbers in batches))
    return person_prototypes(torch.cat(features), torch.cat(people).to(features[0].device), num_people)
