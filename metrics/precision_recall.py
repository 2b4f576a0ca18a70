"""Improved precision and recall: how many pictures of one set lie inside the k-nearest-neighbour balls of the other.

Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models (2019).
"""

import math

import numpy as np
import torch

_ROWS, _COLUMNS = 1024, 8192  # of the distance table at once: memory does not grow with n


def neighbour_radii(points, k=3, *, device="cpu"):  # [N, K] -> [N]
    """Returns each point's distance to its k-th nearest other point of the set."""
    if len(points) <= k:
        raise ValueError(f"the {k}-th neighbour needs more than {k} pictures, got {len(points)}.")
    radii = []
    for first, rows in _blocks(points, _ROWS, device):
        nearest = torch.full([len(rows), k], math.inf, dtype=rows.dtype, device=rows.device)
        for start, columns in _blocks(points, _COLUMNS, device):
            distances = _distances(rows, columns)
            here = torch.arange(first, first + len(rows), device=rows.device) - start  # not its own neighbour
            inside = (here >= 0) & (here < len(columns))
            distances[torch.nonzero(inside)[:, 0], here[inside]] = math.inf
            nearest = torch.cat([nearest, distances], 1).topk(k, 1, largest=False).values
        radii.append(nearest[:, -1])
    return torch.cat(radii)


def share_inside(points, centres, radii, *, device="cpu"):  # [N, K], [M, K], [M] -> float
    """Returns the share of points that lie within the ball of at least one centre."""
    inside = 0
    for _, rows in _blocks(points, _ROWS, device):
        hit = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for start, columns in _blocks(centres, _COLUMNS, device):
            hit |= (_distances(rows, columns) <= radii[start:start + len(columns)]).any(1)
        inside += int(hit.sum())
    return inside / len(points)


def precision_recall(real, generated, *, k=3, device="cpu"):  # [N, K], [M, K] -> (precision, recall)
    """Returns the share of generated pictures inside the real manifold, and the share of real ones inside the other."""
    return (share_inside(generated, real, neighbour_radii(real, k, device=device), device=device),
            share_inside(real, generated, neighbour_radii(generated, k, device=device), device=device))


def wilson_interval(share, count, z=1.96):  # -> (low, high)
    """Returns the 95 % interval of a share of `count` independent pictures (Wilson 1927); the balls are given."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _blocks(points, size, device):
    """Yields (start, tensor of some rows); points may be a memory-mapped file. A CPU computes in float64: the matrix
    product behind the distances would give near-identical pictures noise for a distance in float32.
    """
    kind = torch.float64 if torch.device(device).type == "cpu" else torch.float32
    for start in range(0, len(points), size):
        yield start, torch.from_numpy(np.array(points[start:start + size])).to(device, kind)


def _distances(x, y):
    return torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")
