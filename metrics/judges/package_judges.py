"""Recognisers of packages that work offline, as rows: dlib and facenet-pytorch for faces, resemblyzer for voices.

None is needed otherwise; each is imported when its row is asked for, and the error names what to install.
"""

import importlib
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.files import sha256_file
from metrics.judges.weights import read_state_dict


class DlibRecogniser:
    """dlib's ResNet of faces (128 numbers): dlib_face_recognition_resnet_model_v1.dat, by file."""

    differentiable, size = False, (150, 150)

    def __init__(self, path):
        dlib = _package("dlib", "dlib-bin", f'"{path}" is a model of dlib')
        self.name, self.sha256 = path.name, sha256_file(path)
        try:
            self._network = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise ValueError(f'"{path}" is not a face recogniser that dlib can read ({error}).') from error

    def describe(self, pixels):  # uint8 [N, 150, 150, 3] -> [N, 128]
        """Returns dlib's descriptors of pictures."""
        return torch.tensor(np.array([self._network.compute_face_descriptor(picture) for picture in pixels]))

    def __call__(self, images):  # [N, 3, H, W] in [-1, 1] -> [N, 128] of unit length
        """Returns the embeddings; pictures are resized to 150 pixels."""
        pixels = (_resized(images, self.size).detach() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
        found = self.describe(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        return F.normalize(found.float(), dim=1).to(images.device)


class FacenetRecogniser(torch.nn.Module):
    """facenet-pytorch's InceptionResnetV1 (512 numbers), its state dict by file (…-vggface2.pt, …-casia-webface.pt)."""

    differentiable, size = True, (160, 160)

    def __init__(self, path):
        super().__init__()
        package = _package("facenet_pytorch", "--no-deps facenet-pytorch", f'"{path}" is a model of facenet-pytorch')
        tensors = read_state_dict(path)
        self.name, self.sha256 = path.name, sha256_file(path)
        self.network = package.InceptionResnetV1(pretrained=None)
        wanted = self.network.state_dict()
        lacking = sorted(set(wanted) - set(tensors)) if isinstance(tensors, dict) else sorted(wanted)
        if lacking:
            raise ValueError(f'"{path}" is not a state dict of InceptionResnetV1: {lacking[0]} is missing.')
        self.network.load_state_dict({name: tensors[name] for name in wanted})  # its classifier is not needed
        self.eval().requires_grad_(False)

    def forward(self, images):  # [N, 3, H, W] in [-1, 1] -> [N, 512] of unit length
        """Returns the embeddings; pictures are resized to 160 pixels."""
        return F.normalize(self.network(_resized(images, self.size) * (127.5 / 128)), dim=1)


class ResemblyzerSpeaker:
    """resemblyzer's encoder of voices (256 numbers); its weights come with the package."""

    differentiable, sample_rate_hz = False, 16000

    def __init__(self, device="cpu"):
        package = _package("resemblyzer", "resemblyzer", '"resemblyzer" is a speaker recogniser')
        weights = pathlib.Path(package.__file__).with_name("pretrained.pt")
        self.name, self.sha256 = "resemblyzer", sha256_file(weights)
        self._encoder = package.VoiceEncoder(device=device, verbose=False)

    def __call__(self, waves):  # [N, S] in [-1, 1] -> [N, 256] of unit length
        """Returns the embeddings of whole clips."""
        waves = torch.as_tensor(waves)
        rows = [self._encoder.embed_utterance(wave.detach().cpu().float().numpy()) for wave in waves]
        return F.normalize(torch.from_numpy(np.stack(rows)).float(), dim=1).to(waves.device)


FACE_FILES = {".dat": DlibRecogniser, ".pt": FacenetRecogniser, ".pth": FacenetRecogniser}  # by the file's ending
SPEAKERS = {"resemblyzer": ResemblyzerSpeaker}  # by name


def _package(module, install, why):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{why}, which needs the package {module} ({error}): pip install {install}.") from error


def _resized(images, size):
    images = images.float().expand(-1, 3, -1, -1)
    return images if images.shape[2:] == size else F.interpolate(images, size=size, mode="bilinear", antialias=True)
