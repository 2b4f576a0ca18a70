"""From W+ codes to finished faces: the k-th face that fits a voice, and the picture of given codes."""

import torch

from torch_utils.random_streams import stream

_MOST_COARSE = 8  # layers 0-7: up to 32x32, where StyleGAN2 puts pose, shape and features of a face


def default_num_coarse(num_ws):
    """Returns how many of the first style layers follow the voice when several faces are drawn for it.

    Eight, as in the usual coarse and middle styles, but the last six layers are left to be sampled: in small
    pictures fewer of them change hardly more than the background, and the faces would all look the same.
    """
    return max(1, min(_MOST_COARSE, num_ws - 6))


def checked_num_coarse(model, num_coarse=None):
    """Returns the number of coarse layers to use; ValueError when it leaves none or all of them to be sampled."""
    num_coarse = default_num_coarse(model.num_ws) if num_coarse is None else num_coarse
    if not 0 < num_coarse < model.num_ws:
        raise ValueError(f"several faces for one voice need 1 to {model.num_ws - 1} coarse layers of the "
                         f"{model.num_ws} that this network has, got {num_coarse}.")
    return num_coarse


def face_codes(model, heard, *, psi, seed, index=0, num_coarse=None, label=None):  # [1, L, D] -> [1, L, D]
    """Returns the codes of the index-th face that fits a voice whose codes at psi 1 are `heard`.

    Index 0 is what the encoder said, in all layers. Every further one keeps the first `num_coarse` layers
    and takes the others from mapping(z), z drawn from (seed, index) alone, so that a face does not depend
    on how many are drawn.
    """
    ws = model.truncate(heard, psi)
    if index == 0:
        return ws
    num_coarse = checked_num_coarse(model, num_coarse)
    z = torch.randn([1, model.generator.z_dim], generator=stream(seed, "fine styles", index)).to(ws)
    fine = model.truncate(model.generator.mapping(z, one_hot(model, label)), psi)
    return torch.cat([ws[:, :num_coarse], fine[:, num_coarse:]], dim=1)


def seed_codes(model, seed, *, psi, label=None):  # -> [1, L, D]
    """Returns the codes of z = RandomState(seed).randn(1, z_dim), the rule of the StyleGAN2 command lines."""
    import numpy as np

    z = torch.from_numpy(np.random.RandomState(seed).randn(1, model.generator.z_dim))
    ws = model.generator.mapping(z.to(model.device, model.dtype), one_hot(model, label))
    return model.truncate(ws, psi)


def draw(model, ws, *, noise_mode="const", noise_seed=(1, "noise"), force_fp32=False):  # [1, L, D] -> [1, 3, H, W]
    """Returns the picture of codes, clamped to [-1, 1]; random noise comes from the stream named `noise_seed`.

    One picture at a time, so that its pixels never depend on what else is drawn.
    ValueError when the network gives NaN or infinite pixels.
    """
    image = model.synthesis(ws, noise_mode=noise_mode, generator=stream(*noise_seed), force_fp32=force_fp32).float()
    if not torch.isfinite(image).all():
        raise ValueError("the network gives pixels that are not finite numbers; its weights are damaged, or its "
                         "half-precision layers overflow (then --force-fp32=1 helps).")
    return image.clamp(-1, 1)


def one_hot(model, label):  # -> [1, c_dim] or None
    """Returns the class vector of a conditional network, None for an unconditional one."""
    c_dim = model.generator.c_dim
    if not c_dim:
        return None
    if label is None or not 0 <= label < c_dim:
        raise ValueError(f"this network is conditional: give --class with a number from 0 to {c_dim - 1}"
                         + ("." if label is None else f", not {label}."))
    c = torch.zeros([1, c_dim], device=model.device)
    c[0, label] = 1
    return c
