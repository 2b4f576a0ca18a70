"""Reads the configuration of StyleGAN2 networks with NVIDIA-PyTorch names from names and shapes alone."""

import re

from voice2style.foreign.windows import Refusal

DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


def resolutions(top):
    return [2**k for k in range(2, top.bit_length())]


def _blocks(shapes, pattern):
    found = sorted({int(m[1]) for name in shapes if (m := re.match(pattern, name))})
    if not found or found != resolutions(found[-1]):
        raise Refusal(f"blocks of resolutions {found}: they should double from 4 on, some are missing")
    return found


def _shape(shapes, name, num_dimensions):
    shape = shapes.get(name)
    if shape is None:
        raise Refusal(f"its tensor {name} is missing")
    if len(shape) != num_dimensions or not all(shape):
        raise Refusal(f"its tensor {name} has shape {list(shape)}, {num_dimensions} dimensions are needed")
    return shape


def _layers(shapes):
    """Number of fc layers of a mapping (names without 'mapping.')."""
    found = sorted({int(m[1]) for name in shapes if (m := re.fullmatch(r"mapping\.fc(\d+)\.weight", name))})
    if found != list(range(len(found))):
        raise Refusal(f"mapping layers {found}: some are missing")
    return len(found)


def _mapping(shapes, *, w_dim):
    """Settings that the names and shapes of a mapping tell."""
    settings, num_layers, embed_features = {"mapping_layers": _layers(shapes), "c_dim": 0}, _layers(shapes), 0
    if "mapping.embed.weight" in shapes:
        embed_features, settings["c_dim"] = _shape(shapes, "mapping.embed.weight", 2)
        settings["embed_features"] = embed_features
    num_in = _shape(shapes, "mapping.fc0.weight", 2)[1] if num_layers else w_dim
    if num_layers > 1:
        settings["layer_features"] = shapes["mapping.fc0.weight"][0]
    return settings, num_in - embed_features


def generator_settings(shapes):
    """Keyword arguments of GeneratorSettings that names and shapes (without prefix) tell."""
    rs = _blocks(shapes, r"synthesis\.b(\d+)\.conv1\.weight")
    w_dim = _shape(shapes, "synthesis.b4.conv1.affine.weight", 2)[1]
    settings, z_dim = _mapping(shapes, w_dim=w_dim)
    if z_dim < 0:
        raise Refusal("its mapping takes fewer inputs than its label embedding has")
    const = _shape(shapes, "synthesis.b4.const", 3)
    skip, resnet = "synthesis.b4.torgb.weight" in shapes, "synthesis.b8.skip.weight" in shapes
    settings.update(
        z_dim=z_dim,
        w_dim=w_dim,
        img_resolution=rs[-1],
        img_channels=_shape(shapes, f"synthesis.b{rs[-1]}.torgb.weight", 4)[0],
        channels=tuple(_shape(shapes, f"synthesis.b{r}.conv1.weight", 4)[0] for r in rs),
        architecture="resnet" if resnet else "skip" if skip else "orig",
        use_noise=all_or_none(
            f"synthesis.b{r}.conv{j}.noise_strength" in shapes for r in rs for j in (0, 1) if r > 4 or j
        ),
        const_shape=tuple(const[1:]),
    )
    if const[0] != settings["channels"][0]:
        raise Refusal(f"its constant has {const[0]} channels and its first layer {settings['channels'][0]}")
    return settings


def all_or_none(layers_with_noise):
    """True if all layers have noise, False if none has; a network of both kinds has another arithmetic."""
    found = set(layers_with_noise)
    if len(found) > 1:
        raise Refusal("some of its layers have noise inputs and others none: it is damaged, or another architecture")
    return found == {True}


def discriminator_settings(shapes):
    """Keyword arguments of DiscriminatorSettings that names and shapes (without prefix) tell."""
    rs = [4] + _blocks({**shapes, "b4.conv0.weight": ()}, r"b(\d+)\.conv0\.weight")[1:]
    if len(rs) < 2:
        raise Refusal("a discriminator without blocks")
    out, conv = _shape(shapes, "b4.out.weight", 2), _shape(shapes, "b4.conv.weight", 4)
    settings, _ = _mapping(shapes, w_dim=out[0])
    fc = _shape(shapes, "b4.fc.weight", 2)
    area, rest = divmod(fc[1], conv[0])
    if rest or area not in (16, 8, 4):
        raise Refusal(f"b4.fc takes {fc[1]} inputs from {conv[0]} channels: neither 4x4 nor 4x2 pixels")
    settings.update(
        img_resolution=rs[-1],
        img_channels=_shape(shapes, f"b{rs[-1]}.fromrgb.weight", 4)[1],
        channels=(conv[0], *(_shape(shapes, f"b{r}.conv0.weight", 4)[0] for r in rs[1:])),
        architecture="resnet" if "b8.skip.weight" in shapes else "skip" if "b4.fromrgb.weight" in shapes else "orig",
        mbstd_num_channels=conv[1] - conv[0],
        const_shape={16: (4, 4), 8: (4, 2), 4: (4, 1)}[area],
    )
    if "classifier.out.weight" in shapes:  # of this toolkit's own training
        settings["num_people"] = _shape(shapes, "classifier.out.weight", 2)[0]
    if settings["c_dim"]:
        settings["cmap_dim"] = out[0]
    else:
        settings = {key: value for key, value in settings.items() if key not in ("mapping_layers", "layer_features")}
    return settings


def filter_taps(kernel):
    """Taps of a stored filter buffer (2-D outer product, or 1-D from 8 taps on), as GeneratorSettings wants them."""
    taps = kernel.double()
    if taps.ndim not in (1, 2) or not taps.numel() or float(taps.sum()) == 0 or not bool(taps.isfinite().all()):
        raise Refusal(f"a resampling filter of shape {list(kernel.shape)}")
    if taps.ndim == 2:
        if taps.shape[0] != taps.shape[1]:
            raise Refusal(f"a resampling filter of shape {list(kernel.shape)}: only square ones are read")
        taps = taps.sum(1)
    smallest = float(taps[taps != 0].abs().min())
    whole = taps / smallest
    if bool((whole.round() - whole).abs().max() < 1e-4):
        taps = whole.round()
    return tuple(float(t) for t in taps)
