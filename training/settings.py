"""What a training run does, as frozen tables of plain values."""

import dataclasses


def _table():
    return dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """One adversarial run: StyleGAN2 on faces.

    Lengths of time are in thousands of real images shown (kimg). `channels` counts the feature maps of the
    generator and of the discriminator at 4², 8², … up to the resolution. `precision`: "fp32"; "fp16" (the four highest
    resolutions in half precision on a GPU, activations clamped at 256); "bf16" (autocast of the two main phases).
    `aug_p` is the fixed or the first strength of augmentation.
    """

    channels: tuple
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    batch: int = 32
    total_kimg: float = 25000.0
    g_lr: float = 0.0025
    d_lr: float = 0.0025
    gamma: float = 1.0
    r1_interval: int = 16
    pl_interval: int = 4
    pl_weight: float = 2.0
    pl_decay: float = 0.01
    style_mixing: float = 0.9
    use_noise: bool = True
    ema_kimg: float = 10.0
    ema_rampup: float | None = 0.05
    mirror: bool = False
    mirrory: bool = False
    cond: bool = False
    subset: int | None = None
    mbstd_group: int | None = 4
    d_architecture: str = "resnet"
    precision: str = "fp32"
    aug: str = "noaug"
    augpipe: str = "bgc"
    aug_p: float = 0.0
    aug_target: float = 0.6
    ada_kimg: float = 500.0
    freeze_d: int = 0
    freeze_mapping: int = 0
    freeze_embed: int = 0
    resume_kimg: float = 0.0
    tick_kimg: float = 4.0
    snapshot_ticks: int = 50
    seed: int = 0

    @property
    def resolution(self):
        """The side of the picture in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


@dataclasses.dataclass(frozen=True)
class VoiceSettings:
    """One run that trains the audio processor onto W+ with the generator frozen.

    `encoder` and `audio` hold options that differ from the defaults of SEResNetSettings and AudioSettings. The codes
    are held near the mean latent (`w_avg_weight`) and near each other in all layers (`spread_weight`), measured in
    standard deviations of the mapping network's own codes. Crops are `crop_s` long, or of a length between that and
    `crop_most_s`, drawn for each iteration. `optimiser`: adamw, adam or sgd. `schedule`: "cosine" (down along half a
    cosine), "cycles" (`cycles` of them), "constant"; each after `warmup_steps`. `terms` are weights of rows of
    training/losses/terms.py, beside or instead of the four weights here.
    """

    encoder: dict = _table()
    audio: dict = _table()
    batch: int = 32
    steps: int = 2000
    lr: float = 2e-3
    weight_decay: float = 1e-4
    optimiser: str = "adamw"
    betas: tuple = (0.9, 0.999)
    momentum: float = 0.9
    schedule: str = "cosine"
    cycles: int = 1
    crop_s: float = 4.0
    crop_most_s: float | None = None
    trait_weight: float = 1.0
    realism_weight: float = 0.1
    w_avg_weight: float = 0.1
    spread_weight: float = 4.0
    noise_snr_db: float = 10.0
    voice_augment: bool = False
    clip_norm: float | None = 1.0
    warmup_steps: int = 100
    terms: dict = _table()
    tick_steps: int = 50
    snapshot_ticks: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class JointSettings:
    """One run of the whole method: voice path, discriminator and identity classifier, and, if asked, the generator.

    `train_generator` lets the generator move as well. The adversarial setting of the paper: Adam 2e-4, (0.5, 0.999).
    """

    encoder: dict = _table()
    audio: dict = _table()
    batch: int = 32
    steps: int = 50000
    lr: float = 2e-4
    betas: tuple = (0.5, 0.999)
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    gamma: float = 1.0
    r1_interval: int = 16
    pl_interval: int = 4
    pl_weight: float = 2.0
    pl_decay: float = 0.01
    ema_kimg: float = 10.0
    ema_rampup: float | None = 0.05
    train_generator: bool = False
    mirror: bool = False
    precision: str = "fp32"
    aug: str = "noaug"
    augpipe: str = "bgc"
    aug_p: float = 0.0
    aug_target: float = 0.6
    ada_kimg: float = 500.0
    crop_s: float = 3.0
    crop_most_s: float | None = 8.0
    noise_snr_db: float = 10.0
    voice_augment: bool = False
    mbstd_group: int | None = 4
    freeze_d: int = 0
    terms: dict = _table()
    tick_steps: int = 100
    snapshot_ticks: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """One run that trains a trait probe; `noise` is the largest deviation of the noise added to the pictures."""

    width: int = 32
    batch: int = 64
    steps: int = 2500
    lr: float = 2e-3
    weight_decay: float = 1e-3
    noise: float = 0.1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is carried out. None of it changes what is learned (beyond float rounding), all may change on resume.

    `batch_gpu`: samples in one backward pass of one rank, None for all. `cache_gb`: a data set that takes no more than
    this is kept decoded in memory; a larger one is read by `workers` processes a rank. `skip_corrupt`: so many damaged
    items are replaced by others, the next one ends the run. `keep_states`, `keep_snapshots`: the newest so many stay
    (0: all), the best snapshot by the first metric stays as well. `image_ticks`: pictures every so many ticks, None:
    with each snapshot. `measuring`: fields of MeasureSettings. `grid`: "1080p", "4k" or "8k", the largest size of a
    sheet of pictures.
    """

    batch_gpu: int | None = None
    workers: int = 3
    cache_gb: float = 1.0
    skip_corrupt: int = 10
    metrics: tuple = ()
    measuring: dict = _table()
    keep_states: int = 2
    keep_snapshots: int = 0
    image_ticks: int | None = None
    grid: str = "8k"
    tensorboard: bool = False
    wandb: bool = False
    curves: bool = True
    allow_tf32: bool = False
    nhwc: bool = False
    nobench: bool = False
    compile: bool = False
    resume_latest: bool = False


# Settings that a resumed run may have changed: the state still fits.
MAY_CHANGE = ("total_kimg", "steps", "snapshot_ticks", "tick_kimg", "tick_steps")
