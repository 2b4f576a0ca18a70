"""What stands around a convolution on a processor, one vector kernel a pass: FIR filters, and the tail of a layer.

The kernels of cpu/layer_tail.cpp take pictures that lie channels-last. The tail's first and second derivatives are
kernels too; the third and later ones go by way of plain torch, step by step.
"""

import ctypes
import functools

import torch

from torch_utils.ops import build, is_plain, is_traced, native

KINDS = {torch.bfloat16: torch.float32, torch.float32: torch.float32, torch.float64: torch.float64}  # -> small tensors
MOST_TAPS, FEWEST_CHANNELS = 16, 8
ROWS_OF_A_JOB = 8  # at least, where one sample is shared by threads
BLOCK = 64  # channels of a job
STRAIGHT = {"linear": lambda alpha: 1.0, "relu": lambda alpha: 0.0, "lrelu": lambda alpha: alpha}


def usable(x, *others, fewest=FEWEST_CHANNELS) -> bool:
    """Return whether the vector kernels are to run on pictures x [N, C >= fewest, H, W] beside small tensors others."""
    if is_traced() or x.device.type != "cpu" or x.dtype not in KINDS or x.ndim != 4 or x.shape[1] < fewest:
        return False
    tensors = [x, *(other for other in others if other is not None)]
    ours = all(type(t) in (torch.Tensor, torch.nn.Parameter) and t.device == x.device and t.dtype in KINDS
               for t in tensors)
    return (ours and is_plain(*tensors) and x.is_contiguous(memory_format=torch.channels_last)
            and build.built("simd") is not None)


def taps_of(f, dtype):
    """Return the taps (along y, along x) whose outer product is the filter f [H, W], or None: not to dtype's digits."""
    if f.ndim != 2 or max(f.shape) > MOST_TAPS:
        return None
    return _split(tuple(f.flatten().tolist()), *f.shape, 1e-15 if dtype == torch.float64 else 1e-7)


@functools.cache
def _split(values, height, width, tolerance):
    most = max(range(len(values)), key=lambda i: abs(values[i]))
    row, column = divmod(most, width)
    if values[most] == 0:
        return None
    along_y = [values[y * width + column] / values[most] for y in range(height)]
    along_x = list(values[row * width:(row + 1) * width])
    limit = tolerance * abs(values[most])
    exact = all(abs(along_y[y] * along_x[x] - values[y * width + x]) <= limit
                for y in range(height) for x in range(width))
    return (tuple(along_y), tuple(along_x)) if exact else None


def filtered(x, taps, plan, flip_filter, gain):  # [N, C, H, W] -> [N, C, H', W']
    """Return upfirdn2d's pass (a Plan of upfirdn2d.py) with the filter that taps_of split."""
    call, y = _call(_laid_out(x), taps, plan, flip_filter, gain)
    call.alpha = call.gain = 1.0
    call.clamp, call.strips = -1.0, _strips(call)
    native.call("layer_tail", call, "simd")
    return y


def bent(z, bias, bend, *, taps, plan, flip_filter, gain, at=None, added=None):
    """Return fir(phi(z + bias)); bend: of phi, (alpha, gain).

    With at: fir((z + added) * slope of phi at (at + bias)), which is linear in z and added.
    """
    call, y, keep = _bent_call(z, bias, bend, taps, plan, flip_filter, gain)
    if at is not None:
        at, added = _laid_out(at), None if added is None else added.detach().to(KINDS[z.dtype]).contiguous()
        call.gradient, call.d_bias = native.pointer(at), native.pointer(added)
    native.call("bent_filter", call, "simd")
    return y


def bent_back(dy, at, bias, bend, *, taps, plan, flip_filter, gain):
    """Return fir(dy) * slope of phi at (at + bias), laid out as at, and its sum over samples and pixels [C]."""
    call, dz, keep = _bent_call(dy, bias, bend, taps, plan, flip_filter, gain)
    at, sums = _laid_out(at), _sums(call, dy)
    call.gradient = native.pointer(at)
    native.call("bent_filter_back", call, "simd")
    return dz, sums[:, :, 0].sum([0, 1])


def _bent_call(x, bias, bend, taps, plan, flip_filter, gain):
    x, bias = _laid_out(x), None if bias is None else bias.detach().to(KINDS[x.dtype]).contiguous()
    call, y = _call(x, taps, plan, flip_filter, gain)
    call.bias, (call.alpha, call.gain), call.clamp = native.pointer(bias), bend, -1.0
    call.strips = _strips(call)
    return call, y, (x, bias)


def tail(u, scale, noise, strength, bias, next_scale, numbers, *, taps=None, plan=None, gain=1.0, flip_filter=False):
    """Return next_scale * clamp(act(scale * fir(u) + strength * noise + bias)); numbers: Tail of fused.py."""
    call, y = _tail_call(u, taps, plan, flip_filter, gain, (scale, noise, strength, bias, next_scale), numbers)
    native.call("layer_tail", call, "simd")
    return y


