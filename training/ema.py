"""The exponential moving average of the generator, the network one samples from."""

import torch


def ema_beta(batch, *, ema_kimg, seen_images, rampup=0.05):
    """Returns the decay of one step: half-life `ema_kimg`, shorter at the start (`rampup` of the images seen)."""
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, seen_images * rampup)
    return 0.5 ** (batch / max(half_life, 1e-8))


@torch.no_grad()
def update_ema(average, network, beta):
    """Moves every parameter of `average` to p + beta·(p_ema - p) and copies every buffer."""
    mine, theirs = list(average.parameters()), list(network.parameters())
    torch._foreach_lerp_(mine, theirs, 1 - beta)
    for kept, buffer in zip(average.buffers(), network.buffers()):
        kept.copy_(buffer)
