"""Face recognisers, from a picture to a point on a sphere: our own network (.safetensors) or anybody's (ONNX file).

    judge = load_recogniser("recogniser.safetensors")
    embeddings = judge(images)  # [N, 3, H, W] in [-1, 1] -> [N, K], of unit length

`judge.name`, `judge.sha256` say which file spoke; `judge.differentiable` whether gradients reach the pictures.
"""

import dataclasses
import pathlib

import torch
import torch.nn.functional as F

from dnnlib.files import sha256_file
from metrics.judges import trait_probe
from metrics.judges.onnx_session import OnnxNetwork, is_fixed
from metrics.judges.package_judges import FACE_FILES
from metrics.judges.people_sphere import PeopleSphere, restored, save_recogniser
from torch_utils.checkpoint import load_checkpoint

__all__ = ["FaceRecogniser", "FaceRecogniserSettings", "OnnxRecogniser", "load_recogniser", "save_recogniser", "sized"]


@dataclasses.dataclass(frozen=True)
class FaceRecogniserSettings:
    """Side of the picture it looks at, width of the first layer, length of the embedding, number of people it knows.

    `scale` is the factor of its cosines in the softmax over these people. `source` says what it was trained on: the
    dataset's card, the people by number and as a sha256, the settings, the command.
    """

    resolution: int = 64
    width: int = 32
    embed_dim: int = 128
    num_people: int = 0
    scale: float = 24.0
    source: dict = dataclasses.field(default_factory=dict)


class FaceRecogniser(PeopleSphere):
    """Strided convolutions, then one linear layer onto the unit sphere; `prototypes` are the people it was trained on.

    Differentiable in the pictures, so it can be a loss as well as a judge (never both for one model).
    """

    KIND = "face_recogniser/1"

    def __init__(self, settings):
        if settings.resolution % 16 or settings.resolution < 16:
            raise ValueError(f"a recogniser looks at pictures of a multiple of 16 pixels, not {settings.resolution}.")
        trunk, cells = trait_probe.build_trunk(settings.width, settings.resolution)
        super().__init__(settings, cells)
        self.trunk = trunk

    def forward(self, images):  # [N, 3, H, W] in [-1, 1] -> [N, K] of unit length
        """Returns the embeddings; pictures of another size are resized (bilinear, antialiased)."""
        return self.embedding_of(self.features(images))

    def features(self, images):  # [N, 3, H, W] -> [N, F]
        """Returns the last feature maps, flattened: they still know where things are in the picture."""
        images = sized(images, (self.settings.resolution, self.settings.resolution))
        return self.trunk(images.float()).flatten(1)

    def probabilities(self, images):  # [N, 3, H, W] -> [N, P]
        """Returns a distribution over the people it was trained on (what the VGGFace score asks for)."""
        return (self.settings.scale * self.cosines(self(images))).softmax(1)


class OnnxRecogniser(OnnxNetwork):
    """A recogniser in an ONNX file, run by onnxruntime; gradients do not reach the pictures.

    The graph has one input, [N, 3, H, W] or [N, H, W, 3] with fixed H and W, and its first output is [N, K]. Pictures
    are RGB in [-1, 1] unless the file's metadata says otherwise: `input_range` = "-1..1", "0..1" or "0..255",
    `channel_order` = "rgb" or "bgr".
    """

    RANGES = {"-1..1": (1.0, 0.0), "0..1": (0.5, 0.5), "0..255": (127.5, 127.5)}

    def __init__(self, path, *, device="cpu"):
        super().__init__(path, device=device)
        if len(self.shape) != 4 or 3 not in (self.shape[1], self.shape[3]):
            raise ValueError(f'"{path}" takes {self.shape or "several inputs"}; a recogniser takes one input, '
                             "[N, 3, H, W] or [N, H, W, 3].")
        self._channels_last = self.shape[1] != 3
        self.size = self.shape[1:3] if self._channels_last else self.shape[2:4]
        if not all(is_fixed(side) for side in self.size):
            raise ValueError(f'"{path}" does not fix the size of its pictures, {self.shape}; export it with a size.')
        self._gain, self._offset = _one_of(self.RANGES, self.told.get("input_range", "-1..1"), "input_range", path)
        self._reverse = _one_of({"rgb": False, "bgr": True}, self.told.get("channel_order", "rgb"), "channel_order",
                                path)

    def __call__(self, images):  # [N, 3, H, W] in [-1, 1] -> [N, K] of unit length
        """Returns the embeddings; ValueError when gradients are wanted."""
        self.refuse_gradient(images, "; for a loss take a .safetensors recogniser (train.py --task recogniser)")
        images = sized(images, self.size).float() * self._gain + self._offset
        images = images.flip(1) if self._reverse else images
        return self.embed(images.permute(0, 2, 3, 1) if self._channels_last else images)


def sized(images, size):  # [N, C, H, W] -> [N, 3, *size]
    """Returns pictures in a recogniser's size, grey ones with three equal channels."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"a recogniser takes pictures [N, 3, H, W] in [-1, 1], got {tuple(images.shape)}.")
    images = images.expand(-1, 3, -1, -1)
    if tuple(images.shape[2:]) != tuple(size):
        images = F.interpolate(images, size=tuple(size), mode="bilinear", antialias=True)
    return images


def load_recogniser(path, device="cpu"):
    """Returns the recogniser of a file, frozen: FaceRecogniser for .safetensors, OnnxRecogniser for .onnx, those of
    package_judges for .dat (dlib) and .pt (facenet-pytorch).

    A trait probe may stand in for a recogniser: then faces match when their traits do (TraitJudge).
    ValueError when the file is something else, or onnxruntime is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'no such recogniser: "{path}"; give an .onnx file, or a .safetensors file that '
                         "train.py --task recogniser made.")
    if row := FACE_FILES.get(path.suffix.lower()):
        judge = row(path)
        return judge.to(device) if isinstance(judge, torch.nn.Module) else judge
    if path.suffix.lower() == ".onnx":
        return OnnxRecogniser(path, device=device)
    tensors, card = load_checkpoint(path)
    if isinstance(card, dict) and card.get("format") == trait_probe.KIND:
        probe = trait_probe.load_probe(path, device=device)
        return trait_probe.TraitJudge(probe, name=path.name, sha256=sha256_file(path)).eval()
    if not isinstance(card, dict) or card.get("format") != FaceRecogniser.KIND:
        raise ValueError(f'"{path}" is not a face recogniser; make one with train.py --task recogniser, '
                         "or give an .onnx file.")
    return restored(FaceRecogniser, FaceRecogniserSettings, path, tensors, card).to(device)


def _one_of(table, value, what, path):
    if value not in table:
        raise ValueError(f'the metadata of "{path}" says {what} = "{value}"; {", ".join(table)} are known.')
    return table[value]
