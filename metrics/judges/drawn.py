"""The drawn judge: a small network, trained here on the drawn world and shipped, for machines without other weights.

It gives what Inception and VGG16 give: pooled features (FID, KID, precision and recall), probabilities of classes (IS)
and features at several depths (an LPIPS-like distance). Its numbers compare with its own only.
"""

import dataclasses
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

from dnnlib.files import sha256_file
from dnnlib.settings import from_dict, to_dict
from torch_utils.checkpoint import load_checkpoint, load_strictly, save_checkpoint
from torch_utils.images import to_float

KIND = "drawn_judge/1"
SHIPPED = pathlib.Path(__file__).parent / "drawn.safetensors"
_EPSILON = 1e-10


@dataclasses.dataclass(frozen=True)
class DrawnSettings:
    """Shape of the network, and what it was trained to read.

    `targets` are names of numbers behind a drawn picture (traits, pose, light, colours, blur, noise), `mean` and `std`
    their statistics over the training people; `bits` the targets whose halves make the 2^bits classes.
    """

    targets: tuple
    mean: tuple
    std: tuple
    bits: tuple
    resolution: int = 64
    widths: tuple = (24, 48, 80, 128)
    hidden: int = 128
    source: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("targets", "mean", "std", "bits", "widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


class DrawnJudge(nn.Module):
    """Strided convolutions; pictures come as [N, 3, H, W] in [-1, 1] of any size and are looked at in 64²."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        before, self.down, self.deeper = 3, nn.ModuleList(), nn.ModuleList()
        for depth, width in enumerate(settings.widths):
            self.down.append(_layer(before, width, stride=2))
            self.deeper.append(_layer(width, width, stride=1) if depth >= len(settings.widths) - 2 else nn.Identity())
            before = width
        cells = (settings.resolution // 2 ** len(settings.widths)) ** 2 * before
        self.hidden = nn.Sequential(nn.Linear(cells, settings.hidden, bias=False), nn.BatchNorm1d(settings.hidden))
        self.values = nn.Linear(settings.hidden, len(settings.targets))
        self.classes = nn.Linear(settings.hidden, 2 ** len(settings.bits))

    def sized(self, images):  # [N, 3, H, W] -> [N, 3, 64, 64]
        """Returns the pictures in the size that is looked at."""
        side = self.settings.resolution
        if images.shape[2:] == (side, side):
            return images
        return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)

    def maps(self, images):  # [N, 3, H, W] in [-1, 1] -> list of [N, C, H, W], from fine to coarse
        """Returns the activations of every depth."""
        found, x = [], self.sized(images)
        for down, deeper in zip(self.down, self.deeper):
            x = down(x)
            x = x if isinstance(deeper, nn.Identity) else x + deeper(x)
            found.append(x)
        return found

    def features(self, images):  # -> [N, hidden]
        """Returns the last hidden layer: the pooled features."""
        return F.mish(self.hidden(self.maps(images)[-1].flatten(1)))

    def forward(self, images):  # -> (values [N, K] in their own units / std, logits [N, 2^bits])
        features = self.features(images)
        return self.values(features), self.classes(features)

    def probabilities(self, images):  # -> [N, 2^bits]
        """Returns the probabilities of the classes."""
        return self.classes(self.features(images)).softmax(1)

    def distance(self, first, second):  # [N, 3, H, W] each -> [N]
        """Returns Σ over depths of the mean squared difference of activations that have unit length over channels."""
        total = 0
        for a, b in zip(self.maps(first), self.maps(second)):
            total = total + (_unit(a) - _unit(b)).square().sum(1).mean((1, 2))
        return total


def _layer(before, after, *, stride):
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after),
                         nn.Mish())


def _unit(x):  # [N, C, H, W]
    return x / (x.square().sum(1, keepdim=True) + _EPSILON).sqrt()


def save_drawn(judge, path):
    """Writes the judge to one .safetensors file."""
    tensors = {name: value for name, value in judge.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_checkpoint(path, tensors, {"format": KIND, **to_dict(judge.settings)})


def load_drawn(path=None, *, device="cpu"):
    """Returns (the judge of a file, frozen; its sha256); None is the shipped one. ValueError for any other file."""
    path = pathlib.Path(path or SHIPPED)
    if not path.exists():
        raise ValueError(f'the drawn judge is not there ("{path}"); python -m training.judge_loop trains it.')
    tensors, card = load_checkpoint(path)
    if not isinstance(card, dict) or card.get("format") != KIND:
        raise ValueError(f'"{path}" is not a drawn judge; python -m training.judge_loop makes one.')
    settings = from_dict(DrawnSettings, {key: value for key, value in card.items() if key != "format"},
                         where=f'the card of "{path}"')
    judge = DrawnJudge(settings)
    counters = {name: value for name, value in judge.state_dict().items() if name.endswith("num_batches_tracked")}
    load_strictly(judge, {**tensors, **counters}, where=f'"{path}"')
    return judge.eval().requires_grad_(False).to(device), sha256_file(path)


class DrawnFeatures:
    """The drawn judge in the place of Inception or VGG16: features [N, hidden], or probabilities [N, classes]."""

    one_size = False

    def __init__(self, path=None, *, device="cpu", head="features"):
        self._judge, self.sha256 = load_drawn(path, device=device)
        self._head, self.device = head, torch.device(device)
        side = self._judge.settings.resolution
        self.resize = f"torch bilinear, antialiased, to {side}"
        self.name = "drawn" if head == "features" else "drawn (classes)"
        self.dim = self._judge.settings.hidden

    def prepare(self, picture):  # uint8 [H, W, 3] -> float32 [3, 64, 64] in [-1, 1]
        """Returns the picture in the size that the judge looks at."""
        return self._judge.sized(to_float(torch.from_numpy(picture.transpose(2, 0, 1).copy()))[None])[0]

    @torch.no_grad()
    def __call__(self, batch):  # [N, 3, 64, 64] of `prepare` -> float32 on the CPU
        """Returns features or probabilities."""
        return getattr(self._judge, self._head)(batch.to(self.device)).cpu()


class DrawnDistance:
    """The drawn judge in the place of LPIPS: `judge(first, second)` of pictures [N, 3, H, W] in [-1, 1] -> [N]."""

    def __init__(self, path=None, *, device="cpu"):
        self._judge, self.sha256 = load_drawn(path, device=device)
        self.name, self.device = "drawn (distance)", torch.device(device)

    @torch.no_grad()
    def __call__(self, first, second):
        """Returns the distances."""
        return self._judge.distance(first.to(self.device, torch.float32), second.to(self.device, torch.float32))
