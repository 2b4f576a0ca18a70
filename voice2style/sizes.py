"""Holds the network that a file describes against the file's own length, before anything of it is built."""

import dataclasses

MOST = 1 << 22  # for any single count; published networks stay below 16384
MOST_LAYERS = 256
AT_LEAST_ONE = ("img_channels", "w_dim", "embed_features", "layer_features", "cmap_dim")


def check_size(settings, room, *, role):
    """Raises ValueError for counts that no network has, and for a network that takes more than `room` bytes."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        for count in value if field.name in ("channels", "const_shape") else (value,):
            if type(count) is int and not (field.name in AT_LEAST_ONE) <= count <= MOST:
                raise ValueError(f"{role} would have {field.name} {count}, which no network has")
    if settings.mapping_layers > MOST_LAYERS:
        raise ValueError(f"{role} would have {settings.mapping_layers} mapping layers, which no network has")
    if not getattr(settings, "z_dim", 1) and not settings.c_dim:
        raise ValueError(f"{role} would have neither latent nor labels as input")
    if not 0 < len(settings.resample_filter) <= MOST_LAYERS:
        raise ValueError(f"{role} would have a resampling filter of {len(settings.resample_filter)} taps")
    _check_room(num_values(settings), room, role)


def check_encoder_size(settings, room, *, role):
    """Raises ValueError for an encoder that takes more than `room` bytes."""
    s, widest = settings, 8 * settings.base_width
    rows = s.planes * s.rows if s.input_norm else s.planes
    _check_room(27 * widest**2 + s.embed_dim * (widest + s.num_ws * s.w_dim) + rows, room, role)


def _check_room(num_values, room, role):
    if (num_bytes := 4 * num_values) > room:
        raise ValueError(
            f"{role} would be a network of more than {num_bytes} bytes, and a file of this length may make us hold"
            f" {room}: it declares more than it has"
        )


def num_values(settings):
    """A little less than the number of values that a network of these settings holds."""
    s, widths, area = settings, settings.channels, settings.const_shape[0] * settings.const_shape[1]
    found = 9 * sum(a * (a + b) for a, b in zip(widths, (0, *widths))) + s.img_channels * widths[-1] + area * widths[0]
    z_dim, w_dim = getattr(s, "z_dim", 0), getattr(s, "w_dim", None) or s.cmap_dim or widths[0]
    if hasattr(s, "w_dim"):
        found += w_dim * sum(widths)
        found += 2 * area * sum(4**k for k in range(len(widths))) * s.use_noise
    else:
        found += widths[0] * (widths[0] * area + 9 * s.mbstd_num_channels)
        if s.num_people:
            found += widths[0] * (widths[0] * area + s.num_people)
    if hasattr(s, "w_dim") or s.c_dim:
        inner = s.layer_features or w_dim
        embedded = (s.embed_features or w_dim) if s.c_dim else 0
        found += s.c_dim * embedded
        if s.mapping_layers > 1:
            found += (z_dim + embedded + w_dim) * inner + (s.mapping_layers - 2) * inner**2
    return found
