"""Convolution with FIR up- or down-sampling around it."""

from torch.nn import functional as F

from torch_utils.ops.bent_filter import bent_filter
from torch_utils.ops.convolution import conv2d, conv_transpose2d
from torch_utils.ops.upfirdn2d import check_input, down_padding, filter_size, pad4, up_padding, upfirdn2d


def conv2d_resample(x, w, f=None, up=1, down=1, padding=0, groups=1, flip_weight=True, flip_filter=False, *, bias=None,
                    before=None):
    """Return x [N, I, H, W] enlarged by up, convolved with w [O, I/groups, kh, kw], reduced by down.

    padding counts pixels of the enlarged picture. flip_weight True correlates (what torch calls convolution), False
    convolves in the mathematical sense. f: low-pass from setup_filter, used on the way up and on the way down. bias [O]
    is added at the end. before: (bias, act, gain) of the layer whose bias and activation x still lacks (bias_act), with
    up 1, down > 1 and weights larger than 1x1; the low-pass then does both in one pass. Equal to
    conv2d_resample_definition, by the cheapest order of steps. Differentiable in x, w and bias to any order.
    """
    pad = _check(x, w, f, up, down, padding, groups)
    kh, kw = w.shape[2:]
    if up == 1:
        pointwise = kh == kw == 1
        if before is not None:
            x = bent_filter(x, f, before[0], padding=pad, act=before[1], gain=before[2])
            pad = (0, 0, 0, 0)
        elif down > 1:
            x = upfirdn2d(x, f, down=down if pointwise else 1, padding=pad, flip_filter=flip_filter)
            pad = (0, 0, 0, 0)
        stride = 1 if pointwise else down
        return _conv(x, w, stride=stride, pad=pad, groups=groups, flip_weight=flip_weight, bias=bias)
    if kh == kw == 1:  # a 1x1 convolution commutes with the filter: do it where there are fewer pixels
        x = upfirdn2d(_conv(x, w, groups=groups), f, up=up, padding=pad, gain=up**2, flip_filter=flip_filter)
    elif min(pad) < 0:
        x = _enlarge_then_convolve(x, w, f, up, pad, groups, flip_weight, flip_filter)
    else:  # zero insertion, filter, convolution = zero insertion, convolution (a transposed one), filter
        x = conv_up(x, w, up, groups, flip_weight)
        rest = (pad[0] - kw + 1, pad[1] - kw + up, pad[2] - kh + 1, pad[3] - kh + up)
        x = upfirdn2d(x, f, padding=rest, gain=up**2, flip_filter=flip_filter)
    if down > 1:
        x = upfirdn2d(x, f, down=down, flip_filter=flip_filter)
    return x if bias is None else x + bias.to(x.dtype)[:, None, None]


def conv2d_resample_definition(x, w, f=None, up=1, down=1, padding=0, groups=1, flip_weight=True, flip_filter=False):
    """Return what conv2d_resample promises, step by step as it is defined; slow, the reference of the fast forms."""
    pad = _check(x, w, f, up, down, padding, groups)
    x = _enlarge_then_convolve(x, w, f, up, pad, groups, flip_weight, flip_filter)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)


def _enlarge_then_convolve(x, w, f, up, pad, groups, flip_weight, flip_filter):
    x = upfirdn2d(x, f if up > 1 else None, up=up, padding=pad, gain=up**2, flip_filter=flip_filter)
    return _conv(x, w, groups=groups, flip_weight=flip_weight)


def _check(x, w, f, up, down, padding, groups):
    """Return the total padding (x0, x1, y0, y1) of the enlarged picture."""
    check_input(x, f)
    if w.ndim != 4 or w.shape[1] * groups != x.shape[1] or w.shape[0] % groups:
        raise ValueError(f"weight of shape {list(w.shape)} for pictures {list(x.shape)} in {groups} group(s); "
                         f"allowed: [out, {x.shape[1]}/groups, kh, kw]")
    for what, factor in (("up", up), ("down", down)):
        if not isinstance(factor, int) or factor < 1:
            raise ValueError(f"{what} is {factor!r}; allowed: a whole number >= 1")
    pad, (fw, fh) = list(pad4(padding)), filter_size(f)
    for factor, pads in ((up, up_padding), (down, down_padding)):
        if factor > 1:
            pad = [p + e for p, e in zip(pad, (*pads(fw, factor), *pads(fh, factor)), strict=True)]
    return tuple(pad)


def _conv(x, w, *, stride=1, pad=(0, 0, 0, 0), groups=1, flip_weight=True, bias=None):
    if not flip_weight and w.shape[2:] != (1, 1):
        w = w.flip(2, 3)
    x0, x1, y0, y1 = pad
    if not (x0 == x1 >= 0 and y0 == y1 >= 0):
        x, x0, y0 = F.pad(x, pad), 0, 0
    return conv2d(x, w, bias, stride=stride, padding=(y0, x0), groups=groups)


def conv_up(x, w, up, groups, flip_weight):  # [N, I, H, W] -> [N, O, (H-1)*up + kh, (W-1)*up + kw]
    """Return x with up - 1 zeros between its samples, fully convolved with w (flip_weight: correlated)."""
    if flip_weight:
        w = w.flip(2, 3)
    if groups == 1:
        w = w.transpose(0, 1)
    else:
        o, i, kh, kw = w.shape
        w = w.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
    return conv_transpose2d(x, w, stride=up, groups=groups)
