"""From options to frozen settings: a preset row, then what the user said."""

import dataclasses

from training.dataset import Dataset
from training.presets import GAN_PRESETS, PROBE_PRESETS, VOICE_PRESETS

_GAN_FIELDS = {"kimg": "total_kimg", "snap": "snapshot_ticks", "tick": "tick_kimg"}


def configure(*, task, data, cfg, resolution, **given):
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
    changes = {_GAN_FIELDS.get(name, name): value for name, value in given.items() if value is not None}
    foreign = set(changes) - {field.name for field in dataclasses.fields(settings)}
    if foreign:
        raise ValueError(f"--task={task} has no option {', '.join('--' + name for name in sorted(foreign))}.")
    return dataclasses.replace(settings, **changes)
