"""Terms on W+ codes: distance to known codes, to the mean latent, and between the layers of one code."""

import torch

from torch_utils.random_streams import stream


@torch.no_grad()
def whitening(generator, *, num_samples=20000, seed=0):  # -> [D, D]
    """Returns the matrix that gives the codes of the mapping network unit variance in every direction.

    Distances are measured through it: a step the generator has never seen counts much, one it knows counts little.
    """
    z = torch.randn([num_samples, generator.z_dim], generator=stream(seed, "whitening"))
    device = next(generator.parameters()).device
    c = None
    if generator.c_dim:
        c = torch.eye(generator.c_dim)[torch.arange(num_samples) % generator.c_dim].to(device)
    variances, directions = torch.linalg.eigh(torch.cov(generator.mapping(z.to(device), c)[:, 0].T))
    return directions / variances.clamp_min(1e-4 * variances.max()).sqrt()


def latent_loss(ws, codes):  # [N, L, D], [N, L, D] -> []
    """Returns E (w - w*)², the mean over samples, layers and dimensions (Zhu et al. 2020, In-Domain GAN Inversion)."""
    return (ws - codes).square().mean()


def whitened_latent_loss(ws, codes, matrix):  # [N, L, D], [N, L, D], [D, D] -> []
    """Returns E ((w - w*) M)²: the same, counted in standard deviations of the mapping network's codes."""
    return ((ws - codes) @ matrix).square().mean()


def mean_latent_loss(offsets, matrix):  # [N, L, D], [D, D] -> []
    """Returns E (ō M)², ō the mean offset over the layers: the squared distance to w_avg in standard deviations."""
    return (offsets.mean(1, keepdim=True) @ matrix).square().mean()


def spread_loss(offsets, matrix):  # [N, L, D], [D, D] -> []
    """Returns E ((o_l - ō) M)²: how far the layers' codes lie from one code for all layers, which G was trained on."""
    return ((offsets - offsets.mean(1, keepdim=True)) @ matrix).square().mean()


def style_loss(synthesis, ws, codes):  # [N, L, D], [N, L, D] -> []
    """Returns E |A_l w_l - A_l w*_l| over the generator's own affine layers A_l, the first thing that G does to a code.

    Speech2Face's decoder-layer term (Oh et al. 2019) for a decoder that reads a code in every layer.
    """
    total, count = 0.0, 0
    for affine, row in affine_layers(synthesis):
        difference = affine(ws[:, row]) - affine(codes[:, row])
        total, count = total + difference.abs().mean(), count + 1
    return total / count


def affine_layers(synthesis):
    """Yields (affine layer, row of ws that it reads), in the order of the synthesis network (StyleGAN2's rule)."""
    row = 0
    for resolution in synthesis.block_resolutions:
        block = getattr(synthesis, f"b{resolution}")
        for name in ("conv0", "conv1", "torgb"):
            if hasattr(block, name):
                yield getattr(block, name).affine, row
                row += name != "torgb"  # a torgb shares the next block's first row
