"""Layers that StyleGAN2's generator and discriminator share: equalised dense and convolution, mapping, batch spread."""

import math

import torch
from torch import nn

from torch_utils.ops import autocast_off, bent_filter, layer_tail, thin_layer
from torch_utils.ops.bias_act import ACTIVATIONS, bias_act
from torch_utils.ops.fused import fused_layer
from torch_utils.ops.native import usable
from torch_utils.ops.resample import conv2d_resample
from torch_utils.ops.upfirdn2d import setup_filter

DEFAULT_FILTER = (1, 3, 3, 1)


def normalize_2nd_moment(x, dim=1, eps=1e-8):
    """Return x divided by the root of its mean square along dim."""
    return x * (x.square().mean(dim, keepdim=True) + eps).rsqrt()


class Dense(nn.Module):
    """Equalised fully connected layer: weights are stored near N(0, 1) and scaled at run time."""

    def __init__(self, num_in, num_out, *, bias=True, activation="linear", lr_multiplier=1.0, bias_init=0.0):
        super().__init__()
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(num_in)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(num_out, num_in) / lr_multiplier)
        hold(self, "bias", torch.full([num_out], float(bias_init)) if bias else None, trainable=True)

    def forward(self, x):  # [N, num_in] -> [N, num_out], in the dtype of the weights whatever autocast says
        with autocast_off(x):
            x, bias = x * self.weight_gain, self.bias  # a batch is smaller than the weights, also on the way back
            if bias is not None and self.bias_gain != 1:
                bias = bias * self.bias_gain
            if bias is not None and self.activation == "linear":
                return torch.addmm(bias, x, self.weight.t())
            return bias_act(x @ self.weight.t(), bias, act=self.activation)


