"""StyleGAN2's discriminator: pictures [N, C, H, W] (and labels) -> logits [N, 1], high for real."""

import dataclasses
import math

import torch
from torch import nn

from torch_utils.ops import autocast_off
from torch_utils.ops.upfirdn2d import downsample2d, setup_filter
from voice2style.layers import (
    DEFAULT_FILTER,
    Dense,
    EqualizedConv2d,
    Mapping,
    MinibatchStd,
    block_dtype,
    check_table,
    first_half_resolution,
    laid_out,
    resolutions,
)


@dataclasses.dataclass(frozen=True)
class DiscriminatorSettings:
    """Everything that rebuilds a discriminator; plain JSON through dnnlib.settings.

    channels: one width per resolution 4, 8, .. img_resolution. cmap_dim None: C_4. mbstd_group_size None: the whole
    batch is one group. mbstd_num_channels 0: no batch statistics. freeze_layers: so many layers, counted from the
    picture, never train (Freeze-D). num_people: so many identities are told apart by a classifier on the same trunk (0:
    there is none). fp16 and const_shape as in GeneratorSettings.
    """

    img_resolution: int
    channels: tuple[int, ...]
    c_dim: int = 0
    img_channels: int = 3
    architecture: str = "resnet"
    activation: str = "lrelu"
    num_fp16_res: int = 0
    conv_clamp: float | None = None
    fp16_on_cpu: bool = False
    cmap_dim: int | None = None
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    mapping_activation: str = "lrelu"
    embed_features: int | None = None
    layer_features: int | None = None
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1
    resample_filter: tuple[float, ...] = DEFAULT_FILTER
    const_shape: tuple[int, int] = (4, 4)
    freeze_layers: int = 0
    num_people: int = 0

    def __post_init__(self):
        for name in ("channels", "resample_filter", "const_shape"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_table(self)
        if self.img_resolution < 8:
            raise ValueError(f"img_resolution is {self.img_resolution}; allowed for a discriminator: 8 or more")
        if self.mbstd_num_channels and self.channels[0] % self.mbstd_num_channels:
            raise ValueError(f"mbstd_num_channels is {self.mbstd_num_channels}; allowed: 0 or a divisor of "
                             f"{self.channels[0]}")
        if self.num_people < 0 or self.num_people == 1:
            raise ValueError(f"num_people is {self.num_people}; allowed: 0 (no classifier), or 2 or more to tell apart")


class DiscriminatorBlock(nn.Module):
    """All layers of one resolution; halves the picture."""

    def __init__(self, settings, resolution, num_in, num_out, first_layer):
        super().__init__()
        self.architecture, self.fp16_on_cpu = settings.architecture, settings.fp16_on_cpu
        self.use_fp16 = resolution >= first_half_resolution(settings.img_resolution, settings.num_fp16_res)
        self.register_buffer("resample_filter", setup_filter(settings.resample_filter))
        self.num_layers = 0

        def conv(*args, **options):
            trainable = first_layer + self.num_layers >= settings.freeze_layers
            self.num_layers += 1
            return EqualizedConv2d(*args, **options, trainable=trainable)

        usual = {"activation": settings.activation, "conv_clamp": settings.conv_clamp}
        halving = {"down": 2, "resample_filter": settings.resample_filter}
        if resolution == settings.img_resolution or self.architecture == "skip":
            self.fromrgb = conv(settings.img_channels, num_in, 1, **usual)
        self.conv0 = conv(num_in, num_in, 3, **usual)
        self.conv1 = conv(num_in, num_out, 3, **usual, **halving)
        if self.architecture == "resnet":
            self.skip = conv(num_in, num_out, 1, bias=False, **halving)

    @property
    def compute_dtype(self):
        """The dtype of the weights."""
        return self.conv0.weight.dtype

    def forward(self, x, img, force_fp32):
        """Return the activations [N, C', H/2, W/2] and what is left of the picture for later blocks."""
        dtype = block_dtype(self, img if x is None else x, force_fp32)
        if x is not None and not (x.dtype == torch.bfloat16 and dtype == torch.float32):  # bfloat16: from autocast
            x = x.to(dtype)
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(laid_out(img.to(dtype)))
            x = y if x is None else x + y
            img = downsample2d(img, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture != "resnet":
            return self._both(x), img
        return self.skip(x, gain=math.sqrt(0.5)) + self._both(x, gain=math.sqrt(0.5)), img

    def _both(self, x, gain=1.0):
        if self.conv0.runs_before(self.conv1, x):
            return self.conv1(self.conv0.linear(x), gain, after=self.conv0)
        return self.conv1(self.conv0(x), gain)


class DiscriminatorEpilogue(nn.Module):
    """The last resolution: batch statistics, one convolution, two dense layers. Never in 16 bits."""

    def __init__(self, settings, cmap_dim):
        super().__init__()
        channels, (height, width), activation = settings.channels[0], settings.const_shape, settings.activation
        if settings.architecture == "skip":
            self.fromrgb = EqualizedConv2d(settings.img_channels, channels, 1, activation=activation)
        extra = settings.mbstd_num_channels
        self.mbstd = MinibatchStd(settings.mbstd_group_size, extra) if extra else None
        self.conv = EqualizedConv2d(channels + extra, channels, 3, activation=activation,
                                    conv_clamp=settings.conv_clamp)
        self.fc = Dense(channels * height * width, channels, activation=activation)
        self.out = Dense(channels, cmap_dim or 1)

    def forward(self, x, img, cmap, batches=1):  # [N, C, 4, 4] -> [N, 1]
        dtype = self.out.weight.dtype
        with autocast_off(x):
            x = x.to(dtype)
            if img is not None:
                x = x + self.fromrgb(img.to(dtype))
            if self.mbstd is not None:
                x = torch.cat([self.mbstd(batch) for batch in x.tensor_split(batches)])
            x = self.out(self.fc(self.conv(x).flatten(1)))
            if cmap is None:
                return x
            return (x * cmap).sum(1, keepdim=True) / math.sqrt(cmap.shape[1])


class IdentityClassifier(nn.Module):
    """Whose face is it, from the trunk's last activations; never in 16 bits. It sees no batch statistics.

    As in voice2face (Wen, Singh, Raj 2019) it shares the discriminator's convolutions and has its own last layers.
    """

    def __init__(self, settings):
        super().__init__()
        channels, (height, width) = settings.channels[0], settings.const_shape
        self.fc = Dense(channels * height * width, channels, activation=settings.activation)
        self.out = Dense(channels, settings.num_people)

    def forward(self, x):  # [N, C, 4, 4] -> [N, num_people]
        with autocast_off(x):
            return self.out(self.fc(x.to(self.out.weight.dtype).flatten(1)))


class Discriminator(nn.Module):
    """Blocks b1024, b512, .. b8 of half the size each, then the epilogue b4, and beside it the identity classifier."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        self.c_dim = settings.c_dim
        self.img_resolution, self.img_channels = settings.img_resolution, settings.img_channels
        self.block_resolutions = resolutions(settings.img_resolution)[:0:-1]
        widths = dict(zip(resolutions(settings.img_resolution), settings.channels, strict=True))
        num_layers = 0
        for resolution in self.block_resolutions:
            block = DiscriminatorBlock(settings, resolution, widths[resolution], widths[resolution // 2], num_layers)
            self.add_module(f"b{resolution}", block)
            num_layers += block.num_layers
        cmap_dim = (widths[4] if settings.cmap_dim is None else settings.cmap_dim) if settings.c_dim else 0
        if settings.c_dim:
            self.mapping = Mapping(
                0, settings.c_dim, cmap_dim, num_layers=settings.mapping_layers,
                lr_multiplier=settings.mapping_lr_multiplier, activation=settings.mapping_activation,
                embed_features=settings.embed_features, layer_features=settings.layer_features)
        self.b4 = DiscriminatorEpilogue(settings, cmap_dim)
        if settings.num_people:  # last, so that everything before draws the same initial values with and without it
            self.classifier = IdentityClassifier(settings)

    def forward(self, img, c=None, force_fp32=False, *, batches=1):
        """Return logits [N, 1] for pictures img [N, img_channels, H, W] and labels c [N, c_dim].

        batches: img is so many batches of one size, one after the other, each with batch statistics of its own.
        """
        return self._realness(*self._trunk(img, c, force_fp32), c, batches)

    def judge(self, img, c=None, force_fp32=False, *, batches=1):
        """Return logits [N, 1] as forward does, and logits [N, num_people] of the identities, from one look."""
        if not self.settings.num_people:
            raise ValueError("this discriminator has no identity classifier; build it with num_people of 2 or more")
        x, img = self._trunk(img, c, force_fp32)
        return self._realness(x, img, c, batches), self.classifier(x)

    def _realness(self, x, img, c, batches):
        return self.b4(x, img, self.mapping(None, c) if self.c_dim else None, batches)

    def _trunk(self, img, c, force_fp32):
        """Return the activations that the epilogue and the classifier read, and what is left of the picture."""
        height, width = (side * self.img_resolution // 4 for side in self.settings.const_shape)
        if img.ndim != 4 or img.shape[1:] != (self.img_channels, height, width):
            raise ValueError(f"pictures of shape {list(img.shape)}; "
                             f"allowed: [N, {self.img_channels}, {height}, {width}]")
        if not self.c_dim and c is not None and c.numel():
            raise ValueError(f"label c of shape {list(c.shape)}, but this network knows no labels; leave c out")
        img, x = img.to(self.b4.out.weight.dtype), None
        for resolution in self.block_resolutions:
            x, img = getattr(self, f"b{resolution}")(x, img, force_fp32)
        return x, img
