"""Voice and face embeddings of one identity drawn together, of different ones pushed apart.

Anchors are this rank's samples; candidates may be those of all ranks. `own` [N] says which candidate belongs to each
anchor. Candidates of the same person are never used as negatives.
"""

import torch
import torch.nn.functional as F


def triplet_loss(anchors, candidates, people, candidate_people, own, *, margin=0.2):  # [N, K], [M, K] -> []
    """Returns E max(0, ‖a - p‖² - ‖a - n‖² + margin) over all negatives n of each anchor (FaceNet, 2015).

    Embeddings are brought to unit length. An anchor without a negative counts as 0.
    """
    distances = 2 - 2 * F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).t()  # squared, of unit vectors
    hinges = F.relu(distances.gather(1, own[:, None]) - distances + margin)
    negative = (people[:, None] != candidate_people[None, :]).to(hinges.dtype)
    return ((hinges * negative).sum(1) / negative.sum(1).clamp(min=1)).mean()


def info_nce_loss(anchors, candidates, people, candidate_people, own, *, temperature=0.07):  # [N, K], [M, K] -> []
    """Returns E -ln(e^{cos(a, p)/τ} / Σ_j e^{cos(a, c_j)/τ}), j over its own and all other people's candidates.

    van den Oord et al. 2018, with cosine similarity. A person's further candidates are left out of the sum.
    """
    cosines = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).t() / temperature
    rival = people[:, None] == candidate_people[None, :]
    rival = rival.scatter(1, own[:, None], torch.zeros_like(own[:, None], dtype=torch.bool))
    return F.cross_entropy(cosines.masked_fill(rival, float("-inf")), own)
