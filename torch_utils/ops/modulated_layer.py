"""A whole synthesis layer where native ops run: one convolution with shared weights, and one pass over its result."""

import torch

from torch_utils.ops.fused import fused_layer
from torch_utils.ops.modulated_conv import EPSILON, demodulation, tame
from torch_utils.ops.resample import conv2d_resample, conv_up
from torch_utils.ops.upfirdn2d import filter_size, up_padding


def modulated_layer(x, weight, styles, *, up=1, resample_filter=None, noise=None, strength=None, bias=None,
                    act="lrelu", gain=None, clamp=None, epsilon=EPSILON, modulated=False, next_styles=None):
    """Return bias_act(modulated_conv2d(x, weight, styles, noise * strength, up), bias), times next_styles.

    x: [N, I, H, W]; weight: [O, I, k, k], k odd; styles: [N, I]; next_styles: [N, O], those of the layer that the
    result goes into, which is then told that x is modulated already. The picture keeps its size but for up; with up 1
    weights correlate, with up > 1 they convolve, as in the published networks. Equal to the steps one by one up to
    rounding; differentiable as fused_layer.
    """
    if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"modulated_layer: weight of shape {list(weight.shape)} for pictures {list(x.shape)}; "
                         "allowed: [O, I, k, k] with an odd k")
    if x.dtype == torch.float16:  # scales that cannot overflow; demodulation cancels them
        weight, styles = tame(weight, styles)
        next_styles = None if next_styles is None else next_styles / next_styles.abs().amax(1, keepdim=True)
    if not modulated:
        x = fused_layer(x, scale=styles, act="linear")
    kernel, f, padding, filter_gain = weight.to(x.dtype), None, 0, 1.0
    if up == 1:
        y = conv2d_resample(x, kernel, padding=weight.shape[2] // 2)
    else:
        y, f, filter_gain = conv_up(x, kernel, up, 1, False), resample_filter, float(up**2)
        padding = _rest(weight.shape[2], filter_size(f), up)
    return fused_layer(y, f, padding=padding, filter_gain=filter_gain, scale=demodulation(weight, styles, epsilon),
                       noise=noise, strength=strength, bias=bias, act=act, gain=gain, clamp=clamp,
                       next_scale=next_styles)


def _rest(size, taps, up):
    """The padding of the filter behind a transposed convolution with size x size weights that gives H*up, W*up."""
    pads = []
    for length in taps:
        before, after = (size // 2 + pad for pad in up_padding(length, up))
        pads += [before - size + 1, after - size + up]
    return tuple(pads)
