"""The table of objectives: `--term name=weight` turns on a row, each a mean over the batch of one step."""

import dataclasses
import functools
import math
from collections.abc import Callable

import torch

from dnnlib.settings import did_you_mean
from torch_utils.distributed import gather_across_ranks, rank, world_size
from training.losses import adversarial, contrastive, feature, identity, latent, perceptual
from training.losses.equipment import Equipment

_RECOGNISER_SCALE = 24.0  # of cosines before a softmax, for recognisers that do not say their own


@dataclasses.dataclass(eq=False)
class TermContext:
    """What one step has at hand; None where it has not.

    `images` [N, C, H, W] drawn from `ws` [N, L, D], the codes of the voices whose `embeddings` are [N, E]; `reals` a
    face of each voice's person, `people` [N] their numbers, `codes` [N, L, D] known codes of these faces. `logits`
    [N, 1] and `person_logits` [N, P] of D and its classifier: of drawn pictures, of real ones for the rows of side "D".
    """

    equipment: Equipment = dataclasses.field(default_factory=Equipment)
    images: torch.Tensor | None = None
    ws: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    reals: torch.Tensor | None = None
    people: torch.Tensor | None = None
    codes: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    person_logits: torch.Tensor | None = None

    def find(self, name):
        """Returns what a term needs by its name in `SOURCES`, None where it is not there."""
        if name == "eyes":  # a recogniser that gradients go through
            recogniser = self.equipment.recogniser
            return recogniser if getattr(recogniser, "differentiable", True) else None
        return getattr(self if hasattr(self, name) else self.equipment, name)

    @functools.cached_property
    def offsets(self):  # [N, L, D]
        """Distances of the codes from the mean latent."""
        return self.ws - self.equipment.mean_codes

    @functools.cached_property
    def drawn_features(self):  # [N, K]
        """The recogniser's view of the drawn faces."""
        return self.equipment.recogniser(self.images)

    @functools.cached_property
    def real_features(self):  # [N, K]
        """The recogniser's view of the real faces."""
        with torch.no_grad():
            return self.equipment.recogniser(self.reals)

    @functools.cached_property
    def voice_features(self):  # [N, K]
        """The voice embeddings in the recogniser's space."""
        return self.equipment.projection(self.embeddings)

    def with_rivals(self, features):  # [N, K] -> [M, K], [N], [M], [N]
        """Returns features of all ranks, people here and there, and which of them is each sample's own."""
        own = rank() + world_size() * torch.arange(len(self.people), device=self.people.device)
        return gather_across_ranks(features), self.people, gather_across_ranks(self.people), own


SOURCES = {  # what a term can need: where it comes from
    "images": "a generator that draws", "ws": "an encoder that gives codes",
    "embeddings": "an encoder with a voice embedding", "mean_codes": "a generator", "synthesis": "a generator",
    "whitening": "a generator with a mapping network",
    "reals": "a dataset with faces of the people who speak", "people": "a dataset with people",
    "codes": "--codes FILE, known W+ codes of the faces",
    "logits": "a discriminator: a --network file that has D, or --task joint",
    "person_logits": "--task joint, whose discriminator has an identity classifier",
    "probe": "--probe FILE, made by --task probe", "truth": "--probe FILE and a dataset that knows its people's traits",
    "recogniser": "--recogniser FILE, made by --task recogniser or any ONNX face recogniser",
    "eyes": "--recogniser FILE made by --task recogniser (no gradient goes through an ONNX file)",
    "prototypes": "--recogniser FILE and faces of the people in training",
    "projection": "--recogniser FILE, whose features the voice is compared with",
    "perceptual": '--perceptual, "pixels", "drawn" or a file (VGG16 weights, trait probe or recogniser)',
}


@dataclasses.dataclass(frozen=True)
class Term:
    """A row: `compute(context)` -> [], its default weight, what it needs (keys of `SOURCES`), and its source.

    side        "G": it moves voice path and generator; "D": discriminator and classifier
    per_sample  it is a mean over samples, so that parts of a batch average to the whole; otherwise samples meet others
    """

    compute: Callable
    weight: float
    needs: tuple
    source: str
    side: str = "G"
    per_sample: bool = True


