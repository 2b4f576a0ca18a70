"""The tail of a synthesis layer in one pass: filter, demodulation, noise, bias, activation, clamp, next modulation."""

from typing import NamedTuple

from torch_utils.ops.bias_act import ACTIVATIONS, bias_act, check_activation
from torch_utils.ops.upfirdn2d import check_input, pad4, upfirdn2d


class Tail(NamedTuple):
    """The numbers of one call that are no tensors; alpha and gain are filled in, clamp None is no clamping."""

    padding: tuple[int, int, int, int]
    flip_filter: bool
    filter_gain: float
    act: str
    alpha: float
    gain: float
    clamp: float | None


def fused_layer(x, f=None, *, padding=0, flip_filter=False, filter_gain=1.0, scale=None, noise=None, strength=None,
                bias=None, act="lrelu", alpha=None, gain=None, clamp=None, next_scale=None):
    """Return next_scale * clamp(gain * act(scale * fir(x) + strength * noise + bias)), [N, C, H', W'] in x's dtype.

    x: [N, C, H, W], what the convolution gave. f, padding, flip_filter, filter_gain: as upfirdn2d; f None and padding 0
    leave the picture as it is. scale, next_scale: [N, C], the demodulation of this layer and the styles of the next.
    noise: [H', W'] or [N, 1, H', W']; strength: one number as a tensor, None is 1. bias: [C]. act, alpha, gain, clamp:
    as bias_act. The small tensors may be float32 beside 16-bit pictures. None leaves a step out. Differentiable in all
    tensors but f, twice and more.
    """
    check_activation(act)
    if clamp is not None and clamp < 0:
        raise ValueError(f"fused_layer: clamp is {clamp}; allowed: None (off) or a limit >= 0")
    spec = ACTIVATIONS[act]
    tail = Tail(pad4(padding), flip_filter, float(filter_gain), act, spec.alpha if alpha is None else float(alpha),
                spec.gain if gain is None else float(gain), None if clamp is None else float(clamp))
    _check(x, f, tail.padding, scale, noise, strength, bias, next_scale)
    return fused_layer_reference(x, f, scale, noise, strength, bias, next_scale, tail)


def fused_layer_reference(x, f, scale, noise, strength, bias, next_scale, tail):
    """Return what fused_layer promises, step after step: the definition, and what runs where nothing native does."""
    if f is not None or any(tail.padding) or tail.filter_gain != 1:
        x = upfirdn2d(x, f, padding=tail.padding, flip_filter=tail.flip_filter, gain=tail.filter_gain)
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    if noise is not None:
        x = x + (noise if strength is None else noise * strength).to(x.dtype)
    x = bias_act(x, bias, act=tail.act, alpha=tail.alpha, gain=tail.gain, clamp=tail.clamp)
    return x if next_scale is None else x * next_scale.to(x.dtype)[:, :, None, None]


def _check(x, f, padding, scale, noise, strength, bias, next_scale):
    height, width = _out_size(check_input(x, f), x, padding)
    n, channels = x.shape[:2]
    for name, value, allowed in (("scale", scale, [[n, channels]]), ("next_scale", next_scale, [[n, channels]]),
                                 ("bias", bias, [[channels]]), ("strength", strength, [[], [1]]),
                                 ("noise", noise, [[height, width], [n, 1, height, width], [1, 1, height, width]])):
        if value is not None and list(value.shape) not in allowed:
            raise ValueError(f"fused_layer: {name} of shape {list(value.shape)}; allowed for pictures {list(x.shape)}: "
                             f"{' or '.join(map(str, allowed))}")
    if strength is not None and noise is None:
        raise ValueError("fused_layer: a strength without a noise; give both, or the noise alone")


def _out_size(f, x, padding):  # -> (H', W'); upfirdn2d refuses what is not positive
    x0, x1, y0, y1 = padding
    return x.shape[2] + y0 + y1 - f.shape[0] + 1, x.shape[3] + x0 + x1 - f.shape[-1] + 1
