"""The best that anyone can do at matching voices to faces of the drawn world: closed-form score, Monte Carlo ceiling.

The ideal listener knows the audible factors of a voice exactly and sees the true traits of every face. Given the voice,
each heard trait is normal with mean rho * factor and variance 1 - rho^2, so the log-likelihood of a face is a sum over
the traits.
"""

import math

import numpy as np

from voice2style.demo.traits import TRAITS, direction

_SCORES_AT_ONCE = 4_000_000


def _scaled(heard, traits, audibility):  # name -> [N], name -> [M] -> voices [N, K], faces [M, K]
    """Expected and seen traits in units of their uncertainty: the score is minus the squared distance between them."""
    voices, faces = [], []
    for trait in TRAITS:
        rho = trait.rho * audibility
        unit = math.sqrt(2 * (1 - rho * rho))
        voices.append(rho * direction(heard, trait.hears) / unit)
        faces.append(traits[trait.name] / unit)
    return np.stack(voices, 1), np.stack(faces, 1)


def _scores(voices, faces):  # [..., N, K], [..., M, K] -> [..., N, M]
    cross = voices @ np.swapaxes(faces, -1, -2)
    return 2 * cross - (voices**2).sum(-1)[..., :, None] - (faces**2).sum(-1)[..., None, :]


def matching_scores(heard, traits, *, audibility=1.0):  # name -> [N], name -> [M] -> [N, M]
    """Log-likelihood, up to a constant, of each of M faces for each of N voices.

    score(i, j) = -sum_k (f_jk - rho_k a_ik)^2 / (2 (1 - rho_k^2)), with a the audible factors and f the face traits.
    """
    return _scores(*_scaled(heard, traits, audibility))


def matching_ceiling(world, num_candidates, *, ranks=(1, 5, 10), trials=5000, first_person=0):  # -> {rank: probability}
    """How often the ideal listener finds the right face among so many, within the best 1, 5, 10; about `trials` tries.

    Every person of a gallery of `num_candidates` is asked for once; galleries are made of the people from
    `first_person` on.
    """
    if num_candidates < 2 or trials < 1:
        raise ValueError(f"{num_candidates} candidates and {trials} trials came; 2 and 1 are the least.")
    galleries = -(-trials // num_candidates)
    at_once = max(1, min(_SCORES_AT_ONCE // num_candidates**2, _SCORES_AT_ONCE // 100 // num_candidates))
    better = []  # how many wrong faces are preferred to the right one
    for first in range(0, galleries, at_once):
        count = min(at_once, galleries - first)
        start = first_person + first * num_candidates
        people = world.people(range(start, start + count * num_candidates))
        voices, faces = _scaled(people.heard, people.traits, world.audibility)
        shape = (count, num_candidates, len(TRAITS))
        scores = _scores(voices.reshape(shape), faces.reshape(shape))
        right = np.diagonal(scores, axis1=1, axis2=2)[..., None]
        better.append((scores > right).sum(-1).ravel())
    better = np.concatenate(better)
    return {rank: float((better < rank).mean()) for rank in ranks}
