"""What a reader hands on: for each network its settings, and where in the file each of its tensors lies."""

import dataclasses


@dataclasses.dataclass
class Plan:
    """One network to be loaded: its settings so far, and where each of its tensors lies in the file."""

    role: str  # "G_ema", "G" or "D"
    settings: dict
    tensors: dict  # our name -> TensorRef or ArrayRef
    transforms: dict = dataclasses.field(default_factory=dict)  # our name -> function(tensor), where not the identity
    filters: dict = dataclasses.field(default_factory=dict)  # settings key -> TensorRef of the kernel that tells it
    notes: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Found:
    """A recognised file: what it is and the networks in it."""

    kind: str  # "NVIDIA ada StyleGAN2", "rosinality", ...
    version: str
    plans: list
    notes: list = dataclasses.field(default_factory=list)
