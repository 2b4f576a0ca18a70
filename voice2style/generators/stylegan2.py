"""StyleGAN2's generator: z [N, Z] and a label -> codes ws [N, L, D] -> pictures [N, 3, H, W], nominally in [-1, 1].

Analyzing and Improving the Image Quality of StyleGAN (2019), with the names and shapes of the published checkpoints.
"""

import dataclasses
import math

import torch
from torch import nn

from torch_utils.ops import layer_tail, native
from torch_utils.ops.bias_act import ACTIVATIONS, bias_act
from torch_utils.ops.modulated_conv import EPSILON, modulated_conv2d
from torch_utils.ops.modulated_layer import modulated_layer
from torch_utils.ops.upfirdn2d import setup_filter, upsample2d
from voice2style.layers import (
    DEFAULT_FILTER,
    Dense,
    EqualizedConv2d,
    Mapping,
    block_dtype,
    check_table,
    first_half_resolution,
    laid_out,
    resolutions,
    scaled,
    split_gain,
)

NOISE_MODES = ("random", "const", "none")


def channel_table(resolution, channel_base=32768, channel_max=512):
    """Return the published widths (C_4, C_8, .., C_resolution), C_r = min(channel_base / r, channel_max)."""
    return tuple(min(channel_base // r, channel_max) for r in resolutions(resolution))


@dataclasses.dataclass(frozen=True)
class GeneratorSettings:
    """Everything that rebuilds a generator; plain JSON through dnnlib.settings.

    channels: one width per resolution 4, 8, .. img_resolution. w_avg_beta None: no running mean, no truncation.
    num_fp16_res: so many of the highest resolutions run in half precision on a GPU, and on a CPU too if fp16_on_cpu.
    scaled_demodulation: weights are divided by sqrt(fan in) before they are demodulated, as rosinality's program does;
    it only makes the epsilon there weigh more.
    const_shape: height and width where the picture starts; (4, 2) gives pictures of img_resolution x img_resolution/2.
    """

    img_resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    img_channels: int = 3
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    mapping_activation: str = "lrelu"
    embed_features: int | None = None
    layer_features: int | None = None
    w_avg_beta: float | None = 0.998
    architecture: str = "skip"
    activation: str = "lrelu"
    use_noise: bool = True
    resample_filter: tuple[float, ...] = DEFAULT_FILTER
    num_fp16_res: int = 0
    conv_clamp: float | None = None
    fp16_on_cpu: bool = False
    const_shape: tuple[int, int] = (4, 4)
    scaled_demodulation: bool = False

    def __post_init__(self):
        for name in ("channels", "resample_filter", "const_shape"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_table(self)

    @property
    def num_ws(self) -> int:
        """L, the number of style rows: two per resolution."""
        return 2 * len(self.channels)

    def grid_shape(self, resolution: int) -> tuple[int, int]:
        """Return height and width of the block called resolution."""
        return tuple(side * resolution // 4 for side in self.const_shape)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias and activation."""

    def __init__(self, settings, num_in, num_out, resolution, *, up=1):
        super().__init__()
        self.activation, self.conv_clamp, self.up = settings.activation, settings.conv_clamp, up
        self.shape = settings.grid_shape(resolution)
        self.affine = Dense(settings.w_dim, num_in, bias_init=1)
        self.weight = nn.Parameter(torch.randn(num_out, num_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.epsilon = EPSILON * self.weight[0].numel() if settings.scaled_demodulation else EPSILON
        self.register_buffer("resample_filter", setup_filter(settings.resample_filter if up > 1 else DEFAULT_FILTER))
        if settings.use_noise:
            self.register_buffer("noise_const", torch.randn(self.shape))
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(self, x, w, noise, gain=1.0):  # [N, I, H, W], [N, D] -> [N, O, H*up, W*up]
        if self.runs_native(x):
            return self.native(x, self.affine(w), noise, gain)
        early, late = split_gain(self.activation, gain)
        y = modulated_conv2d(x, self.weight, self.affine(w), noise.of(self, early), up=self.up, padding=1, gain=early,
                             resample_filter=self.resample_filter, flip_weight=self.up == 1, fused=self._fuse(x),
                             epsilon=self.epsilon)
        bias = self.bias if early == 1 else self.bias * early
        return bias_act(y, bias, act=self.activation, gain=late, clamp=scaled(self.conv_clamp, gain))

    def runs_native(self, x):
        """Return whether one pass over the convolution's result can do the rest of the layer."""
        in_vectors = layer_tail.usable(x, self.weight) and self.activation in layer_tail.STRAIGHT
        return in_vectors or native.usable(x, self.weight)

    def native(self, x, styles, noise, gain=1.0, *, modulated=False, next_styles=None):
        """Return the same by native ops, times next_styles; modulated: x is multiplied by the styles already."""
        pixels = noise.pixels(self)
        strength = None if pixels is None else self.noise_strength
        return modulated_layer(x, self.weight, styles, up=self.up, resample_filter=self.resample_filter, noise=pixels,
                               strength=strength, bias=self.bias, act=self.activation,
                               gain=ACTIVATIONS[self.activation].gain * gain, clamp=scaled(self.conv_clamp, gain),
                               epsilon=self.epsilon, modulated=modulated, next_styles=next_styles)

    def _fuse(self, x):
        """One picture without gradients: modulate whichever is smaller, the weights or the picture."""
        return len(x) == 1 and not torch.is_grad_enabled() and self.weight.numel() < x.numel()


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the picture's channels; neither demodulated nor activated."""

    def __init__(self, settings, num_in):
        super().__init__()
        self.conv_clamp, self.weight_gain = settings.conv_clamp, 1 / math.sqrt(num_in)
        self.affine = Dense(settings.w_dim, num_in, bias_init=1)
        self.weight = nn.Parameter(torch.randn(settings.img_channels, num_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(settings.img_channels))

    def forward(self, x, w):  # [N, C, H, W], [N, D] -> [N, img_channels, H, W]
        y = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(y, self.bias, clamp=self.conv_clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution; the first block holds the learned constant instead of an up-sampling layer."""

    def __init__(self, settings, resolution, num_in, num_out):
        super().__init__()
        self.architecture, self.fp16_on_cpu = settings.architecture, settings.fp16_on_cpu
        self.use_fp16 = resolution >= first_half_resolution(settings.img_resolution, settings.num_fp16_res)
        self.register_buffer("resample_filter", setup_filter(settings.resample_filter))
        if num_in == 0:
            self.const = nn.Parameter(torch.randn(num_out, *settings.const_shape))
        else:
            self.conv0 = SynthesisLayer(settings, num_in, num_out, resolution, up=2)
            if self.architecture == "resnet":
                self.skip = EqualizedConv2d(num_in, num_out, 1, bias=False, up=2,
                                            resample_filter=settings.resample_filter)
        self.conv1 = SynthesisLayer(settings, num_out, num_out, resolution)
        if self.architecture == "skip" or resolution == settings.img_resolution:
            self.torgb = ToRGB(settings, num_out)

    @property
    def compute_dtype(self):
        """The dtype of the weights."""
        return self.conv1.weight.dtype

    def forward(self, x, img, rows, noise, force_fp32):
        """Return the activations [N, C, H, W] and the picture so far; rows yields one w [N, D] per call of next."""
        first = next(rows)
        dtype = block_dtype(self, first, force_fp32)
        if x is None:
            x = self.const.to(dtype).expand(len(first), *self.const.shape)
            x = self.conv1(laid_out(x), first, noise)
        else:
            x = self._grow(laid_out(_at(x, dtype)), first, next(rows), noise)
        if img is not None:
            img = upsample2d(img, self.resample_filter)
        if hasattr(self, "torgb"):
            y = self.torgb(x, rows.peek())
            y = y.to(torch.promote_types(y.dtype, torch.float32))
            img = y if img is None else img + y
        return x, img

    def _grow(self, x, w0, w1, noise):
        if self.architecture != "resnet":
            return self._both(x, w0, w1, noise)
        return self.skip(x, gain=math.sqrt(0.5)) + self._both(x, w0, w1, noise, gain=math.sqrt(0.5))

    def _both(self, x, w0, w1, noise, gain=1.0):
        if not self.conv0.runs_native(x):
            return self.conv1(self.conv0(x, w0, noise), w1, noise, gain)
        styles = self.conv1.affine(w1)  # conv0 multiplies its result by them as it writes it
        x = self.conv0.native(x, self.conv0.affine(w0), noise, next_styles=styles)
        return self.conv1.native(x, styles, noise, gain, modulated=True)


def _at(x, dtype):
    """Return x in dtype, but leave 16-bit activations alone that autocast made."""
    return x if x.dtype == torch.bfloat16 and dtype == torch.float32 else x.to(dtype)


class Rows:
    """Hands out the rows of ws in order; a torgb peeks at the row that the next block's first layer will take."""

    def __init__(self, ws):
        self.rows, self.index = ws.unbind(dim=1), 0

    def __next__(self):
        self.index += 1
        return self.rows[self.index - 1]

    def peek(self):
        """Return the next row without taking it."""
        return self.rows[self.index]


class Noise:
    """Noise of one synthesis run, layer by layer."""

    def __init__(self, mode, ws, shapes, generator):
        self.mode, self.batch, self.dtype, self.device = mode, len(ws), ws.dtype, ws.device
        self.drawn = None
        if mode == "random" and generator is not None and len(ws):  # sample n gets the same numbers whatever the batch
            sizes = [height * width for height, width in shapes]
            if isinstance(generator, (list, tuple)):
                distinct = {id(g): g for g in generator}
                drawn = {key: torch.randn(sum(sizes), generator=g, device=g.device) for key, g in distinct.items()}
                rows = [drawn[id(g)] for g in generator]
            else:
                rows = [torch.randn(sum(sizes), generator=generator, device=generator.device) for _ in ws]
            self.drawn = iter(torch.stack(rows).to(ws).split(sizes, dim=1))

    def of(self, layer, gain):
        """Return the noise of a layer times its strength and gain: [H, W], [N, 1, H, W] or None."""
        pixels = self.pixels(layer)
        return None if pixels is None else pixels * (layer.noise_strength * gain)

    def pixels(self, layer):
        """Return the noise of a layer as it is drawn: [H, W], [N, 1, H, W] or None."""
        if self.mode == "none" or not hasattr(layer, "noise_strength"):
            return None
        if self.mode == "const":
            return layer.noise_const
        shape = (self.batch, 1, *layer.shape)
        if self.drawn is not None:
            return next(self.drawn).reshape(shape)
        return torch.randn(shape, dtype=self.dtype, device=self.device)


class Synthesis(nn.Module):
    """Codes to pictures: blocks b4, b8, .. of twice the size each."""

    def __init__(self, settings):
        super().__init__()
        self.num_ws, self.w_dim = settings.num_ws, settings.w_dim
        self.block_resolutions = resolutions(settings.img_resolution)
        num_in = 0
        for resolution, num_out in zip(self.block_resolutions, settings.channels, strict=True):
            self.add_module(f"b{resolution}", SynthesisBlock(settings, resolution, num_in, num_out))
            num_in = num_out

    def forward(self, ws, noise_mode="random", force_fp32=False, generator=None):
        """Return pictures [N, img_channels, H, W] for codes ws [N, L, D].

        noise_mode: fresh noise, the stored noise, or none. generator: draws the fresh noise; a picture's noise is then
        the same whatever comes behind it in the batch. A list has one for each picture; a generator that stands in it
        twice gives two pictures the same noise. force_fp32: no half precision.
        """
        if ws.ndim != 3 or ws.shape[1] != self.num_ws or ws.shape[2] != self.w_dim:
            raise ValueError(f"codes ws of shape {list(ws.shape)}; allowed: [N, {self.num_ws}, {self.w_dim}]")
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is {noise_mode!r}; allowed: {', '.join(NOISE_MODES)}")
        rows = Rows(ws.to(self.b4.compute_dtype))
        noise = Noise(noise_mode, rows.rows[0], self._noise_shapes(), generator)
        x = img = None
        for resolution in self.block_resolutions:
            x, img = getattr(self, f"b{resolution}")(x, img, rows, noise, force_fp32)
        return img

    def _noise_shapes(self):
        return [layer.shape for layer in self.modules() if hasattr(layer, "noise_strength")]


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        self.z_dim, self.c_dim, self.w_dim = settings.z_dim, settings.c_dim, settings.w_dim
        self.img_resolution, self.img_channels = settings.img_resolution, settings.img_channels
        self.num_ws = settings.num_ws
        self.synthesis = Synthesis(settings)
        self.mapping = Mapping(
            settings.z_dim, settings.c_dim, settings.w_dim, num_ws=settings.num_ws, num_layers=settings.mapping_layers,
            lr_multiplier=settings.mapping_lr_multiplier, activation=settings.mapping_activation,
            embed_features=settings.embed_features, layer_features=settings.layer_features,
            w_avg_beta=settings.w_avg_beta)

    def forward(self, z, c=None, truncation_psi=1.0, truncation_cutoff=None, noise_mode="random", force_fp32=False,
                generator=None):
        """Return pictures [N, img_channels, H, W] for latents z [N, z_dim] and labels c [N, c_dim]."""
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode, force_fp32=force_fp32, generator=generator)
