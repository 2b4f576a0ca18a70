"""From a picture back to the latent code that draws it: optimisation in W or W+.

Analyzing and Improving the Image Quality of StyleGAN (2019), appendix D: the code starts at the mean, is blurred by
noise that fades, and the noise maps are optimised with it while being kept from carrying the picture.
"""

import dataclasses
import math

import torch
from torch.func import functional_call
from torch.nn import functional

from torch_utils.images import to_float
from torch_utils.random_streams import stream

SPACES = ("w", "w+")


@dataclasses.dataclass(frozen=True)
class ProjectionSettings:
    """How to project; lengths of ramps are shares of all steps."""

    num_steps: int = 1000
    space: str = "w"
    seed: int = 303
    learning_rate: float = 0.1
    rampup: float = 0.05
    rampdown: float = 0.25
    code_noise: float = 0.05  # in standard deviations of w
    code_noise_until: float = 0.75
    noise_map_weight: float = 1e5
    num_for_mean: int = 10000

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; allowed: 1 or more.")
        if self.space not in SPACES:
            raise ValueError(f'space is "{self.space}"; allowed: {", ".join(SPACES)}.')


@dataclasses.dataclass(frozen=True)
class Projection:
    """A projected picture: codes ws [1, L, D], the codes ws_mean [1, L, D] it started from, distances at both ends."""

    ws: torch.Tensor
    ws_mean: torch.Tensor
    first_distance: float
    last_distance: float


def project(model, target, distance, settings=None, *, label=None, watch=None):
    """Returns the Projection of `target`, uint8 [C, H, W], of the size that the network draws.

    `distance` has features(images [N, C, H, W]) and between(features, features) -> [N] (see perceptual.py).
    `watch(step, distance, ws)` is called after each step, 1 to num_steps. The network is left as it was, its noise
    maps included: `ws` draws the picture with the stored ones. Same settings, same result.
    """
    settings = settings or ProjectionSettings()
    target = to_float(target)[None].to(model.device)
    wanted = distance.features(target)
    mean, deviation = code_statistics(model, settings, label=label)
    code = mean.repeat(1, model.num_ws if settings.space == "w+" else 1, 1).requires_grad_(True)
    maps = _fresh_noise_maps(model, settings.seed)
    optimizer = torch.optim.Adam([code, *maps.values()], lr=settings.learning_rate)
    noise = stream(settings.seed, "projection", "code noise")
    first = None
    for step in range(settings.num_steps):
        t = step / settings.num_steps
        optimizer.param_groups[0]["lr"] = settings.learning_rate * learning_rate_ramp(t, settings)
        blur = deviation * settings.code_noise * max(0.0, 1 - t / settings.code_noise_until) ** 2
        shaken = code + blur * torch.randn(code.shape, generator=noise).to(code)
        image = _drawn(model, shaken.expand(1, model.num_ws, -1), maps)
        apart = distance.between(wanted, distance.features(image)).sum()
        loss = apart + settings.noise_map_weight * noise_map_penalty(maps.values())
        if not torch.isfinite(loss):
            raise ValueError(f"the projection broke down at step {step + 1}: the loss is {loss.item()}; the weights of "
                             "the network are damaged, or it is of a kind that cannot be optimised through.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _normalise(maps.values())
        first = apart.item() if first is None else first
        if watch:
            watch(step + 1, apart.item(), code.detach().expand(1, model.num_ws, -1))
    ws = code.detach().expand(1, model.num_ws, -1).clone()
    return Projection(ws, mean.expand(1, model.num_ws, -1).clone(), first, apart.item())


def learning_rate_ramp(t, settings):
    """Returns the factor of the learning rate at the share t of all steps: linear rise, then cosine fall at the end."""
    fall = min(1.0, (1 - t) / settings.rampdown)
    return (0.5 - 0.5 * math.cos(fall * math.pi)) * min(1.0, t / settings.rampup)


@torch.no_grad()
def code_statistics(model, settings, *, label=None):  # -> [1, 1, D], scalar
    """Returns the mean of w over random z, of the class if there is one, and the root mean square distance from it."""
    from voice2style.faces import one_hot

    generator, num = model.generator, settings.num_for_mean
    c = one_hot(model, label)
    z = torch.randn([num, generator.z_dim], generator=stream(settings.seed, "projection", "mean"))
    codes = [generator.mapping(part.to(model.device, model.dtype), None if c is None else c.expand(len(part), -1))[:, 0]
             for part in z.split(1000)]
    codes = torch.cat(codes).float()  # [num, D]
    mean = codes.mean(dim=0)
    return mean.reshape(1, 1, -1), (codes - mean).square().sum(dim=1).mean().sqrt()


def noise_map_penalty(maps):
    """Returns the sum over maps and their pyramids down to 8x8 of the squared correlations with neighbours (eq. 5).

    It vanishes for white noise, and grows when a map begins to carry structure.
    """
    total = 0.0
    for noise in maps:
        level = noise[None, None]
        while True:
            total = total + sum((level * level.roll(1, dims=axis)).mean().square() for axis in (2, 3))
            if min(level.shape[2:]) <= 8:
                break
            level = functional.avg_pool2d(level, 2) * 2  # the factor keeps the variance of white noise at 1
    return total


def _fresh_noise_maps(model, seed):
    """Returns white noise in place of each noise map of the network, by name, to be optimised."""
    maps = {}
    for name, stored in model.generator.synthesis.named_buffers():
        if name.endswith("noise_const"):
            noise = torch.randn(stored.shape, generator=stream(seed, "projection", name))
            maps[name] = noise.to(stored.device).requires_grad_(True)
    return maps


def _drawn(model, ws, maps):  # [1, L, D] -> [1, C, H, W]
    """Returns the picture of codes with other noise maps; the network's own are not touched."""
    given = {name: noise.to(model.dtype) for name, noise in maps.items()}
    wishes = {"noise_mode": "const", "force_fp32": True}
    return functional_call(model.generator.synthesis, given, (ws.to(model.dtype),), wishes).float()


@torch.no_grad()
def _normalise(maps):
    """Brings every map back to mean 0 and variance 1."""
    for noise in maps:
        noise -= noise.mean()
        noise *= noise.square().mean().clamp_min(1e-12).rsqrt()