class EqualizedConv2d(nn.Module):
    """Convolution scaled by 1/sqrt(fan in) at run time, with up- or down-sampling, bias and activation."""

    def __init__(self, num_in, num_out, kernel_size, *, bias=True, activation="linear", up=1, down=1,
                 resample_filter=DEFAULT_FILTER, conv_clamp=None, trainable=True):
        super().__init__()
        self.activation, self.up, self.down, self.conv_clamp = activation, up, down, conv_clamp
        self.padding = kernel_size // 2
        self.weight_gain = 1 / math.sqrt(num_in * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        hold(self, "weight", torch.randn(num_out, num_in, kernel_size, kernel_size), trainable)
        hold(self, "bias", torch.zeros(num_out) if bias else None, trainable)

    def forward(self, x, gain=1.0, after=None):  # [N, num_in, H, W] -> [N, num_out, H*up/down, W*up/down]
        """Return the layer of x times gain; after: the layer whose bias and activation x still lacks (`linear`)."""
        early, late = split_gain(self.activation, gain)
        if self._reads_picture(x):
            bias = None if self.bias is None else self.bias * early
            return thin_layer.thin_layer(x, self.weight * (self.weight_gain * early), bias, self.activation)
        bias, bias_after, clamp = self.bias, None, scaled(self.conv_clamp, gain)
        in_one_pass = self.bias is not None and layer_tail.usable(x) and self.activation in layer_tail.STRAIGHT
        if in_one_pass or usable(x, self.weight):  # bias, activation and gain; a library's convolution needs one more
            early, late, bias, bias_after = 1.0, early * late, None, self.bias
        bias = None if bias is None else (bias if early == 1 else bias * early).to(x.dtype)
        before = None if after is None else (after.bias, after.activation, None)
        x = self.linear(x, early, bias=bias, before=before)
        if in_one_pass:
            return fused_layer(x, bias=bias_after, act=self.activation, gain=late, clamp=clamp)
        return bias_act(x, bias_after, act=self.activation, gain=late, clamp=clamp, overwrite=True)

    def _reads_picture(self, x):
        """Return whether this is the layer behind a picture, and a kernel there is that does it in one pass."""
        return (self.conv_clamp is None and self.up == self.down == 1
                and thin_layer.usable(x, self.weight, self.bias, self.activation))

    def linear(self, x, gain=1.0, *, bias=None, before=None):
        """Return the convolution with its resampling alone, plus bias; before as conv2d_resample."""
        weight = (self.weight * (self.weight_gain * gain)).to(x.dtype)
        return conv2d_resample(x, weight, self.resample_filter, up=self.up, down=self.down, padding=self.padding,
                               flip_weight=self.up == 1, bias=bias, before=before)

    def runs_before(self, follower, x):
        """Return whether the low-pass of `follower` can do this layer's bias and activation; x: what comes here."""
        return (self.conv_clamp is None and self.bias is not None and follower.down > 1 and follower.padding > 0
                and bent_filter.usable(x, follower.resample_filter, self.bias, self.activation))


def hold(module, name, tensor, trainable):
    """Store tensor in module as a parameter, or, frozen, as a buffer of the same name (so no optimizer finds it)."""
    if tensor is None or trainable:
        module.register_parameter(name, None if tensor is None else nn.Parameter(tensor))
    else:
        module.register_buffer(name, tensor)


def split_gain(activation, gain):
    """Return the activation's own gain times gain as (factor before the bias and activation, factor after them).

    Where g * act(x) = act(g * x) it goes before, into weights and bias, and costs nothing.
    """
    spec = ACTIVATIONS[activation]
    return (spec.gain * gain, 1.0) if spec.homogeneous else (1.0, spec.gain * gain)


def scaled(limit, gain):
    """Return a clamp limit, or None, times gain."""
    return None if limit is None else limit * gain


class MinibatchStd(nn.Module):
    """Appends channels that tell how much the pictures of a group differ from each other."""

    def __init__(self, group_size, num_channels=1):
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x):  # [N, C, H, W] -> [N, C + num_channels, H, W]
        n, c, h, w = x.shape
        group = max(1, n if self.group_size is None else min(self.group_size, n))
        if n % group:
            raise ValueError(f"batch of {n}; allowed: a multiple of the group size {group} of the batch statistics")
        # Samples m, m + n/group, m + 2n/group, .. form a group.
        y = x.reshape(group, n // group, self.num_channels, c // self.num_channels, h, w)
        variance = (y - y.mean(0)).square().mean(0)
        y = (variance + 1e-8).sqrt().mean([2, 3, 4])  # [n/group, num_channels]
        y = y.reshape(n // group, self.num_channels, 1, 1).repeat(group, 1, h, w)
        return torch.cat([x, y], dim=1)


class Mapping(nn.Module):
    """Turns a latent z and/or a label c into a code w; the generator's also keeps the running mean of w."""

    def __init__(self, z_dim, c_dim, w_dim, *, num_ws=None, num_layers=8, lr_multiplier=0.01, activation="lrelu",
                 embed_features=None, layer_features=None, w_avg_beta=None):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        embed_features = (w_dim if embed_features is None else embed_features) if c_dim else 0
        layer_features = w_dim if layer_features is None else layer_features
        if c_dim:
            self.embed = Dense(c_dim, embed_features)
        sizes = [z_dim + embed_features] + [layer_features] * (num_layers - 1) + [w_dim]
        for i in range(num_layers):
            layer = Dense(sizes[i], sizes[i + 1], activation=activation, lr_multiplier=lr_multiplier)
            self.add_module(f"fc{i}", layer)
        if num_layers == 0 and sizes[0] != w_dim:
            raise ValueError(f"a mapping without layers has {sizes[0]} outputs; allowed: w_dim, here {w_dim}")
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z, c=None, truncation_psi=1.0, truncation_cutoff=None, update_emas=False):
        """Return ws [N, num_ws, w_dim] (or w [N, w_dim] where num_ws is None) for z [N, z_dim] and c [N, c_dim].

        truncation_psi moves codes towards the mean (1: none, 0: the mean), in the first truncation_cutoff rows only if
        that is given. update_emas: let the running mean follow this batch (training).
        """
        w = self._inputs(z, c)
        for i in range(self.num_layers):
            w = getattr(self, f"fc{i}")(w)
        if update_emas and self.w_avg_beta is not None and self.num_ws is not None:
            with torch.no_grad():
                mean = w.detach().mean(0).to(self.w_avg.dtype)
                self.w_avg.copy_(mean.lerp(self.w_avg, self.w_avg_beta))
        if self.num_ws is None:
            return w
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        return ws if truncation_psi == 1 else self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(self, ws, psi, cutoff=None):  # [N, L, D] -> [N, L, D]
        """Return ws with the first cutoff rows (None: all) moved to w_avg + psi * (w - w_avg)."""
        if self.w_avg_beta is None:
            raise ValueError(f"truncation_psi is {psi}, but this network keeps no mean code; allowed: 1")
        moved = self.w_avg + psi * (ws[:, :cutoff] - self.w_avg)
        return moved if cutoff is None else torch.cat([moved, ws[:, cutoff:]], dim=1)

    def _inputs(self, z, c):
        parts = []
        if self.z_dim:
            check_rows(z, self.z_dim, "z")
            parts.append(normalize_2nd_moment(z.to(self._dtype(z))))
        if self.c_dim:
            check_rows(c, self.c_dim, "label c")
            if parts and len(c) != len(z):
                raise ValueError(f"{len(c)} labels c for {len(z)} latents z; allowed: as many")
            parts.append(normalize_2nd_moment(self.embed(c.to(self._dtype(c)))))
        elif c is not None and c.numel():
            raise ValueError(f"label c of shape {list(c.shape)}, but this network knows no labels; leave c out")
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _dtype(self, x):
        own = next(self.parameters(), getattr(self, "w_avg", None))
        return torch.promote_types(x.dtype, torch.float32) if own is None else own.dtype


def check_rows(x, width, what):
    """Raise ValueError unless x is a tensor [N, width]."""
    came = "nothing" if x is None else f"shape {list(x.shape)}"
    if x is None or x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"{what}: {came} came; allowed: [N, {width}]")