def _trait(x):
    return (x.equipment.probe(x.images) - x.equipment.truth[x.people]).square().mean()


def _recogniser_logits(x, features):
    settings = getattr(x.equipment.recogniser, "settings", None)
    scale = getattr(settings, "scale", _RECOGNISER_SCALE)
    return scale * torch.nn.functional.normalize(features, dim=1) @ x.equipment.prototypes.t()


_IDENTITY, _CONTRAST = ("images", "reals", "eyes"), ("embeddings", "reals", "people", "recogniser", "projection")

TERMS = {
    "trait": Term(_trait, 1.0, ("images", "people", "probe", "truth"), "E (probe(x) - traits)²; this toolkit"),
    "realism": Term(lambda x: adversarial.generator_loss(x.logits.float()), 0.1, ("logits",),
                    "E softplus(-D(x)); Goodfellow et al. 2014"),
    "w_avg": Term(lambda x: latent.mean_latent_loss(x.offsets, x.equipment.whitening), 0.1,
                  ("ws", "mean_codes", "whitening"),
                  "distance to w_avg in standard deviations; after pSp, Richardson et al. 2021"),
    "spread": Term(lambda x: latent.spread_loss(x.offsets, x.equipment.whitening), 4.0,
                   ("ws", "mean_codes", "whitening"), "layers of a code near each other; e4e, Tov et al. 2021"),
    "identity": Term(lambda x: identity.classification_loss(x.person_logits.float(), x.people), 1.0,
                     ("person_logits", "people"), "cross-entropy of C on drawn faces; Wen, Singh, Raj 2019"),
    "identity_real": Term(lambda x: identity.classification_loss(x.person_logits.float(), x.people), 1.0,
                          ("person_logits", "people"), "cross-entropy of C on real faces; Wen, Singh, Raj 2019",
                          side="D"),
    "latent": Term(lambda x: latent.latent_loss(x.ws, x.codes), 1.0, ("ws", "codes"),
                   "E (w - w*)²; In-Domain GAN Inversion, Zhu et al. 2020"),
    "latent_whitened": Term(lambda x: latent.whitened_latent_loss(x.ws, x.codes, x.equipment.whitening), 0.1,
                            ("ws", "codes", "whitening"), "the same in standard deviations; this toolkit"),
    "style": Term(lambda x: latent.style_loss(x.equipment.synthesis, x.ws, x.codes), 1.0, ("ws", "codes", "synthesis"),
                  "decoder-layer L1; Speech2Face, Oh et al. 2019"),
    "id_cosine": Term(lambda x: identity.cosine_distances(x.drawn_features, x.real_features).mean(), 1.0, _IDENTITY,
                      "1 - cos of face features; pSp, Richardson et al. 2021"),
    "id_am_softmax": Term(lambda x: identity.am_softmax_loss(x.drawn_features, x.equipment.prototypes, x.people), 0.1,
                          ("images", "people", "eyes", "prototypes"), "AM-softmax, Wang et al. 2018"),
    "id_info_nce": Term(
        lambda x: contrastive.info_nce_loss(x.drawn_features, *_rivals(x, x.real_features)), 0.5,
        (*_IDENTITY, "people"), "InfoNCE, van den Oord et al. 2018", per_sample=False),
    "l1": Term(lambda x: perceptual.l1_loss(x.images, x.reals), perceptual.L1_SHARE, ("images", "reals"),
               "E |x - y|"),
    "perceptual": Term(lambda x: perceptual.perceptual_loss(x.equipment.perceptual, x.images, x.reals),
                       perceptual.PERCEPTUAL_SHARE, ("images", "reals", "perceptual"), "LPIPS, Zhang et al. 2018"),
    "voice_triplet": Term(
        lambda x: contrastive.triplet_loss(x.voice_features, *_rivals(x, x.real_features)), 1.0, _CONTRAST,
        "FaceNet, Schroff et al. 2015, on voice and face", per_sample=False),
    "voice_info_nce": Term(
        lambda x: contrastive.info_nce_loss(x.voice_features, *_rivals(x, x.real_features)), 0.5, _CONTRAST,
        "InfoNCE, van den Oord et al. 2018, on voice and face", per_sample=False),
    "feature": Term(lambda x: feature.feature_loss(x.voice_features, x.real_features), 0.1,
                    ("embeddings", "reals", "recogniser", "projection"), "Speech2Face, Oh et al. 2019"),
    "distillation": Term(
        lambda x: feature.distillation_loss(_recogniser_logits(x, x.voice_features),
                                            _recogniser_logits(x, x.real_features)), 1.0,
        ("embeddings", "reals", "recogniser", "projection", "prototypes"), "Speech2Face, Oh et al. 2019"),
}


