"""Augmentation of what the discriminator sees, drawn and real faces alike: the pipes of ADA and their usual rows.

Karras et al. 2020. Every transformation happens to a picture with probability p; below p of about 0.8 the generator
still learns the faces as they are, because D sees enough of them so.
"""

import torch
from torch import nn

from dnnlib.settings import did_you_mean
from torch_utils.ops import autocast_off
from training.augment_color import color
from training.augment_corruption import band_filter, cutout, noise
from training.augment_dice import Dice
from training.augment_geometry import blit, geometry

PIPES = {"blit": blit, "geom": geometry, "color": color, "filter": band_filter, "noise": noise, "cutout": cutout}
ROWS = {
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}


def pipe_names(row):
    """Returns the transformations of a row ("bgc"), of one name ("blit"), of a list with commas, or of a sequence.

    They come in the order in which they happen. ValueError for a name that is not known.
    """
    words = row.split(",") if isinstance(row, str) else row
    wanted = set()
    for word in (str(word).strip() for word in words):
        if word not in PIPES and word not in ROWS:
            raise ValueError(f'no augmentation "{word}".{did_you_mean(word, [*PIPES, *ROWS])} Known: '
                             f"{', '.join(PIPES)}, and the rows {', '.join(ROWS)}.")
        wanted |= set(ROWS.get(word, (word,)))
    return tuple(name for name in PIPES if name in wanted)


class AugmentPipe(nn.Module):
    """`pipe(images)` -> augmented images; `p` is a buffer, differentiable to any order in the images.

    `names` is a row, a name or several. With p of 0 the same tensor comes back. Parameters are drawn on the CPU from
    `generator`, for a whole batch: give `batch` (something with `size` and `positions`) when the images are a part of
    it, and sample k gets the same transformation on any number of ranks.
    """

    def __init__(self, names="bgc", p=0.0):
        super().__init__()
        self.names = pipe_names(names)
        self.register_buffer("p", torch.zeros([]))
        self._strength = None, 0.0  # of which state of the buffer, its number
        self.set_p(p)

    @property
    def strength(self):
        """p as a plain number; asks the device for it only when the buffer has changed."""
        state = (id(self.p), self.p._version)
        if self._strength[0] != state:
            self._strength = state, float(self.p)
        return self._strength[1]

    def set_p(self, p):
        """Sets the probability; ValueError outside of 0 to 1."""
        if not 0 <= p <= 1:
            raise ValueError(f"the augmentation probability p is {p}; allowed: 0 to 1")
        self.p.fill_(p)

    def forward(self, images, generator=None, *, batch=None):  # [N, C, H, W] -> [N, C, H, W]
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(f"augmentation takes float pictures [N, C, H, W], got {images.dtype} {list(images.shape)}")
        p = self.strength
        if p == 0:
            return images
        size, positions = (len(images), None) if batch is None else (batch.size, batch.positions)
        dice = Dice(size, positions, generator, p=p)
        with autocast_off(images):
            for name in self.names:
                images = PIPES[name](images, dice)
        return images

    def extra_repr(self):
        return ",".join(self.names)
