"""R1, the gradient penalty on real images (Mescheder et al. 2018)."""

import torch


def r1_penalty(logits, real):  # [N, 1], [N, C, H, W] with gradient -> [N]
    """Returns ‖∇ₓD(x)‖² for each real image; twice differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum([1, 2, 3])


def r1_loss(logits, real, *, gamma):
    """Returns γ/2 · E‖∇ₓD(x)‖²."""
    return r1_penalty(logits, real).mean() * (gamma / 2)
