"""StyleGAN2 computed as it was published, restated in plain torch: the opponent that every ratio is taken against.

Weights of every sample are modulated and demodulated, then one grouped convolution runs; up-sampling is a transposed
convolution, padding, and a depthwise 4x4 filter; noise, bias, activation, gain and clamp are passes of their own; all
in the contiguous layout. For training the published programs modulate the activations instead ("activations"); both
forms are here. The numbers are those of our networks: a wrapper uses the weights of the network it is given.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def fir(x, kernel, *, up=1, down=1, pad=(0, 0, 0, 0), gain=1.0):
    """Returns x with inserted zeros, padded or cropped, filtered channel by channel, and thinned: one pass each."""
    n, c, h, w = x.shape
    kernel = torch.outer(kernel, kernel) if kernel.ndim == 1 else kernel
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    if any(pad):
        x = F.pad(x, pad)
    kernel = (kernel * gain).flip(0, 1).to(x.dtype)
    x = F.conv2d(x, kernel[None, None].repeat(c, 1, 1, 1), groups=c)
    return x[:, :, ::down, ::down] if down > 1 else x


def around(kernel, *, up=1, down=1, extra=0):
    """Returns the pads (x0, x1, y0, y1) with which a filter of any length keeps size * up / down, and extra ones."""
    taps = kernel.shape[0]
    before, after = ((taps + up - 1) // 2, (taps - up) // 2) if up > 1 else ((taps - down + 1) // 2, (taps - down) // 2)
    return (before + extra, after + extra) * 2


def _enlarge(x, kernel):
    return fir(x, kernel, up=2, pad=around(kernel, up=2), gain=4)


def _reduce(x, kernel):
    return fir(x, kernel, down=2, pad=around(kernel, down=2))


def _behind(kernel):
    """The pads behind a transposed 3x3 convolution, whose result has one row and column too many."""
    before, after, *_ = around(kernel, up=2)
    return (before - 1, after) * 2


ACTIVATIONS = {"lrelu": lambda x: F.leaky_relu(x, 0.2), "relu": F.relu, "swish": lambda x: x * torch.sigmoid(x)}


def activate(x, bias=None, *, act="lrelu", gain=1.0, clamp=None):
    """Returns the tail of a layer, step by step: bias, activation, gain, clamp, which the layer's gain scales too."""
    limit = None if clamp is None else clamp * gain
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, 1, 1)
    if act != "linear":
        x, gain = ACTIVATIONS[act](x), gain * math.sqrt(2)
    if gain != 1:
        x = x * gain
    return x if limit is None else x.clamp(-limit, limit)


def modulated(x, weight, styles, *, noise=None, up=False, kernel=None, demodulate=True, grouped=True, eps=1e-8):
    """Returns each picture convolved with the weights of its own style."""
    n, _, h, w = x.shape
    # Contiguous as published; given channels-last weights, PyTorch 2.14's grouped convolution returns wrong gradients.
    x, weight = x.contiguous(), weight.contiguous()
    per_sample = weight[None] * styles[:, None, :, None, None]
    scale = (per_sample.square().sum([2, 3, 4]) + eps).rsqrt() if demodulate else None
    pad = weight.shape[2] // 2
    if not grouped:
        x = x * styles.to(x.dtype)[:, :, None, None]
        x = F.conv_transpose2d(x, weight.transpose(0, 1).to(x.dtype), stride=2) if up else F.conv2d(
            x, weight.to(x.dtype), padding=pad)
    else:
        if demodulate:
            per_sample = per_sample * scale[:, :, None, None, None]
        x = x.reshape(1, -1, h, w)
        if up:
            per_sample = per_sample.transpose(1, 2).flatten(0, 1).to(x.dtype)
            x = F.conv_transpose2d(x, per_sample, stride=2, groups=n)
        else:
            x = F.conv2d(x, per_sample.flatten(0, 1).to(x.dtype), padding=pad, groups=n)
        x = x.reshape(n, -1, *x.shape[2:])
    if up:
        x = fir(x, kernel, pad=_behind(kernel), gain=4)
    if not grouped and demodulate:
        x = x * scale.to(x.dtype)[:, :, None, None]
    return x if noise is None else x + noise.to(x.dtype)


