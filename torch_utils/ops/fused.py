"""The tail of a synthesis layer in one pass: filter, demodulation, noise, bias, activation, clamp, next modulation.

In plain torch, native (fused.h), and by vector kernels of the processor (cpu/layer_tail.cpp). The native backward pass
is one kernel too, plus the adjoint of the filter; where a gradient of the gradient is wanted, the steps are gone
through again one by one, each differentiable by itself. The vector kernels have one for the second derivative as well.
"""

from typing import NamedTuple

import torch

from torch_utils.ops import layer_tail, native
from torch_utils.ops.bias_act import ACTIVATIONS, NUMBERS, bias_act, check_activation
from torch_utils.ops.upfirdn2d import (
    adjoint_of,
    apply_plan,
    check_input,
    check_room,
    fill_call,
    pad4,
    plan_of,
    run_native,
    run_vector,
    upfirdn2d,
)


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
    tensors = (scale, noise, strength, bias, next_scale)
    if not native.usable(x, f, *tensors):
        if act in layer_tail.STRAIGHT and layer_tail.usable(x, *tensors):
            return _by_vectors(x, f, tensors, tail)
        return fused_layer_reference(x, f, *tensors, tail)
    if f is not None and f.ndim == 1:  # two passes; the second could be fused, but long filters have no such layer
        x, f = upfirdn2d(x, f, padding=tail.padding, flip_filter=flip_filter, gain=filter_gain), None
        tail = tail._replace(padding=(0, 0, 0, 0), filter_gain=1.0)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors)):
        return _Fused.apply(x, f, *tensors, tail)
    return _run(x, f, *tensors, tail)


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
    kernel = check_input(x, f)
    if kernel.ndim == 2 and (f is not None or any(padding)):
        check_room(x, kernel, plan_of(padding))
    height, width = _out_size(kernel, x, padding)
    n, channels = x.shape[:2]
    for name, value, allowed in (("scale", scale, [[n, channels]]), ("next_scale", next_scale, [[n, channels]]),
                                 ("bias", bias, [[channels]]), ("strength", strength, [[], [1]]),
                                 ("noise", noise, [[height, width], [n, 1, height, width], [1, 1, height, width]])):
        if value is not None and list(value.shape) not in allowed:
            raise ValueError(f"fused_layer: {name} of shape {list(value.shape)}; allowed for pictures {list(x.shape)}: "
                             f"{' or '.join(map(str, allowed))}")
    if strength is not None and noise is None:
        raise ValueError("fused_layer: a strength without a noise; give both, or the noise alone")


def _out_size(f, x, padding):  # -> (H', W')
    x0, x1, y0, y1 = padding
    return x.shape[2] + y0 + y1 - f.shape[0] + 1, x.shape[3] + x0 + x1 - f.shape[-1] + 1


class _Fused(torch.autograd.Function):
    """The op; keeps x and the small tensors and computes anew what lies between."""

    @staticmethod
    def forward(ctx, x, f, scale, noise, strength, bias, next_scale, tail):
        ctx.tail = tail
        ctx.save_for_backward(x, f, scale, noise, strength, bias, next_scale)
        return _run(x, f, scale, noise, strength, bias, next_scale, tail)

    @staticmethod
    def backward(ctx, dy):
        wanted = ctx.needs_input_grad[:7]
        found = None
        if not torch.is_grad_enabled() and not wanted[3]:  # no gradient of this gradient, none of the noise
            found = _run_back(dy, *ctx.saved_tensors, ctx.tail)
        if found is None:
            found = _go_back_by_steps(dy, ctx.saved_tensors, wanted, ctx.tail)
        return *(gradient if want else None for gradient, want in zip(found, wanted, strict=True)), None


def _by_vectors(x, f, tensors, tail):
    taps = None
    if f is not None or any(tail.padding):
        f = torch.ones([1, 1]) if f is None else f
        taps = layer_tail.taps_of(f, x.dtype)
    if f is not None and taps is None:  # a long or an inseparable filter
        x = upfirdn2d(x, f, padding=tail.padding, flip_filter=tail.flip_filter, gain=tail.filter_gain)
        f, tail = None, tail._replace(padding=(0, 0, 0, 0), filter_gain=1.0)
    elif f is None and tail.filter_gain != 1:
        x, tail = x * tail.filter_gain, tail._replace(filter_gain=1.0)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors)):
        return _Tail.apply(x, f, *tensors, tail)
    return layer_tail.tail(x, *tensors, tail, **_filtering(f, x, tail))