def check_table(settings):
    """Raise ValueError unless the settings common to both networks fit together."""
    resolution, table = settings.img_resolution, settings.channels
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"img_resolution is {resolution}; allowed: a power of two, 4 or more")
    if len(table) != len(resolutions(resolution)) or min(table) < 1:
        raise ValueError(f"channels {list(table)} for img_resolution {resolution}; allowed: one number >= 1 for each "
                         f"of the resolutions {resolutions(resolution)}")
    if settings.architecture not in ("skip", "resnet", "orig"):
        raise ValueError(f"architecture is {settings.architecture!r}; allowed: skip, resnet, orig")
    for act in (settings.activation, settings.mapping_activation):
        if act not in ACTIVATIONS:
            raise ValueError(f"activation is {act!r}; allowed: {', '.join(ACTIVATIONS)}")
    if len(settings.const_shape) != 2 or min(settings.const_shape) < 1:
        raise ValueError(f"const_shape is {settings.const_shape}; allowed: two numbers >= 1, height and width")


def resolutions(top: int) -> list[int]:
    """Return [4, 8, .., top]."""
    return [2**k for k in range(2, top.bit_length())]


def first_half_resolution(img_resolution: int, num_fp16_res: int) -> int:
    """Return the lowest resolution that runs in half precision: the num_fp16_res highest do, but none below 8."""
    return max(2 ** (img_resolution.bit_length() - num_fp16_res), 8)


def block_dtype(block, x, force_fp32):
    """Return the dtype a block computes in: half where it may, otherwise that of its weights."""
    own = block.compute_dtype
    half = block.use_fp16 and not force_fp32 and own == torch.float32 and (x.is_cuda or block.fp16_on_cpu)
    return torch.float16 if half else own


def laid_out(x):
    """Return x in the memory layout that convolutions of its dtype and device like best (values unchanged).

    Channels innermost for everything on a CPU and for 16 bits on a GPU; float64 has no fast kernels, it stays.
    """
    fast = x.dtype.itemsize == 2 or (x.device.type == "cpu" and x.dtype == torch.float32)
    return x.contiguous(memory_format=torch.channels_last) if fast else x
