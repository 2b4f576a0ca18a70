"""The non-saturating logistic game (Goodfellow et al. 2014): softplus(t) = ln(1 + e^t) of signed logits."""

import torch.nn.functional as F


def generator_loss(fake_logits):  # [N, 1] -> []
    """Returns E softplus(-D(G(z)))."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits, fake_logits):  # [N, 1], [N, 1] -> []
    """Returns E softplus(-D(x)) + E softplus(D(G(z)))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
