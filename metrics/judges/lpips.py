"""VGG16 as a judge: LPIPS through the lpips package, fc7 features for precision and recall; weights by file.

The package would download its trunk; that code is never reached. NVIDIA's TorchScript file is understood, too.
"""

import contextlib
import types

import numpy as np
import torch
import torch.nn.functional as F

from metrics.judges.weights import WEIGHTS, heads_file, obtain, read_state_dict

SMALLEST_SIDE = 16  # four poolings leave one pixel of it
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for fc7
_SIDE = 224


class LpipsJudge:
    """LPIPS, version 0.1, net vgg: `judge(first, second)` of pictures [N, 3, H, W] in [-1, 1] -> [N]."""

    def __init__(self, *, access, device="cpu"):
        self.device = torch.device(device)
        if _is_torchscript(access.vgg):
            path, self.sha256 = obtain("vgg_torchscript", access.vgg, access=access)
            self.name, self._folded, self._network = "lpips in vgg16.pt (NVIDIA)", True, _torchscript(path, device)
            return
        path, trunk_sha256 = obtain("vgg", access.vgg, access=access)
        heads, heads_sha256 = heads_file(access.lpips, trust=access.trust)
        self.name, self.sha256, self._folded = "lpips 0.1 vgg", f"{trunk_sha256}+{heads_sha256}", False
        self._network = _packaged_lpips(read_state_dict(path), heads, path).to(self.device)

    def __call__(self, first, second):
        """Returns the distances; gradients are not kept."""
        if min(first.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(f"LPIPS needs pictures of {SMALLEST_SIDE} pixels a side or more, "
                             f"got {first.shape[3]}x{first.shape[2]}.")
        first, second = first.to(self.device, torch.float32), second.to(self.device, torch.float32)
        with torch.no_grad():
            if not self._folded:
                return self._network(first, second).flatten()
            both = (torch.cat([first, second]) + 1) * (255 / 2)
            a, b = self._network(both, resize_images=False, return_lpips=True).chunk(2)
            return (a - b).square().sum(1)


class VggFeatures:
    """What precision and recall compare: the second fully connected layer of VGG16 behind its ReLU, [N, 4096]."""

    one_size = True

    def __init__(self, *, access, device="cpu"):
        self.device = torch.device(device)
        self._folded = _is_torchscript(access.vgg)
        path, self.sha256 = obtain("vgg_torchscript" if self._folded else "vgg", access.vgg, access=access)
        if self._folded:
            self.name, self.resize = "vgg16.pt (NVIDIA), features", "inside the network, to 224"
            self._network = _torchscript(path, device)
            self.dim = self(torch.zeros([1, 3, _SIDE, _SIDE])).shape[1]
            return
        self.name, self.resize = "vgg16 fc7 (torchvision)", "torch bilinear, antialiased, to 224"
        state = read_state_dict(path)
        self._network = _trunk(state, path).to(self.device)
        self._layers = [tuple(_tensor(state, f"classifier.{index}.{kind}", path).to(self.device)
                              for kind in ("weight", "bias")) for index in (0, 3)]
        self.dim = len(self._layers[-1][1])

    def prepare(self, picture):  # uint8 [H, W, 3] -> uint8 [3, H, W]
        """Returns the picture with channels first; the network resizes."""
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

    @torch.no_grad()
    def __call__(self, batch):  # uint8 or 0..255 [N, 3, H, W] -> float32 [N, K] on the CPU
        """Returns the features."""
        x = batch.to(self.device, torch.float32)
        if self._folded:
            return self._network(x, return_features=True).flatten(1).float().cpu()
        x = F.interpolate(x, size=(_SIDE, _SIDE), mode="bilinear", antialias=True) / 255
        mean, std = (torch.tensor(values, device=self.device).reshape(1, 3, 1, 1) for values in (_MEAN, _STD))
        x = F.adaptive_avg_pool2d(self._network((x - mean) / std), 7).flatten(1)
        for weight, bias in self._layers:
            x = F.relu(F.linear(x, weight, bias))
        return x.cpu()


def _is_torchscript(path):
    return path is not None and str(path).endswith(".pt")


def _torchscript(path, device):
    try:
        return torch.jit.load(str(path), map_location=str(device)).eval()
    except RuntimeError as error:
        raise ValueError(f'"{path}" is not a TorchScript file that torch can load.') from error


def _trunk(state, path):
    """Returns the convolutions of VGG16 with the weights of torchvision's state dict."""
    from torchvision.models import vgg

    with torch.device("meta"):
        features = vgg.make_layers(vgg.cfgs["D"])
    wanted = {name: _tensor(state, f"features.{name}", path) for name in features.state_dict()}
    try:
        features.load_state_dict(wanted, assign=True)
    except RuntimeError as error:
        raise ValueError(f'"{path}" does not hold the tensors of {WEIGHTS["vgg"].name}.') from error
    return features.eval().requires_grad_(False)


def _packaged_lpips(state, heads, path):
    """Returns lpips.LPIPS(net="vgg") around our trunk: the package builds and downloads none."""
    with contextlib.redirect_stdout(None):
        import lpips
    trunk = _trunk(state, path)
    usual = lpips.pretrained_networks.tv.vgg16
    lpips.pretrained_networks.tv.vgg16 = lambda **_: types.SimpleNamespace(features=trunk)
    try:
        network = lpips.LPIPS(net="vgg", version="0.1", pnet_rand=True, model_path=str(heads), verbose=False)
    finally:
        lpips.pretrained_networks.tv.vgg16 = usual
    return network.eval().requires_grad_(False)


def _tensor(state, name, path):
    if not isinstance(state, dict) or not isinstance(state.get(name), torch.Tensor):
        raise ValueError(f'"{path}" has no tensor {name}; it is another file than {WEIGHTS["vgg"].name}.')
    return state[name].detach().float()
