"""Convolution whose weights are scaled by each sample's style, and normalised again (weight demodulation)."""

import math

import torch

from torch_utils.ops import autocast_off
from torch_utils.ops.resample import conv2d_resample
from torch_utils.ops.thin_product import thin_product
from torch_utils.ops.upfirdn2d import is_channels_last

EPSILON = 1e-8


def modulated_conv2d(x, weight, styles, noise=None, up=1, down=1, padding=0, resample_filter=None, demodulate=True,
                     flip_weight=True, fused=False, *, gain=1.0, epsilon=EPSILON):
    """Return each picture x[n] [I, H, W] convolved with weight * styles[n], times gain, plus noise: [N, O, H', W'].

    weight: [O, I, kh, kw]; styles: [N, I]; noise: None or anything that broadcasts to the result, added after
    demodulation. demodulate: divide the weights of each output channel by their 2-norm. fused: build the weights of
    every sample and run one grouped convolution; otherwise (same numbers) scale the input by the styles, convolve with
    the shared weight, scale the output. epsilon: added to the squared norm. Analysing and Improving the Image Quality
    of StyleGAN, equations 1 and 3.
    """
    _check(x, weight, styles)
    if x.dtype == torch.float16 and demodulate:
        weight, styles = tame(weight, styles)
    resampling = {"f": resample_filter, "up": up, "down": down, "padding": padding, "flip_weight": flip_weight}
    if weight.shape[2:] == (1, 1) and up == down == 1 and padding == 0:
        return _add(_pointwise(x, _sample_weights(weight, styles, demodulate, gain, epsilon)), noise)
    if fused and len(x):
        n, w = x.shape[0], _sample_weights(weight, styles, demodulate, gain, epsilon).to(x.dtype)
        y = conv2d_resample(x.reshape(1, -1, *x.shape[2:]), w.flatten(0, 1), groups=n, **resampling)
        return _add(y.reshape(n, -1, *y.shape[2:]), noise)
    y = conv2d_resample(x * _per_channel(styles if demodulate else styles * gain, x), weight.to(x.dtype), **resampling)
    if not demodulate:
        return _add(y, noise)
    scale = _per_channel(demodulation(weight, styles, epsilon) * gain, y)
    return y * scale if noise is None else torch.addcmul(noise.to(y.dtype), y, scale)


def demodulation(weight, styles, epsilon=EPSILON):  # [O, I, kh, kw], [N, I] -> [N, O]
    """Return 1 / 2-norm of the modulated weights of each sample and output channel."""
    with autocast_off(weight):
        return (styles.square() @ weight.square().sum([2, 3]).t() + epsilon).rsqrt()


def _sample_weights(weight, styles, demodulate, gain, epsilon):  # -> [N, O, I, kh, kw]
    w = weight[None] * (styles if demodulate else styles * gain)[:, None, :, None, None]
    return w * (demodulation(weight, styles, epsilon) * gain)[:, :, None, None, None] if demodulate else w


def _pointwise(x, w):  # [N, I, H, W], [N, O, I, 1, 1] -> [N, O, H, W]
    """A 1x1 convolution with weights of its own for every sample is one batched matrix product."""
    w = w.flatten(2)
    if is_channels_last(x):
        return thin_product(x, w)
    return (w.to(x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:])


def tame(weight, styles):
    """Return weight and styles scaled so that half precision cannot overflow; demodulation cancels the scales."""
    fan_in = weight[0].numel()
    weight = weight / (weight.abs().amax([1, 2, 3], keepdim=True) * math.sqrt(fan_in))
    return weight, styles / styles.abs().amax(1, keepdim=True)


def _per_channel(values, x):  # [N, C] -> [N, C, 1, 1] in x's dtype
    return values.to(x.dtype)[:, :, None, None]


def _add(y, noise):
    return y if noise is None else y + noise.to(y.dtype)


def _check(x, weight, styles):
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"pictures of shape {list(x.shape)} with weight {list(weight.shape)}; "
                         f"allowed: [N, I, H, W] with [O, I, kh, kw]")
    if list(styles.shape) != list(x.shape[:2]):
        raise ValueError(f"styles of shape {list(styles.shape)}; allowed: {list(x.shape[:2])}, one number for every "
                         f"sample and input channel of {list(x.shape)}")
