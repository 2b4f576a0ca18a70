"""Small stand-ins for published weights: TorchScript and state dict files that the real loading code takes."""

import numpy as np
import torch
from PIL import Image
from torch import nn


class _Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 9, stride=8)
        self.out = nn.Linear(16 * 4, 2048)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.out(nn.functional.adaptive_avg_pool2d(x, [2, 2]).flatten(1))


class _Inception(nn.Module):
    """What inception-2015-12-05.pt looks like from outside: `.layers`, and a forward that resizes by itself."""

    def __init__(self):
        super().__init__()
        self.layers = _Layers()
        self.classes = nn.Linear(2048, 12)

    def forward(self, img, return_features: bool = False, no_output_bias: bool = False):
        x = nn.functional.interpolate(img.to(torch.float32), size=[299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        if return_features:
            return features
        logits = nn.functional.linear(features, self.classes.weight)
        return (logits if no_output_bias else logits + self.classes.bias).softmax(1)


class _Vgg(nn.Module):
    """What NVIDIA's vgg16.pt looks like from outside: features, or activations whose squared distance is LPIPS."""

    def forward(self, img, return_features: bool = False, return_lpips: bool = False, resize_images: bool = True):
        if return_lpips:
            return img.flatten(1) / 255
        return nn.functional.adaptive_avg_pool2d(img, [4, 4]).flatten(1)


def _saved(module, path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.jit.script(module().eval()).save(str(path))
    return path


def inception_file(folder):
    """Returns the path of a TorchScript file in the place of Inception."""
    return _saved(_Inception, folder / "inception-2015-12-05.pt")


def vgg_script_file(folder):
    """Returns the path of a TorchScript file in the place of NVIDIA's vgg16.pt."""
    return _saved(_Vgg, folder / "vgg16.pt")


def vgg_file(folder, *, hidden=8):
    """Returns the path of a state dict in the place of torchvision's VGG16, with small fully connected layers."""
    from torchvision.models import vgg

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {f"features.{name}": value for name, value in vgg.make_layers(vgg.cfgs["D"]).state_dict().items()}
        state["classifier.0.weight"], state["classifier.0.bias"] = torch.randn(hidden, 25088) * 0.01, torch.ones(hidden)
        state["classifier.3.weight"], state["classifier.3.bias"] = torch.randn(hidden, hidden), torch.ones(hidden)
    torch.save(state, folder / "vgg16-397923af.pth")
    return folder / "vgg16-397923af.pth"


def picture_folder(folder, count, *, seed=0, size=(20, 24), shift=0, mode="RGB", ending="png"):
    """Writes smooth random pictures into a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        coarse = random.integers(0, 200, [5, 6, 3]).astype(np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.BICUBIC)
        picture = Image.fromarray((np.asarray(picture, np.int16) + shift).clip(0, 255).astype(np.uint8))
        picture.convert(mode).save(folder / f"{index:04d}.{ending}")
    return folder
