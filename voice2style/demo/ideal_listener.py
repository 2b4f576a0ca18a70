"""The best that anyone can do at matching voices to faces of the drawn world: closed-form score, Monte Carlo ceiling.

The ideal listener knows the audible factors of a voice exactly and sees the true traits of every face. Given the voice,
each heard trait is normal with mean rho * factor and variance 1 - rho^2, so the log-likelihood of a face is a sum over
the traits.
"""

import numpy as np

from voice2style.demo.traits import TRAITS, direction


def matching_scores(heard, traits, *, audibility=1.0):  # name -> [N], name -> [M] -> [N, M]
    """Log-likelihood, up to a constant, of each of M faces for each of N voices.

    score(i, j) = -sum_k (f_jk - rho_k a_ik)^2 / (2 (1 - rho_k^2)), with a the audible factors and f the face traits.
    """
    scores = 0.0
    for trait in TRAITS:
        rho = trait.rho * audibility
        expected = rho * direction(heard, trait.hears)
        scores = scores - (traits[trait.name][None, :] - expected[:, None]) ** 2 / (2 * (1 - rho * rho))
    return scores


def matching_ceiling(world, num_candidates, *, ranks=(1, 5, 10), trials=5000, first_person=0):  # -> {rank: probability}
    """How often the ideal listener finds the right face among so many, within the best 1, 5, 10; about `trials` tries.

    Every person of a gallery of `num_candidates` is asked for once; galleries are made of the people from
    `first_person` on.
    """
    if num_candidates < 2 or trials < 1:
        raise ValueError(f"{num_candidates} candidates and {trials} trials came; 2 and 1 are the least.")
    found = []
    for gallery in range(-(-trials // num_candidates)):
        start = first_person + gallery * num_candidates
        people = world.people(range(start, start + num_candidates))
        scores = matching_scores(people.heard, people.traits, audibility=world.audibility)
        found.append((scores > np.diagonal(scores)[:, None]).sum(1))
    better = np.concatenate(found)  # how many wrong faces are preferred
    return {rank: float((better < rank).mean()) for rank in ranks}
