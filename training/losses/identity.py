"""Identity terms: whose face is it, asked of the discriminator's classifier or of a face recogniser's features."""

import torch
import torch.nn.functional as F


def classification_loss(logits, people):  # [N, P], [N] -> []
    """Returns E -ln softmax(logits)[person] (voice2face, Wen, Singh, Raj 2019: real faces for D, drawn ones for G)."""
    return F.cross_entropy(logits, people)


def cosine_distances(first, second):  # [N, K], [N, K] -> [N]
    """Returns 1 - cos(a, b): 0 for features of one direction, 2 for opposite ones."""
    return 1 - F.cosine_similarity(first, second, dim=1)


def am_softmax_loss(features, prototypes, people, *, scale=30.0, margin=0.35):  # [N, K], [P, K], [N] -> []
    """Returns E -ln softmax(s·(cos(f, prototype_j) - m·[j = person])) at the person (Wang et al. 2018).

    The margin asks that a face be nearer to its own person's prototype than to any other by m in cosine.
    """
    cosines = F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).t()
    own = F.one_hot(people, len(prototypes)).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margin * own), people)


def person_prototypes(features, people, num_people):  # [M, K], [M] -> [P, K]
    """Returns the mean direction of each person's features, of unit length; ValueError for a person without any."""
    features = F.normalize(features, dim=1)
    sums = features.new_zeros(num_people, features.shape[1]).index_add(0, people, features)
    counts = torch.bincount(people, minlength=num_people)
    if absent := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(f"{len(absent)} of {num_people} people have no face to make a prototype of, the first is "
                         f"number {absent[0]}; train on people that have both voice and faces.")
    return F.normalize(sums, dim=1)
