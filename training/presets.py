"""Named rows of settings for --cfg: each is visible here, and `train.py --dry-run` prints what it becomes."""

from training.settings import GanSettings, ProbeSettings, VoiceSettings

_DEMO = {"z_dim": 128, "w_dim": 128, "mapping_layers": 3, "batch": 32, "pl_interval": 8, "mirror": True,
         "tick_kimg": 5.0, "snapshot_ticks": 2}

GAN_PRESETS = {
    # The drawn world on a processor core: small networks, much data. Grow it: 32² first, then --resume at 64².
    # Drawn skin has no grain: from 64² on, the noise inputs would only add speckle, so there are none.
    "demo": {
        32: GanSettings(channels=(64, 64, 64, 32), gamma=0.3, total_kimg=60, ema_kimg=5, **_DEMO),
        64: GanSettings(channels=(64, 64, 64, 32, 16), gamma=0.6, total_kimg=180, ema_kimg=10,
                        use_noise=False, **_DEMO),
        128: GanSettings(channels=(64, 64, 64, 32, 16, 8), gamma=1.0, total_kimg=200, ema_kimg=10,
                         use_noise=False, **_DEMO),
    },
}

VOICE_PRESETS = {
    "demo": VoiceSettings(encoder={"base_width": 24, "embed_dim": 256}, batch=32, steps=1200),
}

PROBE_PRESETS = {"demo": ProbeSettings()}
