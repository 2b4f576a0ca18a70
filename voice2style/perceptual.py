"""How far apart two pictures look: LPIPS on VGG16 with weights by file, or a distance of pixels without them.

The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (2018), version 0.1 of the heads.
"""

import importlib.util
import os
import pathlib

import torch
from torch import nn
from torch.nn import functional

from dnnlib.files import sha256_file

VGG_NAME = "vgg16-397923af.pth"  # torchvision's ImageNet weights
VGG_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"  # lpips/weights/v0.1/vgg.pth
LARGEST_SIDE = 256  # pictures are compared no larger than this

_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # names of the convolutions between the poolings
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_SMALLEST_SIDE = 16  # four poolings leave one pixel of it
_EPSILON = 1e-10


class Lpips(nn.Module):
    """LPIPS on VGG16: the distances of features at five depths, normalised over their channels and weighed."""

    def __init__(self, trunk, heads):
        """Takes state dicts: torchvision's VGG16, and the heads of the lpips package, version 0.1."""
        super().__init__()
        for index in sum(_STAGES, ()):
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{index}", _tensor(trunk, f"features.{index}.{kind}", VGG_NAME))
        for depth in range(len(_STAGES)):
            self.register_buffer(f"head{depth}", _tensor(heads, f"lin{depth}.model.1.weight", "the LPIPS heads"))
        self.register_buffer("shift", torch.tensor(_SHIFT).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).reshape(1, 3, 1, 1))

    def features(self, images):  # [N, 1|3, H, W] in [-1, 1] -> five of [N, C, H/2^k, W/2^k]
        """Returns the activations after the last ReLU before each pooling, of unit length over their channels."""
        x = (_sized(images).expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for depth, stage in enumerate(_STAGES):
            x = functional.max_pool2d(x, 2) if depth else x
            for index in stage:
                x = functional.relu(functional.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"),
                                                      padding=1))
            found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON))
        return found

    def between(self, first, second):  # features, features -> [N]
        """Returns the distances of pictures whose features are given."""
        total = 0
        for depth, (a, b) in enumerate(zip(first, second)):
            total = total + functional.conv2d((a - b).square(), getattr(self, f"head{depth}")).mean(dim=(1, 2, 3))
        return total


class PixelDistance(nn.Module):
    """What stands in for LPIPS without weights: L1 of the pixels and of their edges, mean over a pyramid down to 8."""

    def features(self, images):  # [N, C, H, W] in [-1, 1] -> list of [N, C, H/2^k, W/2^k]
        """Returns the pyramid of a picture."""
        levels = [_sized(images)]
        while min(levels[-1].shape[2:]) >= 16:
            levels.append(functional.avg_pool2d(levels[-1], 2))
        return levels

    def between(self, first, second):  # pyramids -> [N]
        """Returns the distances of pictures whose pyramids are given."""
        total = 0
        for a, b in zip(first, second):
            difference = a - b
            across, down = difference.diff(dim=3), difference.diff(dim=2)
            total = total + sum(part.abs().mean(dim=(1, 2, 3)) for part in (difference, across, down))
        return total / len(first)


def load_lpips(vgg, heads=None):
    """Returns LPIPS from the file of the VGG16 weights and of the heads (None: those of the lpips package).

    ValueError when one of them is missing or is another file than the published one, by its sha256.
    """
    if not pathlib.Path(vgg).is_file():
        raise ValueError(f'no such file: "{vgg}". {how_to_get_vgg()}')
    heads = packaged_heads() if heads is None else pathlib.Path(heads)
    if not heads.is_file():
        raise ValueError(f'no such file: "{heads}"; the LPIPS heads are weights/v0.1/vgg.pth of the lpips package.')
    return Lpips(_published(vgg, VGG_SHA256, f"the VGG16 weights {VGG_NAME}"),
                 _published(heads, HEADS_SHA256, "the LPIPS heads weights/v0.1/vgg.pth"))


def find_vgg():
    """Returns the path of the VGG16 weights in one of `vgg_folders`, or None."""
    found = [folder / VGG_NAME for folder in vgg_folders() if (folder / VGG_NAME).is_file()]
    return found[0] if found else None


def vgg_folders():
    """Returns where the weights are looked for: $V2S_METRIC_WEIGHTS, then the folder that torch.hub uses."""
    own = os.environ.get("V2S_METRIC_WEIGHTS")
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    hub = pathlib.Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return ([pathlib.Path(own)] if own else []) + [hub]


def how_to_get_vgg():
    """Returns the sentence that says which weights are wanted, and where to put them."""
    return (f"Wanted: torchvision's ImageNet weights {VGG_NAME} (sha256 {VGG_SHA256[:8]}...), given with --vgg FILE or "
            f"put into $V2S_METRIC_WEIGHTS or {vgg_folders()[-1]}; they are never downloaded here.")


def packaged_heads():
    """Returns the path of the heads inside the installed lpips package, which is not imported for it."""
    package = importlib.util.find_spec("lpips")
    if package is None:
        raise ValueError("the package lpips is not installed, which brings the LPIPS heads; give --lpips-weights FILE.")
    return pathlib.Path(package.origin).parent / "weights" / "v0.1" / "vgg.pth"


def _published(path, sha256, what):
    """Returns the state dict in a file whose content is known."""
    found = sha256_file(path)
    if found != sha256:
        raise ValueError(f'"{path}" is not {what}: its sha256 is {found[:16]}..., expected {sha256[:16]}...; '
                         "it is damaged or another file.")
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensor(state, name, where):
    if name not in state:
        raise ValueError(f"{where} has no {name}; it is another file than the published one.")
    return state[name].detach().float().clone()


def _sized(images):  # -> the same, its shorter side between 16 and 256 or a bit more
    """Returns pictures averaged down while half of them is still 256 or more, or repeated up to 16."""
    side = min(images.shape[2:])
    if side >= 2 * LARGEST_SIDE:
        return functional.avg_pool2d(images, side // LARGEST_SIDE)
    if side < _SMALLEST_SIDE:
        return functional.interpolate(images, scale_factor=-(-_SMALLEST_SIDE // side), mode="nearest")
    return images
