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


def load_perceptual(source, *, lpips_heads=None, device="cpu"):
    """Returns the distance that a word or a file names, frozen.

    "pixels": L1 of pixels and edges over a pyramid; a .pth file: LPIPS on these VGG16 weights; a .safetensors or .onnx
    file: the features of a trait probe or a face recogniser. ValueError when the file is none of these.
    """
    if source == "pixels":
        return PixelDistance().to(device)
    path = pathlib.Path(source)
    if path.suffix == ".pth":
        distance = load_lpips(path, lpips_heads)
    elif not path.is_file():
        raise ValueError(f'no such file: "{source}"; --perceptual takes pixels, a trait probe or recogniser, or VGG16 '
                         f"weights. {how_to_get_vgg()}")
    else:
        distance = FeatureDistance(_face_network(path, device))
    return distance.eval().requires_grad_(False).to(device)


def _face_network(path, device):
    card = read_card(path) if path.suffix == ".safetensors" else None
    if isinstance(card, dict) and str(card.get("format", "")).startswith("trait_probe/"):
        from metrics.judges.trait_probe import load_probe

        return load_probe(path, device=device)
    from metrics.judges.face_id import load_recogniser

    return load_recogniser(path, device=device)
