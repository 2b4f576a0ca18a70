"""SSIM and MS-SSIM of pairs of pictures (Wang et al. 2004, 2003): Gaussian window of 11, σ 1.5, valid region only."""

import torch
import torch.nn.functional as F

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, from fine to coarse
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def ssim(first, second, *, data_range=2.0):  # [N, C, H, W] each -> [N]
    """Returns the structural similarity, mean over pixels and channels: 1 for equal ones. `data_range` 2: [-1, 1]."""
    likeness, _ = _parts(*_checked(first, second, 1), data_range)
    return likeness.mean(1)


def ms_ssim(first, second, *, data_range=2.0, scales=5):  # [N, C, H, W] each -> [N]
    """Returns the multi-scale similarity: contrast·structure of the fine scales and SSIM of the coarsest, to the powers
    of `WEIGHTS` (fewer than five are made to sum to 1), channel by channel. Negative terms count as 0.
    """
    first, second = _checked(first, second, 2 ** (scales - 1))
    whole = 1.0 if scales == len(WEIGHTS) else sum(WEIGHTS[:scales])  # the published five sum to 1.0001, and stay so
    result = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
    for scale, weight in enumerate(WEIGHTS[:scales]):
        likeness, structure = _parts(first, second, data_range)
        result = result * (likeness if scale == scales - 1 else structure).clamp(min=0) ** (weight / whole)
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return result.mean(1)


def scales_that_fit(side):
    """Returns how many of the five scales a picture with this shorter side has room for; 0: not even one."""
    return sum(side // 2**scale >= _WINDOW for scale in range(len(WEIGHTS)))


def _parts(first, second, data_range):  # -> (SSIM [N, C], contrast·structure [N, C])
    count, channels = first.shape[:2]
    offsets = torch.arange(_WINDOW, dtype=first.dtype, device=first.device) - _WINDOW // 2
    line = torch.exp(-0.5 * (offsets / _SIGMA).square())
    line = (line / line.sum()).reshape(1, 1, -1, 1)

    def blurred(x):
        return F.conv2d(F.conv2d(x, line), line.transpose(2, 3))

    planes = [x.reshape(count * channels, 1, *x.shape[2:]) for x in (first, second)]
    x, y = planes
    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    likeness = structure * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return tuple(part.reshape(count, channels, -1).mean(2) for part in (likeness, structure))


def _checked(first, second, shrink):
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(f"two equal shapes [N, C, H, W] are compared, got {list(first.shape)} and "
                         f"{list(second.shape)}.")
    if min(first.shape[2:]) // shrink < _WINDOW:
        raise ValueError(f"pictures of {first.shape[3]}x{first.shape[2]} are too small: the window of {_WINDOW} needs "
                         f"{_WINDOW * shrink} pixels a side.")
    return first.double(), second.double()
