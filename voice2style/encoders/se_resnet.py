"""The audio processor: an 18-layer residual network with squeeze and excitation, from features to W+ offsets.

Clips of different lengths share a batch: after every layer that could carry something past a clip's end, the positions
there are set to what the layer's own padding would have been, and every mean counts valid positions only. So a clip
gives the same numbers alone and beside longer ones. In training, batch statistics too are those of valid positions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_utils.distributed import sum_across_ranks, world_size

ACTIVATIONS = {"mish": F.mish, "relu": F.relu}  # mish(x) = x tanh(ln(1 + e^x))
_WIDTH_FACTORS = (1, 2, 4, 8)  # 64-128-256-512 at the published base width
_BLOCKS_PER_STAGE = 2
_LEAST_SQUEEZE = 4  # hidden units of the squeeze in the published network's first stage; narrower ones die easily


@dataclass(frozen=True)
class SEResNetSettings:
    """Settings of the audio processor.

    num_ws w_dim   L and D of the output; num_ws = 2 log2(resolution) - 2
    planes rows    C of the features is planes * rows: 3 * num_mfcc of mfcc, 1 * num_mels, 2 * bins of a spectrogram
    base_width     channels of the first stage; the others have 2, 4 and 8 times as many (published: 64)
    embed_dim      size of the voice embedding
    reduction      r of squeeze and excitation (at least 4 hidden units are kept)
    use_se         False leaves squeeze and excitation out (the ablation NoSE)
    activation     "mish", or "relu" (the ablation ReLU)
    input_norm     standardise each of the C rows by running statistics first: MFCC rows differ 100-fold in scale
    """

    num_ws: int
    w_dim: int = 512
    planes: int = 3
    rows: int = 40
    base_width: int = 64
    embed_dim: int = 512
    reduction: int = 16
    use_se: bool = True
    activation: str = "mish"
    input_norm: bool = True

    def __post_init__(self):
        for name in ("num_ws", "w_dim", "planes", "rows", "base_width", "embed_dim", "reduction"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is {self.activation!r}; choose one of {', '.join(ACTIVATIONS)}")


class SEResNet(nn.Module):
    """Features [N, C, T] -> offsets from the mean latent [N, L, D]; an untrained one answers 0, the mean face.

    `generator` is the random stream of the initial weights (None: torch's global one). The method is also open in
    pieces, for recordings too long for one pass: `pooled` sums over a segment; sums and counts of all segments add up;
    `embedding_of` finishes. Only the gates of squeeze and excitation then see one segment at a time.
    """

    def __init__(self, settings: SEResNetSettings, *, generator: torch.Generator | None = None):
        super().__init__()
        self.settings = s = settings
        widths = [s.base_width * factor for factor in _WIDTH_FACTORS]
        self.input_norm = MaskedBatchNorm(s.planes * s.rows, affine=False) if s.input_norm else None
        self.stem = nn.Conv2d(s.planes, widths[0], 7, stride=2, padding=3, bias=False)
        self.stem_norm = MaskedBatchNorm(widths[0])
        stages = []
        for stage, width in enumerate(widths):
            for block in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage > 0 and block == 0 else 1
                before = widths[max(stage - 1, 0)] if block == 0 else width
                stages.append(Block(before, width, stride, s))
        self.blocks = nn.ModuleList(stages)
        self.fc = nn.Linear(widths[-1], s.embed_dim)
        self.head = nn.Linear(s.embed_dim, s.num_ws * s.w_dim)
        self._initialise(generator)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Offsets [N, L, D]; `lengths` [N] are the valid frames of each clip (None: all T)."""
        return self.offsets(self.embed(features, lengths))

    def embed(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The voice embedding [N, embed_dim]."""
        return self.embedding_of(*self.pooled(features, lengths))

    def pooled(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sum over valid positions [N, 8 base_width] of the last stage, and how many there were [N, 1]."""
        x, valid = self._planes_of(features, lengths)
        x = self._masked_stem(x, valid)
        valid = valid.halved().halved()
        act = ACTIVATIONS[self.settings.activation]
        for block in self.blocks:
            x, valid = block(x, valid, act)
        return x.sum((2, 3)), valid.count(x)

    def embedding_of(self, total: Tensor, count: Tensor) -> Tensor:
        """The embedding [N, embed_dim] of pooled sums [N, 8 base_width] and counts [N, 1]."""
        return self.fc(total / count.to(total.dtype))

    def offsets(self, embedding: Tensor) -> Tensor:
        """Offsets [N, L, D] of embeddings [N, embed_dim]."""
        return self.head(embedding).unflatten(1, (self.settings.num_ws, self.settings.w_dim))

    def _planes_of(self, features: Tensor, lengths) -> tuple[Tensor, "Valid"]:
        """Features as an image [N, planes, rows, T], zero past each clip's end, and what is valid in it."""
        s = self.settings
        num_rows = s.planes * s.rows
        if features.ndim != 3 or features.shape[1] != num_rows or features.shape[2] < 1:
            raise ValueError(f"features have shape {tuple(features.shape)}; this encoder takes [N, {num_rows}, T] with "
                             f"T of at least 1 ({s.planes} planes of {s.rows} rows)")
        if lengths is not None:
            lengths = torch.as_tensor(lengths, device=features.device)
            if lengths.shape != features.shape[:1] or int(lengths.min()) < 1 or int(lengths.max()) > features.shape[2]:
                raise ValueError(f"lengths are {lengths.tolist()}; they must be {features.shape[0]} numbers of frames "
                                 f"between 1 and {features.shape[2]}")
            if int(lengths.min()) == features.shape[2]:
                lengths = None
        valid = Valid(lengths)
        x = valid.masked(features[:, :, None])  # [N, C, 1, T]
        if self.input_norm is not None:
            x = valid.masked(self.input_norm(x, valid))
        return x.reshape(-1, s.planes, s.rows, features.shape[2]), valid

    def _masked_stem(self, x: Tensor, valid: "Valid") -> Tensor:
        """7x7 convolution and 3x3 maximum, each of stride 2 [N, base_width, ceil(rows / 4), ceil(T / 4)]."""
        valid = valid.halved()
        x = ACTIVATIONS[self.settings.activation](self.stem_norm(self.stem(x), valid))
        x = F.max_pool2d(valid.masked(x, -math.inf), 3, stride=2, padding=1)
        return valid.halved().masked(x)

    def _initialise(self, generator: torch.Generator | None) -> None:
        """He initialisation of the convolutions; a head of zeros, so that the offsets start at 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features ** -0.5, generator=generator)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)


class Block(nn.Module):
    """conv 3x3 - BN - act - conv 3x3 - BN - SE - add the shortcut - act, on masked images."""

    def __init__(self, before: int, width: int, stride: int, settings: SEResNetSettings):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = MaskedBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = MaskedBatchNorm(width)
        self.se = SqueezeExcitation(width, settings.reduction) if settings.use_se else None
        same = stride == 1 and before == width
        self.shortcut = None if same else nn.Conv2d(before, width, 1, stride=stride, bias=False)
        self.shortcut_norm = None if same else MaskedBatchNorm(width)

    def forward(self, x: Tensor, valid: "Valid", act) -> tuple[Tensor, "Valid"]:
        """[N, before, H, T] -> [N, width, ceil(H / stride), ceil(T / stride)] and what is valid in it."""
        valid = valid.halved() if self.stride == 2 else valid
        y = valid.masked(act(self.norm1(self.conv1(x), valid)))
        y = self.norm2(self.conv2(y), valid)
        if self.se is not None:
            y = self.se(y, valid)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), valid)
        return valid.masked(act(x + y)), valid


class SqueezeExcitation(nn.Module):
    """Gates every channel by a look at all channels' means: FC C -> C/r, ReLU, FC C/r -> C, sigmoid."""

    def __init__(self, width: int, reduction: int):
        super().__init__()
        hidden = max(width // reduction, _LEAST_SQUEEZE)
        self.squeeze = nn.Linear(width, hidden)
        self.excite = nn.Linear(hidden, width)

    def forward(self, x: Tensor, valid: "Valid") -> Tensor:
        """[N, C, H, T] -> the same shape."""
        mean = valid.masked(x).sum((2, 3)) / valid.count(x).to(x.dtype)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        return x * gate[:, :, None, None]


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics, in training, are those of the valid positions of all ranks' samples."""

    def forward(self, x: Tensor, valid: "Valid") -> Tensor:
        """[N, C, H, T] -> the same shape; positions past a clip's end come out as anything and are masked later."""
        if not self.training or (valid.lengths is None and world_size() == 1):
            return super().forward(x)
        count = sum_across_ranks(valid.count(x).sum().to(torch.float32))
        values = valid.masked(x).float()
        mean = sum_across_ranks(values.sum((0, 2, 3))) / count
        centred = valid.masked(values - mean[:, None, None])
        variance = sum_across_ranks(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = torch.rsqrt(variance + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        y = centred * scale[:, None, None]
        return (y if self.bias is None else y + self.bias[:, None, None]).to(x.dtype)


class Valid:
    """Which positions along T belong to the clips: `lengths` [N], or None when all do."""

    def __init__(self, lengths: Tensor | None):
        self.lengths = lengths

    def halved(self) -> "Valid":
        """What is valid after a layer of stride 2: ceil(length / 2), as many as the clip alone would have."""
        return self if self.lengths is None else Valid((self.lengths + 1) // 2)

    def masked(self, x: Tensor, value: float = 0.0) -> Tensor:
        """`x` [N, C, H, T] with `value` past each clip's end."""
        if self.lengths is None:
            return x
        past = torch.arange(x.shape[3], device=x.device) >= self.lengths[:, None]
        return x.masked_fill(past[:, None, None], value)

    def count(self, x: Tensor) -> Tensor:
        """Valid positions of each clip in `x` [N, C, H, T] -> [N, 1]."""
        if self.lengths is None:
            return torch.full((x.shape[0], 1), x.shape[2] * x.shape[3], device=x.device)
        return (self.lengths * x.shape[2])[:, None]