def tail_back(dy, u, small, numbers, *, taps=None, plan=None, gain=1.0, flip_filter=False):
    """Return the gradient of fir(u), and sums [N, 4, C] over pixels: of dz, dz fir(u), dy phi(z), dz noise."""
    call, du = _tail_call(u, taps, plan, flip_filter, gain, small, numbers)
    dy = _laid_out(dy)
    sums = _sums(call, u)
    call.gradient = native.pointer(dy)
    native.call("layer_tail_back", call, "simd")
    return du, sums.sum(1)


def tail_back_twice(dy, u, small, directions, numbers):
    """Return the gradients of dy and u, and sums [N, 4, C], along directions of (u, scale, strength, bias, next_scale).

    What is differentiated is tail_back; the sums, over dy times the slope, are of the direction of u, of u, of 1, of
    the noise.
    """
    call, d_dy = _tail_call(u, None, None, False, 1.0, small, numbers)
    real, d_u = KINDS[u.dtype], torch.empty_like(d_dy)
    dy, of_u = _laid_out(dy), None if directions[0] is None else _laid_out(directions[0])
    others = [None if t is None else t.to(real).contiguous() for t in directions[1:]]
    sums = _sums(call, u)
    call.gradient, call.direction, call.output2 = native.pointer(dy), native.pointer(of_u), native.pointer(d_u)
    call.d_scale, call.d_strength, call.d_bias, call.d_next = map(native.pointer, others)
    native.call("layer_tail_back_twice", call, "simd")
    return d_dy, d_u, sums.sum(1)


def _call(x, taps, plan, flip_filter, gain):
    """Return the struct of a call over x, laid out already, and the tensor that it will fill."""
    (n, channels, height, width), up, down, pad = x.shape, (1, 1), (1, 1), (0, 0, 0, 0)
    arrays, counts, out = (None, None), (1, 1), (height, width)
    if taps is not None:
        up, down, pad = plan
        ordered = taps if flip_filter else tuple(t[::-1] for t in taps)
        arrays = tuple(_array(t, g) for t, g in zip(ordered, (gain, 1.0), strict=True))
        counts = tuple(len(t) for t in taps)
        out = tuple((size * up[1 - i] + pad[2 - 2 * i] + pad[3 - 2 * i] - counts[i]) // down[1 - i] + 1
                    for i, size in enumerate((height, width)))
    for shape in (x.shape, (n, channels, *out)):
        native.check_size("layer_tail", shape)
    y = torch.empty((n, channels, *out), dtype=x.dtype, memory_format=torch.channels_last)
    call = native.LayerTailCall(input=native.pointer(x), output=native.pointer(y), batch=n, channels=channels,
                                in_y=height, in_x=width, out_y=out[0], out_x=out[1], up_y=up[1], up_x=up[0],
                                down_y=down[1], down_x=down[0], pad_y=pad[2], pad_x=pad[0], num_y=counts[0],
                                num_x=counts[1], kind=native.KINDS[x.dtype], threads=torch.get_num_threads())
    if taps is not None:
        call.taps_y, call.taps_x = map(ctypes.addressof, arrays)
    call.keep = [x, *arrays]
    return call, y


@functools.cache
def _array(taps, gain):
    return (ctypes.c_double * len(taps))(*(tap * gain for tap in taps))


def _tail_call(u, taps, plan, flip_filter, gain, small, numbers):
    real = KINDS[u.dtype]
    call, y = _call(_laid_out(u), taps, plan, flip_filter, gain)
    small = [None if t is None else t.detach().to(real).contiguous() for t in small]
    call.scale, call.noise, call.strength, call.bias, call.next = map(native.pointer, small)
    noise = small[1]
    call.noise_stride = 0 if noise is None or noise.ndim == 2 or len(noise) == 1 else noise.shape[2] * noise.shape[3]
    call.alpha, call.gain = STRAIGHT[numbers.act](numbers.alpha), numbers.gain
    call.clamp = -1.0 if numbers.clamp is None else numbers.clamp
    call.strips = _strips(call)
    call.keep.append(small)
    return call, y


def _sums(call, u):
    sums = torch.empty([call.batch, call.strips, 4, call.channels], dtype=KINDS[u.dtype])
    call.sums = native.pointer(sums)
    return sums


def _strips(call):
    """Into how many bands of rows a sample is cut, so that every thread has work."""
    jobs = max(1, call.batch * -(-call.channels // BLOCK))
    return max(1, min(-(-call.threads // jobs), call.out_y // ROWS_OF_A_JOB))


def _laid_out(x):
    return x.detach().contiguous(memory_format=torch.channels_last)