def _rivals(x, features):
    candidates, people, others, own = x.with_rivals(features)
    return candidates, people, others, own


def parse_terms(words):  # ["name=weight", "name"] -> {name: weight}
    """Returns weights by name as --term gives them; a name alone takes its default. ValueError for anything else."""
    weights = {}
    for word in words:
        name, equals, text = str(word).partition("=")
        check_names([name])
        try:
            weights[name] = float(text) if equals else TERMS[name].weight
        except ValueError:
            raise ValueError(f'--term {name} has the weight "{text}"; give a number, as in {name}='
                             f"{TERMS[name].weight:g}.") from None
    check_weights(weights)
    return weights


def check_names(names):
    """Raises ValueError for a name that is no row."""
    for name in names:
        if name not in TERMS:
            raise ValueError(f'no term "{name}".{did_you_mean(name, TERMS)} Known: {", ".join(TERMS)}.')


def check_weights(weights):
    """Raises ValueError unless all names are rows and all weights finite numbers of 0 or more."""
    check_names(weights)
    for name, weight in weights.items():
        if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the term {name} has the weight {weight}; allowed: finite numbers of 0 or more.")


def needs_of(weights):
    """Returns everything that rows of a weight above 0 need."""
    return {need for name, weight in weights.items() if weight for need in TERMS[name].needs}


class WeighedTerms:
    """Rows with weights and the equipment of a run: `loss(...)` -> {name: (weight, value)} of one side.

    `sides`: the sides that the run trains; ValueError for a row of another one, or whose equipment is not there.
    """

    def __init__(self, weights, equipment, *, sides=("G",)):
        check_weights(weights)
        if foreign := [name for name, weight in weights.items() if weight and TERMS[name].side not in sides]:
            raise ValueError(f"the term {foreign[0]} trains the discriminator; it is for --task joint.")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self.equipment = equipment
        own = {field.name for field in dataclasses.fields(Equipment)} | {"eyes"}
        context = TermContext(equipment)
        for name in self.weights:
            self._check(name, context, own)
        used = "projection" in needs_of(self.weights)
        self.networks = {"projection": equipment.projection} if used else {}  # trained with the encoder

    def loss(self, *, batch=None, draw=None, side="G", **at_hand):
        """Returns {name: (weight, value [])} of the rows of a side; `batch` fills in reals, people and codes.

        Other arguments are fields of TermContext. ValueError when a row needs something that is not at hand. `draw` is
        there for rows that draw random numbers; none does so far.
        """
        if batch is not None:
            at_hand = {"reals": batch.images, "people": batch.people, "codes": batch.codes, **at_hand}
        context, found = TermContext(self.equipment, **at_hand), {}
        for name, weight in self.weights.items():
            if TERMS[name].side == side:
                self._check(name, context, SOURCES)
                found[name] = weight, TERMS[name].compute(context)
        return found

    @staticmethod
    def _check(name, context, among):
        for need in TERMS[name].needs:
            if need in among and context.find(need) is None:
                raise ValueError(f"the term {name} needs {SOURCES[need]}.")


def total(found, prefix="Loss/term"):  # {name: (weight, value)} -> [], {statistic: []}
    """Returns the weighted sum, and each row's own value for the statistics."""
    loss = sum(weight * value for weight, value in found.values())
    return loss, {f"{prefix}/{name}": value.detach() for name, (_, value) in found.items()}
