"""Named rows of settings for --cfg: each is visible here, and `train.py --dry-run` prints what it becomes."""

import dataclasses

from training.settings import GanSettings, JointSettings, ProbeSettings, VoiceSettings
from voice2style.generators.stylegan2 import channel_table

_DEMO = {"z_dim": 128, "w_dim": 128, "mapping_layers": 3, "batch": 32, "pl_interval": 8, "mirror": True,
         "tick_kimg": 5.0, "snapshot_ticks": 2}

DEMO_GAN = {
    # The drawn world on a processor core: small networks, much data. Grow it: 32² first, then --resume at 64².
    # Drawn skin has no grain: from 64² on, the noise inputs would only add speckle, so there are none.
    32: GanSettings(channels=(64, 64, 64, 32), gamma=0.3, total_kimg=60, ema_kimg=5, **_DEMO),
    64: GanSettings(channels=(64, 64, 64, 32, 16), gamma=0.6, total_kimg=180, ema_kimg=10,
                    use_noise=False, **_DEMO),
    128: GanSettings(channels=(64, 64, 64, 32, 16, 8), gamma=1.0, total_kimg=200, ema_kimg=10,
                     use_noise=False, **_DEMO),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of the published configurations: learning rate `lr`, feature maps `fmaps` x 32768 / resolution.

    `batch` is split over `ref_gpus` in the publication; fewer ranks accumulate gradients over pieces of that size.
    `kimg` `gamma` `ema` (half-life in kimg) `ramp` `mapping` (layers) `mbstd` (group of the batch statistics).
    """

    ref_gpus: int
    kimg: int
    batch: int
    mbstd: int
    fmaps: float
    lr: float
    gamma: float
    ema: float
    ramp: float | None
    mapping: int
    more: dict = dataclasses.field(default_factory=dict)


PUBLISHED = {
    "stylegan2": Published(8, 25000, 32, 4, 1.0, 0.002, 10.0, 10, None, 8),  # config F at 1024²
    "paper256": Published(8, 25000, 64, 8, 0.5, 0.0025, 1.0, 20, None, 8),
    "paper512": Published(8, 25000, 64, 8, 1.0, 0.0025, 0.5, 20, None, 8),
    "paper1024": Published(8, 25000, 32, 4, 1.0, 0.002, 2.0, 10, None, 8),
    "cifar": Published(2, 100000, 64, 32, 1.0, 0.0025, 0.01, 500, 0.05, 2, {
        "pl_weight": 0.0, "style_mixing": 0.0, "d_architecture": "orig"}),
}


def auto_row(resolution, gpus):
    """Returns the published rule of thumb for a resolution and a number of GPUs."""
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    return Published(gpus, 25000, batch, min(batch // gpus, 4), 1.0 if resolution >= 512 else 0.5,
                     0.002 if resolution >= 1024 else 0.0025, 0.0002 * resolution**2 / batch, batch * 10 / 32, 0.05, 2)


def published_settings(row, resolution, *, cbase=None, cmax=None):
    """Returns (GanSettings of a published row at a resolution, samples in one piece of accumulated work)."""
    base = cbase or int(row.fmaps * 32768)
    settings = GanSettings(
        channels=channel_table(resolution, base, cmax or 512), mapping_layers=row.mapping, batch=row.batch,
        total_kimg=row.kimg, g_lr=row.lr, d_lr=row.lr, gamma=row.gamma, ema_kimg=row.ema, ema_rampup=row.ramp,
        mbstd_group=row.mbstd, precision="fp16", aug="ada", **row.more)
    return settings, row.batch // row.ref_gpus


GAN_PRESETS = ("auto", *PUBLISHED, "demo")

VOICE_PRESETS = {
    "demo": VoiceSettings(encoder={"base_width": 24, "embed_dim": 256}, batch=32, steps=1200),
    # The paper prints three trainings as one (docs/training.md): here they are three rows.
    "paper": VoiceSettings(optimiser="adam", betas=(0.5, 0.999), lr=2e-4, weight_decay=0.0, schedule="constant",
                           batch=32, steps=50000, crop_s=3.0, crop_most_s=8.0, warmup_steps=0, clip_norm=None,
                           tick_steps=100),
    "paper-latent": VoiceSettings(optimiser="sgd", momentum=0.9, weight_decay=1e-4, lr=1e-3, batch=384, steps=10000,
                                  schedule="cycles", cycles=5, crop_s=3.0, crop_most_s=8.0, warmup_steps=0,
                                  clip_norm=None, tick_steps=100),
    "paper-lr05": VoiceSettings(optimiser="sgd", momentum=0.9, weight_decay=1e-4, lr=0.05, batch=32, steps=50000,
                                schedule="constant", crop_s=3.0, crop_most_s=8.0, warmup_steps=0, clip_norm=None,
                                tick_steps=100),
}

JOINT_PRESETS = {
    "demo": JointSettings(encoder={"base_width": 24, "embed_dim": 256}, steps=1200, crop_s=3.0, crop_most_s=4.0,
                          d_lr=2.5e-3, tick_steps=50),  # at 2e-4 layers with equalised rates learn nothing
    "paper": JointSettings(),
}

PROBE_PRESETS = {"demo": ProbeSettings()}

CFG_NAMES = tuple(dict.fromkeys([*GAN_PRESETS, *VOICE_PRESETS, *JOINT_PRESETS, *PROBE_PRESETS]))
