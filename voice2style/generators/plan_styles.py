"""Styles and demodulation factors of all layers of a frozen plan at once: small products, shared out over threads."""

from typing import NamedTuple

import torch
from torch import Tensor


class StyleReader(NamedTuple):
    """What a layer reads from its code w [D]: styles [I] and, where it demodulates, a scale [O] behind its products."""

    row: int  # of the codes
    weight: Tensor  # [D, I], gains folded in
    bias: Tensor  # [I]
    squares: Tensor | None = None  # [I, O], of the weights summed over their taps; None: no demodulation
    epsilon: float = 0.0
    scale_gain: float = 1.0
    halves: bool = False  # styles are divided by their largest, for sums of products in float16


def reader_of(affine, row, *, gain=1.0, **rest):
    """Return the StyleReader of a dense layer of a network; gain: of its styles."""
    weight = (affine.weight.detach() * (affine.weight_gain * gain)).t()
    return StyleReader(row, weight, affine.bias.detach() * (affine.bias_gain * gain), **rest)


class Modulation(NamedTuple):
    """What a layer is multiplied by."""

    styles: Tensor  # [N, I]
    scale: Tensor | None  # [N, O]

    def of(self, samples):
        """Return that of a slice of the samples."""
        return Modulation(*(None if each is None else each[samples] for each in self))


class PlanStyles:
    """The Modulation of each reader, in their order, for codes ws [N, L, D] float32.

    styles = w @ weight + bias; scale = scale_gain / sqrt(styles² @ squares + epsilon), as Karras et al. (2020) have it.
    """

    def __init__(self, readers):
        numbered = list(enumerate(readers))
        self._styles = [_StylesAlike(group) for group in _alike(numbered, lambda r: (r.weight.shape, r.halves))]
        scaled = [(number, reader) for number, reader in numbered if reader.squares is not None]
        self._scales = [_ScalesAlike(group) for group in _alike(scaled, lambda r: r.squares.shape)]

    def __call__(self, ws):
        styles, scales = {}, {}
        for group in self._styles:
            styles.update(zip(group.numbers, group(ws)))
        for group in self._scales:
            scales.update(zip(group.numbers, group([styles[number] for number in group.numbers])))
        return [Modulation(styles[number], scales.get(number)) for number in range(len(styles))]


def _alike(numbered, kind):
    """Returns lists of (number, reader) of one kind each."""
    groups = {}
    for number, reader in numbered:
        groups.setdefault(kind(reader), []).append((number, reader))
    return groups.values()


class _StylesAlike:
    """Styles [K, N, I] of layers of equal shapes."""

    def __init__(self, numbered):
        self.numbers, readers = zip(*numbered)
        self._weight, self._halves = torch.stack([reader.weight.t() for reader in readers]), readers[0].halves
        rows = [reader.row for reader in readers]
        self._rows = torch.tensor(rows, device=self._weight.device)  # there already when a CUDA graph is recorded
        self._bias = torch.stack([reader.bias for reader in readers])[:, :, None]

    def __call__(self, ws):
        styles = _multiply(self._bias, self._weight, ws.index_select(1, self._rows).transpose(0, 1))
        return styles / styles.abs().amax(2, keepdim=True) if self._halves else styles


class _ScalesAlike:
    """Scales [K, N, O] of layers of equal shapes, of their styles."""

    def __init__(self, numbered):
        self.numbers, readers = zip(*numbered)
        self._squares = torch.stack([reader.squares.t() for reader in readers])
        self._epsilon, self._gain = (self._squares.new_tensor(each)[:, None, None] for each in (
            [reader.epsilon for reader in readers], [reader.scale_gain for reader in readers]))

    def __call__(self, styles):
        squares = torch.stack(styles).square_()
        return _multiply(self._epsilon, self._squares, squares).rsqrt_().mul_(self._gain)


def _multiply(bias, weight, rows):  # [K, I or 1, 1], [K, I, D], [K, N, D] -> [K, N, I]
    """Returns rows @ weight' + bias; weights first, since libraries multiply a few columns faster than a few rows."""
    return torch.baddbmm(bias, weight, rows.transpose(1, 2)).transpose(1, 2).contiguous()
