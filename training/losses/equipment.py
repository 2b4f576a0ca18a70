"""What terms need beside the batch, made once a run: judges by file, prototypes of the training people, matrices."""

import dataclasses
import pathlib

import torch
from torch import nn

from dnnlib.files import sha256_file
from metrics.judges.drawn import SHIPPED
from torch_utils.random_streams import stream
from training.losses.identity import person_prototypes
from training.losses.latent import whitening
from training.losses.perceptual import load_perceptual


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


def equip(needs, model, *, seed, probe=None, truth=None, recogniser=None, perceptual=None, faces=None):
    """Returns the Equipment for `needs` (what `needs_of(weights)` gives) around a VoiceToFace, on its device.

    `recogniser` and `perceptual` are files (perceptual also "pixels") or networks that are loaded already; `faces`:
    a function without arguments that gives (images [n, 3, H, W] in [-1, 1], people [n]) of the training people batch by
    batch; it is called only when their prototypes are needed. What nothing needs is not made.
    """
    device, found = model.device, Equipment(probe=probe, truth=truth)
    found.mean_codes, found.synthesis = model.mean_codes(), model.generator.synthesis
    if "whitening" in needs:
        found.whitening = whitening(model.generator, seed=seed)
    if recogniser is not None and needs & {"recogniser", "eyes", "projection", "prototypes"}:
        found.recogniser = _recogniser(recogniser, device)
        if "projection" in needs:
            size = _num_features(found.recogniser, model)
            found.projection = voice_projection(model.encoder.settings.embed_dim, size, seed=seed).to(device)
        if "prototypes" in needs and faces is not None:
            found.prototypes = training_prototypes(found.recogniser, faces(), device=device)
    if perceptual is not None and "perceptual" in needs:
        found.perceptual = load_perceptual(perceptual, device=device) if isinstance(perceptual, str) else perceptual
    return found


def judges_of(needs, *, probe=None, recogniser=None, perceptual=None):
    """Returns {"probe": {"file", "sha256"}, …} of the files behind the terms' `needs`, for the card of the model.

    What trained a model must not judge it: metrics look for these sha256.
    """
    uses = {"probe": {"probe"}, "recogniser": {"recogniser", "eyes", "projection", "prototypes"},
            "perceptual": {"perceptual"}}
    files = {"probe": probe, "recogniser": recogniser, "perceptual": perceptual}
    if perceptual == "drawn":
        files["perceptual"] = SHIPPED
    return {name: {"file": pathlib.Path(file).name, "sha256": sha256_file(file)} for name, file in files.items()
            if file is not None and file != "pixels" and needs & uses[name]}


def _recogniser(source, device):
    if callable(source):
        return source
    from metrics.judges.face_id import load_recogniser

    return load_recogniser(source, device=device)


@torch.no_grad()
def _num_features(recogniser, model):
    """Returns K, by asking the recogniser about the mean face."""
    return recogniser(model.synthesis(model.mean_codes()).clamp(-1, 1)).shape[1]


def voice_projection(embed_dim, num_features, *, seed):
    """Returns the linear layer from voice embeddings to the space of the recogniser's features, near an isometry."""
    layer = nn.Linear(embed_dim, num_features)
    with torch.no_grad():
        layer.weight.normal_(std=embed_dim**-0.5, generator=stream(seed, "voice projection"))
        layer.bias.zero_()
    return layer


@torch.no_grad()
def training_prototypes(recogniser, batches, *, device="cpu"):  # iterable of ([n, 3, H, W], [n]) -> [P, K]
    """Returns the prototype of each training person from real faces and their people's numbers, batch by batch."""
    features, people = [], []
    for images, numbers in batches:
        features.append(recogniser(images.to(device)))
        people.append(torch.as_tensor(numbers, device=device))
    people = torch.cat(people)
    return person_prototypes(torch.cat(features), people, int(people.max()) + 1)
