"""A StyleGAN2 synthesis network frozen for drawing: same codes in, same pictures out, constants folded, layouts chosen.

Measured in docs/performance.md. Nothing here carries gradients; the weights are those at the time of freezing.
"""

import math

import torch
from torch.nn import functional as F

from torch_utils.ops import autocast_off, build, tiled_conv
from torch_utils.ops.bias_act import ACTIVATIONS, bias_act
from torch_utils.ops.upfirdn2d import filter_size, upfirdn2d, upsample2d
from torch_utils.ops.winograd import TILE, conv3x3, transform_weight
from voice2style.generators.plan_styles import PlanStyles, reader_of
from voice2style.generators.stylegan2 import NOISE_MODES, Noise
from voice2style.layers import scaled, split_gain

PRECISIONS = ("fp32", "bf16", "fp16")
_FULL_PRECISION_UP_TO = 4  # pixels: the first block is cheap
_AT_ONCE = 1 << 24  # activations of a layer; a batch with more goes on in pieces, in less memory
_WEIGHTS_PER_ACTIVATION = 4  # modulating one weight costs about as much as scaling four activations
_WINOGRAD_CHANNELS, _WINOGRAD_SIDE = 128, 32  # fewer channels or pixels: the direct convolution is faster
_IN_LINES = 1 << 24  # float32 activations of a layer (bfloat16: half): from there on its block is drawn line by line
_WORTH_A_BUILD = 5e9  # floating-point operations a picture; below, some seconds of a compiler do not come back


