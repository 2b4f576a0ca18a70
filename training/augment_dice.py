"""Random parameters of augmentations, drawn for every sample of a whole batch, whatever part of it is at hand."""

import torch


class Dice:
    """Draws [size, ...] on the CPU from one generator and hands out the rows `positions`: [n, ...].

    The same numbers are drawn whether or not a transformation is used, so that sample k of a batch gets the same ones
    on any number of ranks and in any number of parts. Without a generator torch's global one is used.
    """

    def __init__(self, size, positions=None, generator=None, *, p=1.0):
        self.size, self.generator, self.p = size, generator, p
        self.positions = None if positions is None else positions.cpu()

    def uniform(self, low, high, *shape):  # -> [n, ...] float32
        """Returns numbers of U(low, high)."""
        return low + (high - low) * self._rows(torch.rand([self.size, *shape], generator=self.generator))

    def normal(self, deviation, *shape):  # -> [n, ...] float32
        """Returns numbers of N(0, deviation²)."""
        return deviation * self._rows(torch.randn([self.size, *shape], generator=self.generator))

    def lognormal(self, octaves, *shape):  # -> [n, ...] float32
        """Returns 2 to the power of N(0, octaves²): ln of it is N(0, (octaves · ln 2)²)."""
        return torch.exp2(self.normal(octaves, *shape))

    def choice(self, count):  # -> [n] int64
        """Returns whole numbers from 0 to count - 1, all equally likely."""
        return self._rows(torch.randint(count, [self.size], generator=self.generator))

    def seeds(self):  # -> [n] int64
        """Returns a seed for each sample, for what is drawn in large numbers on the device of the pictures."""
        return self._rows(torch.randint(2**62, [self.size], generator=self.generator))

    def chance(self, probability=None):  # -> [n] bool
        """Returns True with a probability (None: p)."""
        return self._rows(torch.rand([self.size], generator=self.generator)) < (self.p if probability is None
                                                                                 else probability)

    def _rows(self, whole):
        return whole if self.positions is None else whole[self.positions]


def on_active(images, active, transform):
    """Returns images with those rows replaced by transform(rows, their numbers) where `active` [n] (CPU) is True.

    The others keep every bit; nothing at all is computed when none is active.
    """
    picks = active.nonzero().flatten()
    if len(picks) == 0:
        return images
    if len(picks) == len(images):
        return transform(images, picks)
    place = picks.to(images.device)
    return images.index_copy(0, place, transform(images.index_select(0, place), picks).to(images.dtype))
