"""A batched canvas in head coordinates, with the few shape functions that every part of a drawn face uses.

Pictures are painted on coordinates u, v in [-1, 1] (u to the right, v downwards). Signed distances are negative inside
a shape; anti-aliasing is analytic: coverage = clamp(1/2 - distance / pixel, 0, 1), so no supersampling is needed.
Letters: N pictures, H W pixels of a box (a sub-rectangle of the canvas).
"""

import functools
import math

import torch

SKIN_TONES = (
    (0.98, 0.86, 0.76),
    (0.94, 0.78, 0.65),
    (0.87, 0.67, 0.51),
    (0.73, 0.52, 0.37),
    (0.56, 0.38, 0.26),
    (0.40, 0.27, 0.19),
)
HAIR_COLOURS = (
    (0.10, 0.08, 0.08),
    (0.23, 0.15, 0.10),
    (0.40, 0.25, 0.14),
    (0.62, 0.42, 0.20),
    (0.85, 0.68, 0.40),
    (0.62, 0.25, 0.12),
)
IRIS_COLOURS = ((0.30, 0.19, 0.11), (0.42, 0.30, 0.16), (0.36, 0.44, 0.26), (0.36, 0.55, 0.68), (0.45, 0.52, 0.56))


@functools.lru_cache(maxsize=256)
def constant(values, device):  # nested tuple of numbers -> float32 tensor
    """The tensor of these numbers on that device; made once, so that drawing on a GPU never waits for a copy."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def colour(rgb, device):  # (r, g, b) -> [1, 3, 1, 1]
    """A fixed colour, ready to be painted on every picture of a batch."""
    return constant(rgb, device).view(1, 3, 1, 1)


def ramp(table, position):  # K colours, [N] in [0, 1] -> [N, 3]
    """Colours interpolated linearly along a table of key colours."""
    keys = constant(table, position.device)
    x = position.clamp(0, 1) * (len(table) - 1)
    low = x.floor().long().clamp(0, len(table) - 2)
    fraction = (x - low)[:, None]
    return keys[low] * (1 - fraction) + keys[low + 1] * fraction


def luminance(rgb):  # [N, 3] -> [N, 1]
    """Rough brightness of colours."""
    return (rgb * constant((0.3, 0.6, 0.1), rgb.device)).sum(1, keepdim=True)


def smoothstep(start, end, x):
    """0 before `start`, 1 after `end`, a cubic in between (start > end gives a falling step)."""
    t = ((x - start) / (end - start)).clamp_(0, 1)
    return (3 - 2 * t).mul_(t).mul_(t)


def power(x, exponent):
    """x ** exponent for x >= 0, by logarithms: several times faster on a CPU than `**`."""
    return (x.log() * exponent).exp_()


def positive(x):
    """1 where x > 0, else 0, as numbers: mixing by `choose` is several times faster on a CPU than `torch.where`."""
    return x.sign().clamp_min_(0)


def choose(mask, yes, no):  # mask of 0 and 1
    """`yes` where the mask is 1 and `no` where it is 0, exactly."""
    return torch.lerp(no, yes, mask)


def bell(dx, dy, width_x, width_y):
    """A two-dimensional Gaussian bump with the value 1 at dx = dy = 0."""
    return (dx / width_x).square_().add_((dy / width_y).square_()).neg_().exp_()


def ridge(distance, width):
    """A one-dimensional Gaussian bump with the value 1 where the distance is 0."""
    return (distance / width).square_().neg_().exp_()


def ellipse(dx, dy, radius_x, radius_y):
    """Relative radius: 1 on the ellipse, under 1 inside."""
    return (dx / radius_x).square_().add_((dy / radius_y).square_()).add_(1e-6).sqrt_()


def length(dx, dy):
    """Euclidean length, differentiable at 0."""
    return (dx * dx + dy * dy + 1e-7).sqrt()


class Canvas:
    """N square pictures, each with its own pose; everything is painted in place.

    `pose` holds [N, 1, 1] tensors roll (radians), scale, shift_x, shift_y, yaw and nod. The turn of the head is a
    parallax: a layer at depth z is looked up at (x - yaw * z, y - nod * z).
    """

    def __init__(self, num_pictures, resolution, pose, device):
        self.resolution, self.pixel, self.device, self.pose = resolution, 2.0 / resolution, device, pose
        grid = (torch.arange(resolution, device=device) + 0.5) / resolution * 2 - 1
        self.u, self.v = grid[None, None, :], grid[None, :, None]
        self.pixels = torch.zeros(num_pictures, 3, resolution, resolution, device=device)
        self.full = (slice(0, resolution), slice(0, resolution))
        self._cos, self._sin = torch.cos(pose["roll"]), torch.sin(pose["roll"])
        u, v = (self.u - pose["shift_x"]) / pose["scale"], (self.v - pose["shift_y"]) / pose["scale"]
        self._x, self._y = self._cos * u + self._sin * v, self._cos * v - self._sin * u
        self._pixel_in_head = self.pixel / pose["scale"]

    def box(self, left, right, top, bottom):  # u, u, v, v -> (rows, columns)
        """The slices of a sub-rectangle: small features are painted in small boxes, which is much faster."""

        def index(coordinate):
            return min(max(round((coordinate + 1) / 2 * self.resolution), 0), self.resolution)

        return slice(index(top), max(index(bottom), index(top) + 1)), slice(
            index(left), max(index(right), index(left) + 1)
        )

    def inner_box(self, outer, left, right, top, bottom):  # -> box, index of that box in an [N, H, W] of the outer one
        """The part of a box that also lies in a larger box, and where it lies in it."""
        rows, columns = self.box(left, right, top, bottom)
        start_y, start_x = outer[0].start, outer[1].start
        rows = slice(max(rows.start, start_y), min(rows.stop, outer[0].stop))
        columns = slice(max(columns.start, start_x), min(columns.stop, outer[1].stop))
        inside = (
            slice(rows.start - start_y, rows.stop - start_y),
            slice(columns.start - start_x, columns.stop - start_x),
        )
        return (rows, columns), (slice(None), *inside)

    def at(self, depth, box=None):  # -> x [N, H, W], y [N, H, W]
        """Head coordinates of the pixels of a box, on the layer at this depth."""
        rows, columns = box or self.full
        return (
            self._x[:, rows, columns] - self.pose["yaw"] * depth,
            self._y[:, rows, columns] - self.pose["nod"] * depth,
        )

    def project(self, x, y, depth):  # [N, 1, 1] each -> [N, 2] pixels
        """Where a point of the head lands: the inverse of `at`. The first pixel's centre is (0.5, 0.5)."""
        pose = self.pose
        x, y = x + pose["yaw"] * depth, y + pose["nod"] * depth
        u = (self._cos * x - self._sin * y) * pose["scale"] + pose["shift_x"]
        v = (self._sin * x + self._cos * y) * pose["scale"] + pose["shift_y"]
        return ((torch.cat([u, v], 2)[:, 0] + 1) / 2) * self.resolution

    def coverage(self, distance, soft=0.0):  # [N, H, W] -> [N, H, W] in [0, 1]
        """How much of each pixel lies inside a shape with this signed distance; `soft` widens the edge."""
        return (distance / -(self._pixel_in_head + soft)).add_(0.5).clamp_(0, 1)

    def fade(self, frequency):
        """Amplitude left for a texture of this angular frequency: what the pixels cannot hold would alias."""
        return math.exp(-((frequency * self.pixel / 1.6) ** 2))

    def paint(self, rgb, alpha, box=None):  # [N, 3, 1, 1] or [N, 3, H, W]; [N, H, W]
        """Mix a colour into the picture."""
        rows, columns = box or self.full
        self.pixels[:, :, rows, columns].lerp_(rgb, alpha[:, None])

    def darken(self, rgb, alpha, box=None):  # (r, g, b) factors; [N, H, W]
        """Multiply the picture by these factors where alpha is 1, by 1 where it is 0."""
        rows, columns = box or self.full
        for channel, factor in enumerate(rgb):
            view = self.pixels[:, channel, rows, columns]
            view.addcmul_(view, alpha, value=factor - 1)