class FastSynthesis:
    """Pictures [N, C, H, W] float32 for codes ws [N, L, D], equal to `synthesis(ws, force_fp32=True)`.

    precision fp32: to rounding, 1e-4 of the picture's range. bf16: blocks above 4² compute in bfloat16; deviations
    have the size of one step of an 8-bit picture. fp16: the blocks that the network itself runs in float16 on a GPU do
    so. The network must hold float32 weights (ValueError).
    """

    def __init__(self, synthesis, *, precision="fp32"):
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
        if synthesis.b4.compute_dtype != torch.float32:
            raise ValueError(f"a fast plan is made of float32 weights, but these are {synthesis.b4.compute_dtype}")
        self.precision, self.num_ws, self.w_dim = precision, synthesis.num_ws, synthesis.w_dim
        self._noise_shapes = synthesis._noise_shapes()
        tiles = precision != "fp16" and _worth_tiles(synthesis)
        row, layers, parts, self.blocks = 0, 0, 0, []  # counted over the blocks
        with torch.no_grad():
            for resolution in synthesis.block_resolutions:
                block = getattr(synthesis, f"b{resolution}")
                block = _Block(block, row, _dtype_of(block, resolution, precision), tiles)
                block.number, layers, parts = (layers, parts), layers + len(block.layers), parts + len(block.parts())
                row += block.num_rows
                self.blocks.append(block)
            self._styles = PlanStyles([part.reader() for block in self.blocks for part in block.parts()])
        self.blocks[-1].last = True

    @torch.no_grad()
    def __call__(self, ws, noise_mode="random", force_fp32=False, generator=None):
        """Return pictures; arguments as `Synthesis.forward` has them, force_fp32 is met by precision fp32 alone.

        The precision is the plan's own, whatever autocast says.
        """
        if ws.ndim != 3 or ws.shape[1] != self.num_ws or ws.shape[2] != self.w_dim:
            raise ValueError(f"codes ws of shape {list(ws.shape)}; allowed: [N, {self.num_ws}, {self.w_dim}]")
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is {noise_mode!r}; allowed: {', '.join(NOISE_MODES)}")
        if force_fp32 and self.precision != "fp32":
            raise ValueError(f"force_fp32 with a plan of precision {self.precision}; freeze the network in fp32")
        with autocast_off(ws):
            return self._draw(ws.float(), noise_mode, generator)

    def _draw(self, ws, noise_mode, generator):
        styles, noise = self._styles(ws), Noise(noise_mode, ws[:, 0], self._noise_shapes, generator)
        noises = [layer.noise(noise) for block in self.blocks for layer in block.layers]
        return self._draw_blocks(0, self.blocks[0].const.expand(len(ws), -1, -1, -1), None, styles, noises)

    def _draw_blocks(self, first, x, img, styles, noises):
        """Returns pictures from block number `first` on; styles, noises: of all layers of these samples."""
        for number, block in enumerate(self.blocks[first:], first):
            at_once = max(1, _AT_ONCE // block.size)
            if len(x) > at_once:
                pieces = [slice(start, start + at_once) for start in range(0, len(x), at_once)]
                return torch.cat([self._draw_blocks(number, x[piece], None if img is None else img[piece],
                                                    [each.of(piece) for each in styles],
                                                    [_noise_of(each, piece) for each in noises]) for piece in pieces])
            x, img = block(x, img, styles, noises)
        return img.contiguous()


def _noise_of(noise, samples):
    return noise if noise is None or noise.ndim == 2 else noise[samples]


def _dtype_of(block, resolution, precision):
    """Return the dtype that a block computes in."""
    if precision == "fp16":
        return torch.float16 if block.use_fp16 else torch.float32
    return torch.bfloat16 if precision == "bf16" and resolution > _FULL_PRECISION_UP_TO else torch.float32


class _Block:
    """All layers of one resolution."""

    def __init__(self, block, row, dtype, tiles):
        self.dtype, self.resnet, self.last = dtype, block.architecture == "resnet", False
        self.filter = block.resample_filter
        self.const = self.skip = self.torgb = None
        if hasattr(block, "const"):
            self.const, self.layers = block.const.detach().clone()[None], [_Layer(block.conv1, dtype, row, tiles)]
        else:
            gain = math.sqrt(0.5) if self.resnet else 1.0
            self.layers = [_Layer(block.conv0, dtype, row, tiles),
                           _Layer(block.conv1, dtype, row + 1, tiles, gain)]
            if self.resnet:
                self.skip = _laid((block.skip.weight * (block.skip.weight_gain * gain)).to(dtype))
        self.num_rows = len(self.layers)
        if hasattr(block, "torgb"):
            self.torgb = _ToRGB(block.torgb, row + self.num_rows, self.filter, tiles)
        self.size = block.conv1.weight.shape[0] * math.prod(block.conv1.shape)
        tiled = len(self.layers) == 2 and all(layer.tiled for layer in self.layers)
        tiled = tiled and self.torgb is not None and self.torgb.tiles and not self.resnet
        self.in_lines = tiled and self.size >= (_IN_LINES if dtype == torch.float32 else _IN_LINES // 2)

    def parts(self):
        """Return what reads a code, in the order of drawing."""
        return self.layers if self.torgb is None else [*self.layers, self.torgb]

    def __call__(self, x, img, styles, noises):  # styles, noises: of all layers of the network
        noises, styles = (iter(each[first:]) for each, first in zip((noises, styles), self.number))
        x = _laid(x.to(self.dtype))
        if self.in_lines:
            around = [(layer.tiled, layer.around(next(styles), next(noises))) for layer in self.layers]
            return tiled_conv.draw_block(x, *around, self.torgb.around(next(styles), img), keep=not self.last)
        y = None if self.skip is None else upsample2d(F.conv2d(x, self.skip), self.filter)
        for layer in self.layers:
            x = layer(x, next(styles), next(noises))
        x = x if y is None else y.add_(x)
        if self.torgb is not None:
            return x, self.torgb(x, next(styles), img)
        return x, None if img is None else upsample2d(img, self.filter)


class _Layer:
    """Modulated 3x3 convolution, noise, bias and activation, in the cheapest form.

    "tiled": all of it in one pass of the vector kernels, where they are built and suit. "w": the weights of the one
    sample are modulated and demodulated. "x": the activations are scaled before and behind a convolution with the
    shared weights, which for many channels in float32 is Winograd's.
    """

    def __init__(self, layer, dtype, row, tiles, gain=1.0):
        self.source, self.dtype, self.row, self.up = layer, dtype, row, layer.up > 1
        self.activation, self.clamp = layer.activation, scaled(layer.conv_clamp, gain)
        self.early, self.late = split_gain(layer.activation, gain)
        self.bias = layer.bias.detach() * self.early
        self.tiled, self.taps = _tiled(layer, dtype) if tiles else (None, None)
        self.noise_const = None
        if hasattr(layer, "noise_strength"):
            self.noise_const = layer.noise_const.detach() * (layer.noise_strength * self.early)
        if not self.tiled:
            self._choose(layer)

    def reader(self):
        """Return what this layer reads from its code."""
        return reader_of(self.source.affine, self.row, squares=self._weight().square().sum([2, 3]).t(),
                         epsilon=self.source.epsilon, scale_gain=self.early, halves=self.dtype == torch.float16)

    def _weight(self):
        weight = self.source.weight.detach()
        if self.dtype == torch.float16:  # so that sums of products stay small; demodulation cancels the scale again
            weight = weight / (weight.abs().amax([1, 2, 3], keepdim=True) * math.sqrt(weight[0].numel()))
        return weight

    def _choose(self, layer):
        """Keep what the cheaper form in plain torch needs."""
        weight = self._weight()
        weight = _laid(weight.transpose(0, 1) if self.up else weight).clone()
        self.kernel = _correlation_kernel(layer.resample_filter)
        self.shared, self.winograd = weight.to(self.dtype), None
        if self.dtype == torch.float32 and _suits_winograd(layer):
            self.winograd, self.shared = transform_weight(layer.weight.detach()), None
        size = layer.weight.shape[0] * math.prod(layer.shape)
        self.modulates_weights = self.winograd is None and _WEIGHTS_PER_ACTIVATION * weight.numel() < size
        self.weight = weight if self.modulates_weights else None  # float32, of which bfloat16 ones are made each time

    def noise(self, source):
        """Return this layer's noise times its strength and gain, [H, W] or [N, 1, H, W], or None."""
        if self.noise_const is None or source.mode == "none":
            return None
        return self.noise_const if source.mode == "const" else source.of(self.source, self.early)

    def __call__(self, x, modulation, noise):  # [N, I, H, W] -> [N, O, H*up, W*up]
        if self.tiled:
            size = [side * 2 for side in x.shape[2:]] if self.up else x.shape[2:]
            return tiled_conv.convolve(x, self.tiled, size, **self.around(modulation, noise)._asdict())
        noise = None if noise is None else noise.to(self.dtype)
        y = self._one(x, *modulation, noise) if len(x) == 1 else self._many(x, *modulation, noise)
        return bias_act(y, act=self.activation, gain=self.late, clamp=self.clamp, overwrite=True)

    def around(self, modulation, noise):
        """Return what surrounds the convolution of a tiled layer."""
        return tiled_conv.After(self.taps, *modulation, self.bias, noise, _slope(self.activation), self.clamp)

    def _one(self, x, styles, scale, noise):
        """One sample: everything that is constant over the picture goes into weights and biases."""
        if self.modulates_weights:
            weight = self.weight * styles.reshape(-1, 1, 1, 1) if self.up else self.weight * styles.reshape(1, -1, 1, 1)
            if not self.up:
                weight = weight * scale.reshape(-1, 1, 1, 1)
            weight = weight.to(self.dtype)
        else:
            x, weight = x * styles.to(self.dtype)[:, :, None, None], self.shared
        bias = self.bias.to(self.dtype)
        if self.up:
            y = self._filter(F.conv_transpose2d(x, weight, stride=2), scale, bias)
        elif self.modulates_weights:
            y = F.conv2d(x, weight, bias, padding=1)
        else:
            rest = bias[:, None, None] if noise is None else bias[:, None, None] + noise
            y = self._convolve(x)
            return torch.addcmul(rest, y, scale.to(self.dtype)[:, :, None, None], out=y)
        return y if noise is None else y.add_(noise)

    def _many(self, x, styles, scale, noise):
        x = x * styles.to(self.dtype)[:, :, None, None]
        if self.up:
            y = self._filter(F.conv_transpose2d(x, self.shared, stride=2))
        else:
            y = self._convolve(x)
        rest = self.bias.to(self.dtype)[:, None, None]
        rest = rest if noise is None else rest + noise
        return torch.addcmul(rest, y, scale.to(self.dtype)[:, :, None, None], out=y)

    def _convolve(self, x):
        return F.conv2d(x, self.shared, padding=1) if self.winograd is None else conv3x3(x, self.winograd)

    def _filter(self, y, scale=None, bias=None):
        """Return y, 2 H + 1 wide, through the low-pass, 2 H wide, each channel times its scale, plus its bias."""
        channels, sides = y.shape[1], self.kernel.shape
        if len(sides) == 2 and sides[0] % 2 == sides[1] % 2 == 0:  # scale and bias cost nothing in this form
            weight = self.kernel.expand(channels, 1, *sides)
            weight = weight if scale is None else weight * scale.reshape(-1, 1, 1, 1)
            padding = (sides[0] // 2 - 1, sides[1] // 2 - 1)
            return F.conv2d(y, weight.to(y.dtype).contiguous(), bias, padding=padding, groups=channels)
        fw, fh = filter_size(self.kernel)
        pad = ((fw + 1) // 2 - 1, (fw - 2) // 2, (fh + 1) // 2 - 1, (fh - 2) // 2)
        y = upfirdn2d(y, self.kernel, padding=pad, flip_filter=True)
        if scale is None:
            return y
        return torch.addcmul(bias[:, None, None], y, scale.to(y.dtype)[:, :, None, None])


class _ToRGB:
    """Modulated 1x1 convolution to the picture's channels, in float32 from there on, on top of the smaller picture."""

    def __init__(self, layer, row, resample_filter, tiles):
        self.source, self.row, self.clamp = layer, row, layer.conv_clamp
        self.weight, self.bias = layer.weight.detach().flatten(1).clone(), layer.bias.detach().clone()
        self.filter, self.taps = resample_filter, _separate(_correlation_kernel(resample_filter))
        self.tiles = tiles and self.taps is not None and self.weight.shape[1] % tiled_conv.lanes() == 0

    def reader(self):
        """Return what this layer reads from its code."""
        return reader_of(self.source.affine, self.row, gain=self.source.weight_gain)

    def __call__(self, x, modulation, smaller):  # [N, C, H, W], None or [N, K, H/2, W/2] -> [N, K, H, W] float32
        around = self.around(modulation, smaller)
        if self.tiles:
            return tiled_conv.to_rgb(x, *around)
        weight = around[0].to(x.dtype)
        if len(x) == 1:
            y = F.conv2d(x, weight[0, :, :, None, None]).float()
        else:
            y = (x.permute(0, 2, 3, 1).flatten(1, 2) @ weight.transpose(1, 2)).float()
            y = y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        y.add_(self.bias[:, None, None])
        y = y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)
        return y if smaller is None else upsample2d(smaller, self.filter).add_(y)

    def around(self, modulation, smaller):
        """Return the arguments of tiled_conv.to_rgb; its weight is [N, K, C]."""
        return self.weight * modulation.styles[:, None], self.bias, smaller, self.taps, self.clamp


def _suits_winograd(layer):
    """Return whether Winograd's convolution is the faster one, by the sizes measured in benchmarks/NOTES.md."""
    sides, channels = layer.shape, min(layer.weight.shape[:2])
    whole = all(side % TILE == 0 for side in sides) and layer.weight.device.type == "cpu"
    return whole and channels >= _WINOGRAD_CHANNELS and math.prod(sides) >= _WINOGRAD_SIDE**2 and layer.up == 1


def _worth_tiles(synthesis):
    """Return whether the vector kernels are there, after building them where a network has work enough for it."""
    layers = [getattr(synthesis, f"b{side}").conv1 for side in synthesis.block_resolutions]
    work = sum(2 * layer.weight.numel() * math.prod(layer.shape) for layer in layers)
    on_processor = layers[0].weight.device.type == "cpu"
    return on_processor and (build.library if work >= _WORTH_A_BUILD else build.built)("simd") is not None


def _tiled(layer, dtype):
    """Return a layer's (TiledWeight, taps of its low-pass or None), or (None, None) where plain torch is faster."""
    taps = None
    if _slope(layer.activation) is None:
        return None, None
    if layer.up > 1 and (taps := _separate(_correlation_kernel(layer.resample_filter))) is None:
        return None, None
    weight, bf16 = layer.weight.detach(), dtype == torch.bfloat16
    if layer.up == 1:
        return tiled_conv.weight_for(weight, "same", side=min(layer.shape), bf16=bf16), None
    return tiled_conv.weight_for(weight.transpose(0, 1), "up", adjoint=True, side=min(layer.shape), bf16=bf16), taps


def _slope(activation):
    """Return the slope of a rectifier for negative numbers, or None for other activations."""
    return {"linear": 1.0, "relu": 0.0, "lrelu": ACTIVATIONS["lrelu"].alpha}.get(activation)


def _separate(kernel):
    """Return taps [4] whose outer product with themselves is the kernel, or None."""
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        return None
    taps = kernel.sum(0) / kernel.sum().clamp(min=1e-12).sqrt()
    return taps if len(taps) == 4 and torch.allclose(taps[:, None] * taps, kernel, atol=1e-6) else None


def _correlation_kernel(taps):
    """Return the low-pass as the library takes it (turned around), times the 4 that makes up for inserted zeros."""
    return taps.flip(tuple(range(taps.ndim))) * (4 if taps.ndim == 2 else 2)


def _laid(x):
    return x.contiguous(memory_format=torch.channels_last)
