"""Inception v3 as a judge: clean-fid's own resizing and networks in its three modes, and NVIDIA's definition.

Loaded by file, after its sha256 was checked. clean-fid would look into /tmp and download; that code is never reached.
"""

import contextlib
import os
import pathlib
import tempfile
import warnings

import numpy as np
import torch

from metrics.judges.weights import obtain, read_state_dict

MODES = ("clean", "legacy_tensorflow", "legacy_pytorch", "nvidia")
RESIZE = {
    "clean": "PIL bicubic, float32 per channel, antialiased, to 299",
    "legacy_tensorflow": "inside the network: bilinear as TensorFlow 1, to 299",
    "legacy_pytorch": "torch bilinear without antialiasing, to 299",
    "nvidia": "inside the network: bilinear as TensorFlow 1, to 299",
}
_SIDE = 299
_FILE = "inception-2015-12-05.pt"  # the name that clean-fid's class insists on


class InceptionJudge:
    """Features [N, 2048] of pictures in one of MODES; `prepare` turns one picture into what the network takes."""

    dim = 2048

    def __init__(self, mode, *, access, device="cpu"):
        if mode not in MODES:
            raise ValueError(f'mode "{mode}"; {", ".join(MODES)} are known.')
        key = "inception_pytorch" if mode == "legacy_pytorch" else "inception"
        path, self.sha256 = obtain(key, access.inception, access=access)
        self.mode, self.device = mode, torch.device(device)
        self.name = f"inception-2015-12-05 ({mode})"
        self.resize, self.one_size = RESIZE[mode], mode in ("legacy_tensorflow", "nvidia")
        with _quiet():
            from cleanfid.resize import build_resizer

            self._resize = build_resizer("legacy_tensorflow" if mode == "nvidia" else mode)
        self._network = (_state_dict_network(path) if mode == "legacy_pytorch" else
                         _torchscript_network(path, resize_inside=self.one_size)).eval().to(self.device)

    def prepare(self, picture):  # uint8 [H, W, 3] -> float32 [3, h, w] in 0..255
        """Returns a picture, resized as the mode wants it. Threads may call it at the same time."""
        if self.mode == "clean":
            return torch.from_numpy(resize_clean(picture))
        resized = np.asarray(self._resize(picture), np.float32)
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))

    @torch.no_grad()
    def __call__(self, batch):  # [N, 3, h, w] of `prepare` -> float32 [N, 2048] on the CPU
        """Returns the features."""
        x = batch.to(self.device)
        if self.mode == "nvidia":
            features = self._network.base(x.to(torch.uint8), return_features=True)
        elif self.mode == "legacy_pytorch":
            features = self._network(x / 255)[0]
        else:
            features = self._network(x)
        return features.reshape(len(x), -1).float().cpu()


def resize_clean(picture):  # uint8 [H, W, 3] -> float32 [3, 299, 299] in 0..255
    """Returns what clean-fid's resizer of the mode clean returns, bit for bit, with fewer copies of it."""
    from PIL import Image

    resized = np.empty([3, _SIDE, _SIDE], np.float32)
    for channel, plane in enumerate(np.moveaxis(picture, 2, 0).astype(np.float32)):
        image = Image.fromarray(plane).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        np.clip(np.asarray(image), 0, 255, out=resized[channel])
    return resized


class InceptionClasses:
    """Probabilities [N, 1008] of the same network without its last bias, as NVIDIA's Inception Score takes them."""

    def __init__(self, *, access, device="cpu"):
        self._judge = InceptionJudge("nvidia", access=access, device=device)
        self.sha256, self.resize, self.one_size = self._judge.sha256, self._judge.resize, True
        self.name, self.prepare = "inception-2015-12-05 (classes, no output bias)", self._judge.prepare

    @torch.no_grad()
    def __call__(self, batch):  # -> float32 [N, 1008] on the CPU
        """Returns the probabilities."""
        return self._judge._network.base(batch.to(self._judge.device, torch.uint8), no_output_bias=True).float().cpu()


def _torchscript_network(path, *, resize_inside):
    from cleanfid.inception_torchscript import InceptionV3W

    with _quiet(), contextlib.ExitStack() as stack:
        folder = path.parent
        if path.name != _FILE:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            os.symlink(path.resolve(), folder / _FILE)
        try:
            return InceptionV3W(str(folder), download=False, resize_inside=resize_inside)
        except RuntimeError as error:
            raise ValueError(f'"{path}" is not a TorchScript file that torch can load '
                             f"({str(error).splitlines()[0]}).") from error
        except AttributeError as error:
            raise ValueError(f'"{path}" is a TorchScript file, but not Inception: it has no part "layers".') from error


def _state_dict_network(path):
    """Returns pytorch-fid's network, its weights read from a file where the package would download them."""
    with _quiet():
        from cleanfid import inception_pytorch

        usual = inception_pytorch.load_state_dict_from_url
        inception_pytorch.load_state_dict_from_url = lambda *_, **__: read_state_dict(path)
        try:
            return inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False)
        except RuntimeError as error:  # torch's word for tensors that do not fit
            raise ValueError(f'"{path}" does not hold the tensors of pytorch-fid\'s Inception.') from error
        finally:
            inception_pytorch.load_state_dict_from_url = usual


@contextlib.contextmanager
def _quiet():
    """Inside it, clean-fid and torchvision may warn and change the filters of warnings; outside nothing is changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
