"""What a training of a recogniser of faces or of voices does, as frozen tables of plain values."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RecogniserSettings:
    """One run that trains a recogniser by a softmax over people with an additive margin on the cosine (CosFace).

    `scale` multiplies the cosines, `margin` is taken off that of the right person, growing over the first
    `warmup_steps`. `noise` is the largest deviation of the noise added to the pictures; half of them are mirrored.
    `resolution` is that of the dataset's faces, a multiple of 16.
    """

    width: int = 32
    embed_dim: int = 128
    resolution: int = 64
    batch: int = 64
    steps: int = 3000
    lr: float = 2e-3
    weight_decay: float = 5e-4
    scale: float = 24.0
    margin: float = 0.25
    warmup_steps: int = 500
    noise: float = 0.1
    tick_steps: int = 100
    snapshot_ticks: int = 5
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SpeakerSettings:
    """One run that trains a recogniser of voices in the same way, on crops of `seconds`.

    `noise` is the largest loudness of the noise added to a crop, as a part of the crop's own.
    """

    width: int = 96
    embed_dim: int = 128
    seconds: float = 2.0
    batch: int = 64
    steps: int = 2000
    lr: float = 2e-3
    weight_decay: float = 5e-4
    scale: float = 24.0
    margin: float = 0.25
    warmup_steps: int = 500
    noise: float = 0.1
    tick_steps: int = 100
    snapshot_ticks: int = 5
    seed: int = 0