class PublishedSynthesis(nn.Module):
    """A synthesis network's weights, run by the published recipe (every architecture and filter)."""

    def __init__(self, synthesis, *, grouped=True):
        super().__init__()
        self.inner, self.grouped = synthesis, grouped
        self.num_ws = synthesis.num_ws

    def forward(self, ws, noise_mode="const", generator=None):  # [N, L, D] -> [N, C, H, W]
        x = img = None
        row = 0
        for resolution in self.inner.block_resolutions:
            block = getattr(self.inner, f"b{resolution}")
            residual = None
            if x is None:
                x = block.const[None].repeat(len(ws), 1, 1, 1)
            else:
                if block.architecture == "resnet":
                    residual = F.conv2d(x, block.skip.weight * block.skip.weight_gain)
                    residual = _enlarge(residual, block.resample_filter) * math.sqrt(0.5)
                x = self._layer(block.conv0, x, ws[:, row], noise_mode, generator, up=True)
                row += 1
            gain = math.sqrt(0.5) if residual is not None else 1.0
            x = self._layer(block.conv1, x, ws[:, row], noise_mode, generator, gain=gain)
            x = x if residual is None else residual + x
            row += 1
            if img is not None:
                img = _enlarge(img, block.resample_filter)
            if hasattr(block, "torgb"):
                layer = block.torgb
                styles = layer.affine(ws[:, row]) * layer.weight_gain
                y = modulated(x, layer.weight, styles, demodulate=False, grouped=self.grouped)
                y = activate(y, layer.bias, act="linear", clamp=layer.conv_clamp)
                img = y if img is None else img + y
        return img

    def _layer(self, layer, x, w, noise_mode, generator, *, up=False, gain=1.0):
        noise = None
        if noise_mode == "const" and hasattr(layer, "noise_const"):
            noise = layer.noise_const * layer.noise_strength
        elif noise_mode == "random" and hasattr(layer, "noise_const"):
            noise = torch.randn([len(x), 1, *layer.shape], generator=generator) * layer.noise_strength
        x = modulated(x, layer.weight, layer.affine(w), noise=noise, up=up, kernel=layer.resample_filter,
                      grouped=self.grouped, eps=layer.epsilon)
        return activate(x, layer.bias, act=layer.activation, gain=gain, clamp=layer.conv_clamp)


class PublishedGenerator(nn.Module):
    """Our generator's mapping, and its synthesis by the published recipe."""

    def __init__(self, generator, *, grouped=True):
        super().__init__()
        self.mapping, self.synthesis = generator.mapping, PublishedSynthesis(generator.synthesis, grouped=grouped)


class PublishedDiscriminator(nn.Module):
    """A discriminator's weights (architectures resnet, skip and orig), run by the published recipe."""

    def __init__(self, discriminator):
        super().__init__()
        self.inner = discriminator

    def forward(self, img, c=None):  # [N, C, H, W], [N, c_dim] -> [N, 1]
        x = None
        for resolution in self.inner.block_resolutions:
            block = getattr(self.inner, f"b{resolution}")
            if hasattr(block, "fromrgb"):
                y = self._conv(block.fromrgb, img)
                x = y if x is None else x + y
                thinned = block.architecture == "skip"
                img = _reduce(img, block.resample_filter) if thinned else None
            residual, gain = 0, 1.0
            if block.architecture == "resnet":
                residual, gain = _reduce(x, block.resample_filter), math.sqrt(0.5)
                residual = F.conv2d(residual, (block.skip.weight * block.skip.weight_gain).to(x.dtype)) * gain
            x = self._conv(block.conv0, x)
            x = residual + self._conv(block.conv1, x, down=True, gain=gain)
        return self.inner.b4(x, img, self.inner.mapping(None, c) if self.inner.c_dim else None)

    def _conv(self, layer, x, *, down=False, gain=1.0):
        weight = (layer.weight * layer.weight_gain).to(x.dtype)
        if down:
            kernel = layer.resample_filter
            x = F.conv2d(fir(x, kernel, pad=around(kernel, down=2, extra=1)), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=layer.padding)
        return activate(x, layer.bias, act=layer.activation, gain=gain, clamp=layer.conv_clamp)
