"""Path-length regularisation (StyleGAN2, eq. 4): a step in W+ moves the picture by a fixed amount."""

import math

import torch

from torch_utils.distributed import mean_across_ranks


def path_lengths(images, ws, noise):  # [N, C, H, W], [N, L, D] with gradient, [N, C, H, W] ~ N(0, I) -> [N]
    """Returns ‖J_wᵀ y‖₂, y = noise / √(HW): root of the mean over layers of the squared length; differentiable."""
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_length_loss(lengths, mean, *, decay=0.01, weight=2.0, batch_mean=None):  # [N], [] -> [], []
    """Returns (weight · E(length - a)², a): `a` is the running mean after this batch, detached for the next one.

    The gradient flows through `a` inside the penalty, as in the published training. With several ranks `a` follows
    the mean length over all of them, and the gradient flows to all of them. `batch_mean` [] without gradient is that
    mean, where it is known beforehand because the lengths at hand are one of several parts: the loss then gets the
    gradient that the mean would have carried, 2·decay·(a - mean length)·∂length, and the losses of parts average.
    """
    if batch_mean is None:
        moved = mean + decay * (mean_across_ranks(lengths.mean()) - mean)
        return (lengths - moved).square().mean() * weight, moved.detach()
    moved = mean + decay * (batch_mean - mean)
    carried = 2 * decay * (moved - batch_mean) * (lengths - lengths.detach())  # value 0
    return ((lengths - moved).square() + carried).mean() * weight, moved
