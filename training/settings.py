"""What a training run does, as frozen tables of plain values."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """One adversarial run: StyleGAN2 on faces.

    Lengths of time are in thousands of real images shown (kimg). `channels` counts the feature maps of the
    generator and of the discriminator at 4², 8², … up to the resolution.
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
    precision: str = "fp32"
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
    standard deviations of the mapping network's own codes.
    """

    encoder: dict = dataclasses.field(default_factory=dict)
    audio: dict = dataclasses.field(default_factory=dict)
    batch: int = 32
    steps: int = 2000
    lr: float = 2e-3
    weight_decay: float = 1e-4
    crop_s: float = 4.0
    trait_weight: float = 1.0
    realism_weight: float = 0.1
    w_avg_weight: float = 0.1
    spread_weight: float = 4.0
    noise_snr_db: float = 10.0
    warmup_steps: int = 100
    tick_steps: int = 50
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
