"""From options to frozen settings: a preset row, then what the user said."""

import dataclasses

from training.dataset import Dataset
from training.presets import GAN_PRESETS, PROBE_PRESETS, VOICE_PRESETS

_GAN_FIELDS = {"kimg": "total_kimg", "snap": "snapshot_ticks", "tick": "tick_kimg"}


def configure(*, task, data, cfg, resolution=None, no_se=None, activation=None, **given):
    """Returns GanSettings, VoiceSettings or ProbeSettings; ValueError for an option that the task does not have."""
    dataset = Dataset(data)
    if task == "gan":
        rows = GAN_PRESETS[cfg]
        resolution = resolution or dataset.card.get("resolution")
        if resolution not in rows:
            raise ValueError(f'--cfg={cfg} has rows for {", ".join(f"{side}x{side}" for side in rows)}; '
                             f"the dataset holds {resolution}x{resolution} faces.")
        settings = rows[resolution]
    else:
        settings = (VOICE_PRESETS if task == "voice" else PROBE_PRESETS)[cfg]
    ablations = {name: value for name, value in (("use_se", None if no_se is None else not no_se),
                                                 ("activation", activation)) if value is not None}
    if ablations:
        if task != "voice":
            raise ValueError(f"--task={task} has no audio processor; --no-se and --activation are for --task=voice.")
        settings = dataclasses.replace(settings, encoder={**settings.encoder, **ablations})
    changes = {_GAN_FIELDS.get(name, name): value for name, value in given.items() if value is not None}
    foreign = set(changes) - {field.name for field in dataclasses.fields(settings)}
    if foreign:
        raise ValueError(f"--task={task} has no option {', '.join('--' + name for name in sorted(foreign))}.")
    return dataclasses.replace(settings, **changes)
