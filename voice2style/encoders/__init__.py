"""The encoders: features [N, C, T] to offsets in W+ [N, L, D]. A new one is a file here and a row of the table."""

from voice2style.encoders.se_resnet import SEResNet, SEResNetSettings

ENCODERS = {"se_resnet": (SEResNetSettings, SEResNet)}

__all__ = ["ENCODERS", "SEResNet", "SEResNetSettings"]
