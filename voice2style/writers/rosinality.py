"""Writes rosinality's .pt: plain dictionaries g_ema, g, d of tensors and latent_avg, read by weights_only=True."""

import torch

from torch_utils.checkpoint import write_archive
from voice2style.layers import resolutions

LAYER = {  # our name in a styled layer -> rosinality's, shape of the transform
    "weight": ("conv.weight", lambda t: t[None]),
    "affine.weight": ("conv.modulation.weight", None),
    "affine.bias": ("conv.modulation.bias", None),
    "noise_strength": ("noise.weight", lambda t: t.reshape(1)),
    "bias": ("activate.bias", None),
}
TO_RGB = {
    "weight": ("conv.weight", lambda t: t[None]),
    "affine.weight": ("conv.modulation.weight", None),
    "affine.bias": ("conv.modulation.bias", None),
    "bias": ("bias", lambda t: t.reshape(1, -1, 1, 1)),
}
D_BLOCK = {"conv0.weight": "conv1.0.weight", "conv0.bias": "conv1.1.bias", "conv1.weight": "conv2.1.weight",
           "conv1.bias": "conv2.2.bias", "skip.weight": "skip.1.weight",
           "conv1.resample_filter": "conv2.0.kernel", "skip.resample_filter": "skip.0.kernel"}
D_END = {"b4.conv.weight": "final_conv.0.weight", "b4.conv.bias": "final_conv.1.bias",
         "b4.fc.weight": "final_linear.0.weight", "b4.fc.bias": "final_linear.0.bias",
         "b4.out.weight": "final_linear.1.weight", "b4.out.bias": "final_linear.1.bias"}
UP_GAIN = 4  # doubling both sides; rosinality keeps it in the stored kernel


def files(bundle, dest):
    """Returns {what: path} of the files that `write` makes."""
    return {"networks": dest}


def write(bundle, paths):
    """Writes the file; returns notes. ValueError, naming every reason, for a generator that rosinality cannot build."""
    settings = bundle.settings["G_ema"]
    if reasons := generator_obstacles(settings):
        raise ValueError(f'"{bundle.path}" cannot be written in rosinality\'s form: {"; ".join(reasons)}. '
                         "Write .safetensors instead.")
    notes, contents = bundle.silence("rosinality's form"), {"g_ema": generator_names(bundle.part("G_ema"), settings)}
    if "G" in bundle.settings:
        contents["g"] = generator_names(bundle.part("G"), settings)
    if "D" in bundle.settings:
        if reasons := discriminator_obstacles(bundle.settings["D"]):
            notes.append(f"D is left out, rosinality has no such discriminator: {'; '.join(reasons)}")
        else:
            contents["d"] = discriminator_names(bundle.part("D"), bundle.settings["D"])
            if bundle.settings["D"].num_people:
                notes.append("the identity classifier of D is left out, rosinality's has none")
    if "G_ema.mapping.w_avg" in bundle.tensors:
        contents["latent_avg"] = bundle.tensors["G_ema.mapping.w_avg"].clone()
    else:
        notes.append("there is no latent_avg: this generator keeps no mean code")
    write_archive(paths["networks"], contents)
    if not settings.use_noise:
        notes.append("it has no noise inputs: rosinality's layers get noise of strength zero, pictures stay the same")
    return [*notes, _how_to_load(settings)]


def generator_obstacles(settings):
    """Returns why rosinality's Generator cannot be this one, a list of reasons; [] when it can."""
    s = settings
    square_mapping = s.z_dim == s.w_dim and s.layer_features in (None, s.w_dim)
    wanted = [
        (s.architecture == "skip", f'architecture is "{s.architecture}", it knows "skip"'),
        (s.c_dim == 0, f"it is conditional ({s.c_dim} classes), it knows no labels"),
        (s.img_channels == 3, f"pictures have {s.img_channels} channels, it knows 3"),
        (s.const_shape == (4, 4), f"pictures start at {s.const_shape[0]}x{s.const_shape[1]}, it starts at 4x4"),
        (s.img_resolution >= 8, f"img_resolution is {s.img_resolution}, it starts at 8"),
        (s.activation == "lrelu", f"activation is {s.activation}, it knows lrelu"),
        (s.mapping_layers == 0 or s.mapping_activation == "lrelu",
         f"mapping_activation is {s.mapping_activation}, it knows lrelu"),
        (s.mapping_layers == 0 or s.mapping_lr_multiplier == 0.01,
         f"mapping_lr_multiplier is {s.mapping_lr_multiplier:g}, it has 0.01"),
        (square_mapping, f"z has {s.z_dim} numbers, w {s.w_dim} and the layers between "
                         f"{s.layer_features or s.w_dim}, it has one size for all"),
        (len(s.resample_filter) == 4, f"the resampling filter has {len(s.resample_filter)} taps, it has 4"),
    ]
    return [reason for good, reason in wanted if not good]


