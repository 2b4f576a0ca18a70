"""How a drawn face compares with a real one of the same person: 0.7 · L1 + 0.3 · distance of deep features."""

import pathlib

import torch
import torch.nn.functional as F
from torch import nn

from torch_utils.checkpoint import read_card
from voice2style.perceptual import PixelDistance, how_to_get_vgg, load_lpips

L1_SHARE, PERCEPTUAL_SHARE = 0.7, 0.3


def l1_loss(images, reals):  # [N, C, H, W], [N, C, H, W] -> []
    """Returns E |x - y| over samples, channels and pixels."""
    return (images - reals).abs().mean()


def perceptual_loss(distance, images, reals):  # [N, C, H, W], [N, C, H, W] -> []
    """Returns the mean distance of features; `distance` has features(images) and between(a, b) -> [N]."""
    with torch.no_grad():
        wanted = distance.features(reals)
    return distance.between(distance.features(images), wanted).mean()


class FeatureDistance(nn.Module):
    """Pictures compared by one vector each: Σ_k (a_k - b_k)² of features at unit length, from any face network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def features(self, images):  # [N, C, H, W] in [-1, 1] -> [N, K]
        """Returns the network's last features at unit length."""
        return F.normalize(getattr(self.network, "features", self.network)(images), dim=1)

    def between(self, first, second):  # [N, K], [N, K] -> [N]
        """Returns the distances, 0 to 4."""
        return (first - second).square().sum(1)


class DepthDistance(nn.Module):
    """Pictures compared at every depth of a network that has `maps(images)`: Σ over depths of the mean over pixels of
    the squared difference of activations at unit length over their channels, as LPIPS does without learned heads."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def features(self, images):  # [N, C, H, W] in [-1, 1] -> list of [N, C', H', W']
        """Returns the activations of all depths at unit length."""
        return [F.normalize(depth, dim=1) for depth in self.network.maps(images)]

    def between(self, first, second):  # lists of features -> [N]
        """Returns the distances."""
        return sum((a - b).square().sum(1).mean((1, 2)) for a, b in zip(first, second))


def load_perceptual(source, *, lpips_heads=None, device="cpu"):
    """Returns the distance that a word or a file names, frozen.

    "pixels": L1 of pixels and edges over a pyramid. "drawn": the shipped judge of the drawn world, at every depth. A
    .pth file: LPIPS on these VGG16 weights. Another file: the features of a trait probe, a drawn judge or a face
    recogniser (.safetensors, .onnx). ValueError when the file is none of these.
    """
    if source == "pixels":
        return PixelDistance().to(device)
    if source == "drawn":
        return _frozen(DepthDistance(_drawn_judge(None)), device)
    path = pathlib.Path(source)
    if path.suffix == ".pth":
        return _frozen(load_lpips(path, lpips_heads), device)
    if not path.is_file():
        raise ValueError(f'no such file: "{source}"; --perceptual takes pixels, drawn, the file of a trait probe or '
                         f"recogniser, or VGG16 weights. {how_to_get_vgg()}")
    kind = (read_card(path) or {}).get("format", "") if path.suffix == ".safetensors" else ""
    if str(kind).startswith("drawn_judge/"):
        return _frozen(DepthDistance(_drawn_judge(path)), device)
    if str(kind).startswith("trait_probe/"):
        from metrics.judges.trait_probe import load_probe

        return _frozen(FeatureDistance(load_probe(path)), device)
    from metrics.judges.face_id import load_recogniser

    return _frozen(FeatureDistance(load_recogniser(path, device=device)), device)


def _drawn_judge(path):
    from metrics.judges.drawn import load_drawn

    return load_drawn(path)[0]


def _frozen(distance, device):
    return distance.eval().requires_grad_(False).to(device)
