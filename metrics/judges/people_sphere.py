"""What our recognisers of faces and of voices share: a layer onto the unit sphere, and the people known there."""

import torch
import torch.nn.functional as F

from dnnlib.files import sha256_file
from dnnlib.settings import from_dict, to_dict
from torch_utils.checkpoint import load_strictly, save_checkpoint


class PeopleSphere(torch.nn.Module):
    """One linear layer from `cells` numbers to the unit sphere; `prototypes` are the people it was trained on.

    `settings` has embed_dim, num_people and scale (the factor of the cosines in the softmax over people).
    """

    differentiable = True

    def __init__(self, settings, cells):
        super().__init__()
        self.settings = settings
        self.name, self.sha256 = "an unsaved recogniser", None
        self.embed = torch.nn.Linear(cells, settings.embed_dim, bias=False)
        self.centre = torch.nn.BatchNorm1d(settings.embed_dim, affine=False)  # so that the average is the origin
        self.prototypes = torch.nn.Parameter(torch.randn(settings.num_people, settings.embed_dim))

    def embedding_of(self, features):  # [N, F] -> [N, K] of unit length
        """Returns the embeddings of what `features` gave."""
        return F.normalize(self.centre(self.embed(features)), dim=1)

    def cosines(self, embeddings):  # [N, K] -> [N, P]
        """Returns the cosines to the people it was trained on."""
        return embeddings @ F.normalize(self.prototypes, dim=1).T


def save_recogniser(recogniser, path):
    """Writes a recogniser of our own to one .safetensors file."""
    save_checkpoint(path, recogniser.state_dict(), {"format": recogniser.KIND, **to_dict(recogniser.settings)})


def restored(network, settings, path, tensors, card):
    """Returns the frozen `network(settings)` of a file's tensors and card, with the file's name and sha256."""
    told = from_dict(settings, {key: value for key, value in card.items() if key != "format"},
                     where=f'the card of "{path}"')
    recogniser = network(told)
    load_strictly(recogniser, tensors, where=f'"{path}"')
    recogniser.name, recogniser.sha256 = path.name, sha256_file(path)
    return recogniser.eval().requires_grad_(False)