def _filtering(f, x, tail):
    """The keywords that put the filter in front of a vector kernel."""
    if f is None:
        return {}
    return {"taps": layer_tail.taps_of(f, x.dtype), "plan": plan_of(tail.padding), "gain": tail.filter_gain,
            "flip_filter": tail.flip_filter}


class _Tail(torch.autograd.Function):
    """The op by vector kernels; keeps x and the small tensors and computes anew what lies between."""

    @staticmethod
    def forward(ctx, x, f, scale, noise, strength, bias, next_scale, tail):
        ctx.tail = tail
        ctx.save_for_backward(x, f, scale, noise, strength, bias, next_scale)
        return layer_tail.tail(x, scale, noise, strength, bias, next_scale, tail, **_filtering(f, x, tail))

    @staticmethod
    def backward(ctx, dy):
        x, f, *small = ctx.saved_tensors
        wanted, tail = ctx.needs_input_grad[:7], ctx.tail
        if wanted[3]:
            return *_go_back_by_steps(dy, ctx.saved_tensors, wanted, tail), None
        if torch.is_grad_enabled():
            u = x if f is None else upfirdn2d(x, f, padding=tail.padding, flip_filter=tail.flip_filter,
                                              gain=tail.filter_gain)
            du, *found = _TailBack.apply(dy, u, *small, tail)
            dx = du if f is None else _unfiltered(du, f, x, tail, apply_plan)
        else:
            du, sums = layer_tail.tail_back(dy, x, small, tail, **_filtering(f, x, tail))
            found = _gradients(sums, small)
            dx = du if f is None or not wanted[0] else _unfiltered(du, f, x, tail, run_vector)
        d_scale, d_strength, d_bias, d_next = found
        return dx, None, d_scale, None, d_strength, d_bias, d_next, None


class _TailBack(torch.autograd.Function):
    """The gradients of u = fir(x), scale, strength, bias and next_scale."""

    @staticmethod
    def forward(ctx, dy, u, scale, noise, strength, bias, next_scale, tail):
        ctx.tail = tail
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(dy, u, scale, noise, strength, bias, next_scale)
        small = (scale, noise, strength, bias, next_scale)
        du, sums = layer_tail.tail_back(dy, u, small, tail)
        return du, *_gradients(sums, small)

    @staticmethod
    def backward(ctx, *directions):
        dy, u, *small = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_go_back_twice_by_steps(ctx, directions), None
        d_dy, d_u, sums = layer_tail.tail_back_twice(dy, u, small, directions, ctx.tail)
        of_u, along_u, alone, along_noise = sums.unbind(1)  # [N, C], see tail_back_twice
        scale, _, strength, bias, next_scale = small
        d_scale, d_strength, d_bias, d_next = directions[1:]
        one = torch.ones([], dtype=sums.dtype)
        s, t = (one if each is None else each.to(sums.dtype) for each in (scale, next_scale))
        zero = torch.zeros([], dtype=sums.dtype)
        ds, dt, dsigma, db = (zero if each is None else each.to(sums.dtype)
                              for each in (d_scale, d_next, d_strength, d_bias))
        found = (t * of_u + dt * along_u, (dt * along_noise).sum(), (dt * alone).sum(0),
                 s * of_u + ds * along_u + db * alone + dsigma * along_noise)
        g_scale, g_strength, g_bias, g_next = (_as(g, each) for g, each in
                                               zip(found, (scale, strength, bias, next_scale), strict=True))
        return d_dy, d_u, g_scale, None, g_strength, g_bias, g_next, None


def _gradients(sums, small):
    """The gradients of scale, strength, bias and next_scale from the sums of tail_back [N, 4, C]."""
    scale, _, strength, bias, next_scale = small
    return (_as(sums[:, 1], scale), _as(sums[:, 3].sum(), strength), _as(sums[:, 0].sum(0), bias),
            _as(sums[:, 2], next_scale))


def _unfiltered(du, f, x, tail, run):
    """The gradient of x from that of fir(x)."""
    back = adjoint_of(plan_of(tail.padding), (x.shape[3], x.shape[2]), (du.shape[3], du.shape[2]),
                      (f.shape[1], f.shape[0]))
    return run(du, f, back, not tail.flip_filter, tail.filter_gain)