def discriminator_obstacles(settings):
    """Returns why rosinality's Discriminator cannot be this one, a list of reasons; [] when it can."""
    s = settings
    wanted = [
        (s.architecture == "resnet", f'architecture is "{s.architecture}", it knows "resnet"'),
        (s.c_dim == 0, f"it is conditional ({s.c_dim} classes)"),
        (s.img_channels == 3, f"pictures have {s.img_channels} channels, it knows 3"),
        (s.const_shape == (4, 4), "pictures are not square"),
        (s.activation == "lrelu", f"activation is {s.activation}, it knows lrelu"),
        (s.mbstd_num_channels == 1, f"batch statistics have {s.mbstd_num_channels} channels, it has 1"),
        (len(s.resample_filter) == 4, f"the resampling filter has {len(s.resample_filter)} taps, it has 4"),
    ]
    return [reason for good, reason in wanted if not good]


def generator_names(tensors, settings):
    """Returns our generator's tensors under rosinality's names and in its shapes."""
    tensors = tensors if settings.use_noise else {**_silent_noise(settings), **tensors}
    named = {f"style.{i + 1}.{part}": tensors[f"mapping.fc{i}.{part}"]
             for i in range(settings.mapping_layers) for part in ("weight", "bias")}
    named["input.input"] = tensors["synthesis.b4.const"][None]
    for k, resolution in enumerate(resolutions(settings.img_resolution)):
        block = f"synthesis.b{resolution}"
        rgb = "to_rgb1" if k == 0 else f"to_rgbs.{k - 1}"
        _rename(tensors, f"{block}.torgb", TO_RGB, rgb, named)
        if k > 0:
            named[f"{rgb}.upsample.kernel"] = tensors[f"{block}.resample_filter"] * UP_GAIN
            named[f"convs.{2 * k - 2}.conv.blur.kernel"] = tensors[f"{block}.conv0.resample_filter"] * UP_GAIN
            _rename(tensors, f"{block}.conv0", LAYER, f"convs.{2 * k - 2}", named)
            named[f"noises.noise_{2 * k - 1}"] = tensors[f"{block}.conv0.noise_const"][None, None]
        _rename(tensors, f"{block}.conv1", LAYER, "conv1" if k == 0 else f"convs.{2 * k - 1}", named)
        named[f"noises.noise_{2 * k}"] = tensors[f"{block}.conv1.noise_const"][None, None]
    return _own_memory(named)


def _silent_noise(settings):
    """Returns noise inputs of strength zero for a generator that has none."""
    noise = {}
    for resolution in resolutions(settings.img_resolution):
        for layer in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            path = f"synthesis.b{resolution}.{layer}"
            noise[f"{path}.noise_strength"] = torch.zeros([])
            noise[f"{path}.noise_const"] = torch.zeros(settings.grid_shape(resolution))
    return noise


def discriminator_names(tensors, settings):
    """Returns our discriminator's tensors under rosinality's names."""
    top = settings.img_resolution
    named = {"convs.0.0.weight": tensors[f"b{top}.fromrgb.weight"], "convs.0.1.bias": tensors[f"b{top}.fromrgb.bias"]}
    for i, resolution in enumerate(reversed(resolutions(top)[1:]), start=1):
        for ours, theirs in D_BLOCK.items():
            named[f"convs.{i}.{theirs}"] = tensors[f"b{resolution}.{ours}"]
    named.update({theirs: tensors[ours] for ours, theirs in D_END.items()})
    return _own_memory(named)


def _rename(tensors, layer, table, theirs, named):
    for ours, (name, transform) in table.items():
        tensor = tensors[f"{layer}.{ours}"]
        named[f"{theirs}.{name}"] = transform(tensor) if transform else tensor


def _own_memory(named):
    """Copies, so that no tensor drags the storage that it is a view of into the file."""
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}


def _how_to_load(settings):
    """Returns the constructor call that the state dicts fit."""
    call = f"{settings.img_resolution}, {settings.w_dim}, {settings.mapping_layers}"
    for multiplier in (2, 1):
        table = tuple(512 if r <= 32 else 256 * 64 * multiplier // r for r in resolutions(settings.img_resolution))
        if settings.channels == table:
            return f"load g_ema into Generator({call}, channel_multiplier={multiplier})"
    return (f"the widths {list(settings.channels)} are not those of rosinality's Generator: "
            f"change its table `channels`, then load g_ema into Generator({call})")