def _go_back_twice_by_steps(ctx, directions):
    """The gradients of what _TailBack gives, along directions, by way of the reference: differentiable again."""
    tail = ctx.tail._replace(padding=(0, 0, 0, 0), filter_gain=1.0)
    wanted = ctx.needs_input_grad[:7]
    with torch.enable_grad():
        dy, u, *small = (t if t is None else t.view_as(t) if want else t.detach().requires_grad_(i != 3)
                         for i, (t, want) in enumerate(zip(ctx.saved_tensors, wanted, strict=True)))
        scale, noise, strength, bias, next_scale = small
        y = fused_layer_reference(u, None, *small, tail)
        inputs = [u, scale, strength, bias, next_scale]
        pairs = [(each, along) for each, along in zip(inputs, directions, strict=True)
                 if each is not None and along is not None]
        first = torch.autograd.grad(y, [each for each, _ in pairs], dy, create_graph=True)
        asked = [t for t, want in zip((dy, u, *small), wanted, strict=True) if want]
        found = iter(torch.autograd.grad(first, asked, [along for _, along in pairs], create_graph=True,
                                         allow_unused=True))
    return [next(found) if want else None for want in wanted]


def _go_back_by_steps(dy, tensors, wanted, tail):
    """The gradients by way of the reference, whose steps can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: one of the tensors may depend on another, and each gradient is to be the partial one.
        leaves = [t.view_as(t) if again and want else t if t is None else t.detach().requires_grad_(want)
                  for t, want in zip(tensors, wanted, strict=True)]
        y = fused_layer_reference(*leaves, tail)
        asked = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
        gradients = iter(torch.autograd.grad(y, asked, dy, create_graph=again))
    return [next(gradients) if want else None for want in wanted]


def _fill(x, f, scale, noise, strength, bias, next_scale, tail):
    """Returns the struct of a native call, the tensor that it will fill, and what must live until it is done."""
    plan, kernel = plan_of(tail.padding), _one(x) if f is None else f
    filter_call, y = fill_call(x, kernel, plan, tail.flip_filter, tail.filter_gain)
    if f is None:
        filter_call.filter = None
    small = [None if t is None else t.detach().contiguous() for t in (scale, noise, strength, bias, next_scale)]
    noise = small[1]
    stride = 0 if noise is None or noise.ndim == 2 or len(noise) == 1 else y.shape[2] * y.shape[3]
    tail_call = native.TailCall(*map(native.pointer, small), stride, tail.alpha, tail.gain,
                                -1.0 if tail.clamp is None else tail.clamp, *map(native.kind_of, small),
                                NUMBERS[tail.act])
    return native.FusedCall(filter_call, tail_call), y, (filter_call.keep, *small)


def _one(x):
    return torch.empty([1, 1], dtype=torch.float32, device=x.device)  # for its shape, never read


def _run(x, f, scale, noise, strength, bias, next_scale, tail):
    call, y, keep = _fill(x, f, scale, noise, strength, bias, next_scale, tail)
    native.call("fused_layer", call, x.device)
    del keep
    return y


def _run_back(dy, x, f, scale, noise, strength, bias, next_scale, tail):
    """The gradients of x, f (None), scale, noise (None), strength, bias, next_scale; None where no kernel fits."""
    fused, inner, keep = _fill(x, f, scale, noise, strength, bias, next_scale, tail)
    dy = native.laid_out_as(dy, inner)
    call = native.FusedBackCall(fused, native.pointer(dy))
    strips = native.count_strips(call, x.device)
    if not strips or dy.data_ptr() % 16:
        return None
    sums = torch.empty([len(x), strips, 4, x.shape[1]], dtype=torch.promote_types(x.dtype, torch.float32),
                       device=x.device)
    call.sums = native.pointer(sums)
    native.call("fused_back", call, x.device)
    del keep
    sums = sums.sum(1)  # [N, 4, C], see FusedBackCall
    dx = inner
    if f is not None or any(tail.padding):
        plan = plan_of(tail.padding)
        f = torch.ones_like(_one(x)) if f is None else f
        back = adjoint_of(plan, (x.shape[3], x.shape[2]), (dy.shape[3], dy.shape[2]), (f.shape[1], f.shape[0]))
        dx = run_native(inner, f, back, not tail.flip_filter, tail.filter_gain)
    elif tail.filter_gain != 1:
        dx = inner * tail.filter_gain
    return (dx, None, _as(sums[:, 1], scale), None, _as(sums[:, 3].sum(), strength), _as(sums[:, 0].sum(0), bias),
            _as(sums[:, 2], next_scale))


def _as(gradient, tensor):
    return None if tensor is None else gradient.to(tensor.dtype).reshape(tensor.shape)
