"""Augmentations by law: what they must leave alone, what they must undo, and how often they happen."""

import math

import numpy as np
import pytest
import torch

from training import augment_geometry as geometry_module
from training.augment import PIPES, ROWS, AugmentPipe, pipe_names
from training.augment_color import brighter, contrasted, hue_rotation, luma_mirror, map_colors, saturated
from training.augment_corruption import BAND_POWERS, amplify_bands, keep_mask
from training.augment_dice import Dice, on_active
from training.augment_geometry import (
    move_pixels,
    reflect_pad,
    resample_bilinear,
    rotation,
    scaling,
    translation,
    warp,
)
from training.augment_wavelets import octave_bank, symlet
from training.losses.r1 import r1_penalty
from training.phases import Batch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def smooth(n=2, side=32):
    """Pictures without high frequencies, periodic under no symmetry."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    rows = [torch.stack([torch.sin(2 * x + k), torch.cos(1.5 * y - k), torch.sin(x * y + x)]) for k in range(n)]
    return torch.stack(rows)


# Wavelets -------------------------------------------------------------------------------------------------------------

def test_symlets_are_orthonormal_and_have_their_moments():
    for moments in (2, 6):
        taps = np.array(symlet(moments))
        assert len(taps) == 2 * moments and taps.sum() == pytest.approx(math.sqrt(2))
        for shift in range(moments):
            assert taps[2 * shift:] @ taps[:len(taps) - 2 * shift] == pytest.approx(float(shift == 0), abs=1e-10)
        signs = (-1.0) ** np.arange(len(taps))
        for moment in range(moments):
            assert (signs * taps * np.arange(len(taps)) ** moment).sum() == pytest.approx(0, abs=1e-5)


def test_symlets_are_those_of_the_tables():
    """sym2 in closed form; the first taps of sym6 as printed by Daubechies (Ten Lectures, table 6.3, orthonormal)."""
    root = math.sqrt(3)
    assert symlet(2) == pytest.approx([(1 + root) / (4 * math.sqrt(2)), (3 + root) / (4 * math.sqrt(2)),
                                       (3 - root) / (4 * math.sqrt(2)), (1 - root) / (4 * math.sqrt(2))])
    assert symlet(6)[:6] == pytest.approx([0.015404109327, 0.003490712084, -0.117990111148, -0.048311742586,
                                           0.491055941927, 0.787641141030], abs=1e-10)


def test_bands_add_up_to_everything_and_lie_in_their_octaves():
    bank = octave_bank()
    identity = np.zeros(bank.shape[1])
    identity[bank.shape[1] // 2] = 1
    assert np.abs(bank.sum(0) - identity).max() < 1e-12
    assert np.allclose(bank, bank[:, ::-1])
    omega = np.linspace(0, math.pi, 513)
    power = np.abs(np.exp(-1j * np.outer(omega, np.arange(bank.shape[1]))) @ bank.T) ** 2
    centres = [(power[:, k] * omega).sum() / power[:, k].sum() for k in range(4)]
    limits = [0, math.pi / 8, math.pi / 4, math.pi / 2, math.pi]
    assert all(low < centre < high for low, centre, high in zip(limits, centres, limits[1:]))


# Blit -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(8, 8), (7, 7)])
def test_quarter_turns_and_mirrors_are_the_librarys(size):
    images, none = pictures(4, 3, *size), torch.zeros(4, 2, dtype=torch.long)
    turned = move_pixels(images, torch.zeros(4, dtype=torch.bool), torch.arange(4), none)
    for k in range(4):
        assert torch.equal(turned[k], images[k].rot90(k, (1, 2)))
    mirrored = torch.tensor([True, False, True, False])
    once = move_pixels(images, mirrored, torch.zeros(4, dtype=torch.long), none)
    assert torch.equal(once[0], images[0].flip(2)) and torch.equal(once[1], images[1])
    assert torch.equal(move_pixels(once, mirrored, torch.zeros(4, dtype=torch.long), none), images)


def test_whole_pixel_shifts_roll_and_mirror_at_the_border():
    images = pictures(1, 1, 5, 6)
    moved = move_pixels(images, torch.tensor([False]), torch.tensor([0]), torch.tensor([[2, -1]]))
    assert torch.equal(moved[0, 0, :4, 2:], images[0, 0, 1:, :4])
    assert torch.equal(moved[0, 0, :4, :2], images[0, 0, 1:, [1, 0]])
    assert torch.equal(moved[0, 0, 4], moved[0, 0, 3])


def test_blit_only_moves_pixels():
    images = pictures(64, 1, 4, 4)
    moved = AugmentPipe("blit", 1.0)(images, generator())
    for before, after in zip(images, moved):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    assert not torch.equal(images, moved)


# Geometry -------------------------------------------------------------------------------------------------------------

def test_where_nothing_moves_warping_gives_the_picture_back():
    images = pictures(2, 3, 32, 32, dtype=torch.float64)
    same = warp(images, torch.eye(3).repeat(2, 1, 1))
    assert (same - images)[:, :, 8:-8, 8:-8].abs().max() < 5e-6  # float32 taps; at the border half of them see


def test_doubling_and_halving_by_matrix_are_the_convolutions(monkeypatch):
    images = pictures(2, 3, 20, 16, dtype=torch.float64)
    by_matrix = geometry_module.double_size(images)
    margin = geometry_module.half_size(reflect_pad(by_matrix, 5))
    monkeypatch.setattr(geometry_module, "_MATRIX_SIDE", 0)
    assert by_matrix.shape == (2, 3, 40, 32) and margin.shape == images.shape
    assert torch.allclose(geometry_module.double_size(images), by_matrix, atol=1e-6)
    assert torch.allclose(geometry_module.half_size(reflect_pad(by_matrix, 5)), margin, atol=1e-6)
    turned = warp(images, rotation(torch.tensor([0.3, 2.0])))
    monkeypatch.undo()
    assert torch.allclose(warp(images, rotation(torch.tensor([0.3, 2.0]))), turned, atol=1e-6)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turning_by_quarters_resamples_to_the_exact_turn(quarter):
    images = smooth()
    turned = warp(images, rotation(torch.full([2], quarter * math.pi / 2)))
    wanted = move_pixels(images, torch.zeros(2, dtype=torch.bool), torch.full([2], quarter), torch.zeros(2, 2).long())
    assert (turned - wanted)[:, :, 4:-4, 4:-4].abs().max() < 0.02 * images.std()


def test_a_turn_there_and_back_is_nearly_nothing():
    images = smooth()
    back = warp(warp(images, rotation(torch.tensor([0.4, -0.7]))), rotation(torch.tensor([-0.4, 0.7])))
    assert (back - images)[:, :, 10:-10, 10:-10].abs().max() < 0.05 * images.std()


def test_shifts_by_whole_pixels_and_scales_by_two():
    images = smooth()
    moved = warp(images, translation(torch.tensor([3.0, 3.0]), torch.tensor([-2.0, -2.0])))
    assert (moved[:, :, 6:-8, 9:-6] - images[:, :, 8:-6, 6:-9]).abs().max() < 0.01
    larger = warp(images, scaling(torch.full([2], 2.0), torch.full([2], 2.0)))
    wanted = torch.nn.functional.interpolate(images[:, :, 8:24, 8:24], size=(32, 32), mode="bicubic")
    assert (larger - wanted)[:, :, 6:-6, 6:-6].abs().max() < 0.02


def test_outside_of_a_small_picture_is_its_mirror_image():
    images = torch.full((1, 3, 16, 16), 0.3)
    small = warp(images, scaling(torch.tensor([0.2]), torch.tensor([0.2])))
    assert torch.allclose(small, images, atol=1e-5)
    assert torch.equal(reflect_pad(pictures(1, 1, 2, 2), 5)[0, 0, 5:7, 5:7], pictures(1, 1, 2, 2)[0, 0])
    assert reflect_pad(torch.arange(3.0).reshape(1, 1, 1, 3), 4)[0, 0, 4].tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


def test_sampling_equals_the_library_and_its_second_derivative_is_right():
    images = pictures(2, 2, 5, 6, dtype=torch.float64).requires_grad_()
    grid = 1.4 * pictures(2, 4, 4, 2, seed=1, dtype=torch.float64)
    wanted = torch.nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    assert torch.equal(resample_bilinear(images, grid), wanted)
    assert torch.autograd.gradcheck(resample_bilinear, (images, grid))
    assert torch.autograd.gradgradcheck(resample_bilinear, (images, grid))


# Colour ---------------------------------------------------------------------------------------------------------------

def constant(*rgb):
    return torch.tensor(rgb, dtype=torch.float32).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)


def test_colour_maps_on_constants():
    color = constant(0.2, -0.4, 0.5)

    def mapped(matrix):
        return map_colors(color, matrix.reshape(1, 4, 4))[0, :, 0, 0]

    assert torch.allclose(mapped(brighter(torch.tensor([0.3]))), torch.tensor([0.5, -0.1, 0.8]))
    assert torch.allclose(mapped(contrasted(torch.tensor([2.0]))), torch.tensor([0.4, -0.8, 1.0]))
    assert torch.allclose(mapped(luma_mirror()), torch.tensor([0.2, -0.4, 0.5]) - 0.2, atol=1e-6)  # mean 0.1 -> -0.1
    assert torch.allclose(mapped(saturated(torch.tensor([0.0]))), torch.tensor([0.1, 0.1, 0.1]), atol=1e-6)
    assert torch.allclose(mapped(hue_rotation(torch.tensor([2 * math.pi / 3]))), torch.tensor([0.5, 0.2, -0.4]),
                          atol=1e-6)  # a third of a turn deals the channels out
    assert torch.allclose(mapped(hue_rotation(torch.tensor([0.0]))), color[0, :, 0, 0], atol=1e-6)
    assert torch.allclose(luma_mirror() @ luma_mirror(), torch.eye(4), atol=1e-6)


def test_grey_pictures_stay_grey():
    grey = pictures(2, 1, 4, 4)
    assert torch.allclose(map_colors(grey, hue_rotation(torch.tensor([1.0, 2.0]))), grey, atol=1e-6)
    assert torch.allclose(map_colors(grey, luma_mirror().repeat(2, 1, 1)), -grey, atol=1e-6)
    with pytest.raises(ValueError, match=r"pictures have 4 channels; colour augmentation takes 3 \(RGB\) or 1"):
        map_colors(pictures(1, 4, 4, 4), torch.eye(4)[None])


# Filter, noise, cutout ------------------------------------------------------------------------------------------------

def test_unit_gains_change_nothing_and_a_constant_knows_the_lowest_band_only():
    images = pictures(2, 3, 16, 16)
    assert torch.allclose(amplify_bands(images, torch.ones(2, 4)), images, atol=1e-5)
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert torch.allclose(amplify_bands(flat, torch.tensor([[1.0, 7.0, 0.0, 3.0]])), flat, atol=1e-5)
    assert torch.allclose(amplify_bands(flat, torch.tensor([[2.0, 1.0, 1.0, 1.0]])), 4 * flat, atol=1e-5)  # both axes
    stripes = (torch.arange(16) % 2 * 2.0 - 1).expand(1, 1, 16, 16)
    assert amplify_bands(stripes, torch.tensor([[1.0, 1.0, 1.0, 0.0]]))[..., 4:-4].abs().max() < 1e-5


def test_band_strengths_keep_the_expected_power():
    dice = Dice(2000, None, generator(), p=1.0)
    strength = dice.lognormal(1.0)
    factors = torch.ones(2000, 4)
    factors[:, 2] = strength
    factors = factors / (torch.tensor(BAND_POWERS) * factors.square()).sum(1, keepdim=True).sqrt()
    assert torch.allclose((torch.tensor(BAND_POWERS) * factors.square()).sum(1), torch.ones(2000), atol=1e-5)


def test_noise_has_its_deviation():
    added = AugmentPipe("noise", 1.0)(torch.zeros(400, 3, 16, 16), generator())
    deviations = added.flatten(1).std(1)
    assert deviations.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.1)  # of the half-normal law
    assert deviations.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.1)


def test_cutout_takes_half_of_each_side():
    mask = keep_mask(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), 8, 12)
    assert (mask[0] == 0).sum() == 4 * 6 and mask[0, 0, 2, 3] == 0 and mask[0, 0, 1, 3] == 1
    assert (mask[1] == 0).sum() == 2 * 3 and mask[1, 0, 7, 0] == 0  # cut off at the corner


# The pipe -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", PIPES)
def test_p_of_zero_is_the_same_tensor_and_p_of_one_is_not(name):
    images = pictures(8, 3, 16, 16)
    assert AugmentPipe(name, 0.0)(images, generator()) is images
    pipe = AugmentPipe(name, 1.0)
    changed = pipe(images, generator())
    assert changed.shape == images.shape and changed.dtype == images.dtype and changed.isfinite().all()
    share = (changed != images).flatten(1).any(1).float().mean()
    assert share > 0.8 and torch.equal(pipe(images, generator()), changed)
    assert not torch.equal(pipe(images, generator(1)), changed)


@pytest.mark.parametrize(("name", "share"), [("noise", 1.0), ("cutout", 1.0), ("color", 1.0), ("geom", 1.0)])
def test_the_expected_share_of_pictures_is_changed(name, share):
    """Independent transformations leave (1 - p)^k of the pictures alone."""
    p, count = 0.3, 600
    happening = {"noise": [p], "cutout": [p], "color": [p, p, p / 2, p, p], "geom": [p, p, p, p]}[name]
    images = pictures(count, 3, 4, 4)  # the two turns of geom count as one: 1 - (1 - (1 - sqrt(1 - p)))² = p
    changed = (AugmentPipe(name, p)(images, generator()) != images).flatten(1).any(1).float().mean().item()
    wanted = 1 - math.prod(1 - q for q in happening)
    assert changed == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / count))


def test_blit_share_by_counting_the_ways_to_change_nothing():
    p, count = 0.4, 3000
    images = pictures(count, 1, 8, 8)
    changed = (AugmentPipe("blit", p)(images, generator()) != images).flatten(1).any(1).float().mean().item()
    still = (1 - p / 2) * (1 - 3 * p / 4) * (1 - p + p / 4)  # a shift of up to ±1 of 8 pixels rounds to 0 half the time
    assert changed == pytest.approx(1 - still, abs=4 * math.sqrt(still * (1 - still) / count))


@pytest.mark.parametrize("row", ["bgcfnc"])
def test_a_sample_does_not_depend_on_the_batch_around_it(row):
    images, pipe = pictures(8, 3, 16, 16), AugmentPipe(row, 0.7)
    whole = pipe(images, generator())
    for k in range(2):
        positions = torch.arange(8)[k::2]
        part = Batch(size=8, positions=positions, images=images[positions])
        assert torch.allclose(pipe(part.images, generator(), batch=part), whole[positions], atol=1e-6)


def test_untouched_rows_keep_every_bit():
    images = pictures(64, 3, 16, 16)
    changed = AugmentPipe("geom,filter", 0.1)(images, generator())
    same = [torch.equal(a, b) for a, b in zip(images, changed)]
    assert 10 < sum(same) < 60
    assert on_active(images, torch.zeros(64, dtype=torch.bool), None) is images


@pytest.mark.parametrize("name", PIPES)
def test_pipes_are_differentiable_twice(name):
    """A linear D has the R1 penalty |Jᵀw|²; its gradient in w must equal that of finite differences."""
    pipe, real = AugmentPipe(name, 1.0), pictures(2, 3, 8, 8, dtype=torch.float64).requires_grad_()
    weight = pictures(3, 8, 8, seed=1, dtype=torch.float64).requires_grad_()

    def penalty(w):
        return r1_penalty((pipe(real, generator()) * w).sum([1, 2, 3])[:, None], real).mean()

    (gradient,) = torch.autograd.grad(penalty(weight), weight)
    step = 1e-5 * pictures(3, 8, 8, seed=2, dtype=torch.float64)
    wanted = (penalty(weight + step) - penalty(weight - step)).item() / 2
    assert (gradient * step).sum().item() == pytest.approx(wanted, rel=1e-4, abs=1e-12)
    assert gradient.abs().max() > 0


def test_bf16_pictures_stay_bf16_and_autocast_changes_nothing():
    images, pipe = pictures(4, 3, 16, 16), AugmentPipe("bgcfnc", 1.0)
    exact = pipe(images, generator())
    half = pipe(images.bfloat16(), generator())
    assert half.dtype == torch.bfloat16 and (half.float() - exact).abs().max() < 0.2 * exact.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pipe(images, generator()), exact)


@pytest.mark.parametrize("name", [name for name in PIPES if name != "noise"])  # "meta" draws no random numbers
def test_parameters_drawn_on_the_cpu_are_brought_to_the_pictures(name):
    """The meta device stands for a GPU: it refuses to be mixed with the CPU."""
    images = torch.empty(4, 3, 16, 16, device="meta", requires_grad=True)
    changed = AugmentPipe(name, 1.0)(images, generator())
    (gradient,) = torch.autograd.grad(changed.sum(), images, create_graph=True)
    assert changed.device.type == gradient.device.type == "meta" and changed.shape == images.shape


def test_p_is_a_buffer_that_a_checkpoint_keeps():
    pipe, other = AugmentPipe("bgc", 0.25), AugmentPipe("bgc")
    other.load_state_dict(pipe.state_dict())
    assert other.p.item() == 0.25 and list(pipe.parameters()) == []
    images = pictures(4, 3, 8, 8)
    assert torch.equal(other(images, generator()), pipe(images, generator()))
    other.p.fill_(0.0)
    assert other(images, generator()) is images and other.strength == 0


def test_rows_and_errors():
    assert pipe_names("bgc") == ("blit", "geom", "color") and pipe_names("cutout, blit") == ("blit", "cutout")
    assert pipe_names(["bg", "noise"]) == ("blit", "geom", "noise") and pipe_names("bgcfnc") == tuple(PIPES)
    assert set(ROWS) == {"bg", "bgc", "bgcf", "bgcfn", "bgcfnc"}
    with pytest.raises(ValueError, match='no augmentation "colour". Did you mean "color"'):
        pipe_names("blit,colour")
    with pytest.raises(ValueError, match="probability p is 1.5; allowed: 0 to 1"):
        AugmentPipe("bgc", 1.5)
    with pytest.raises(ValueError, match="augmentation takes float pictures"):
        AugmentPipe("bgc", 0.5)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_pictures_that_are_not_square():
    images = pictures(6, 3, 16, 8)
    for name in PIPES:
        assert AugmentPipe(name, 1.0)(images, generator()).isfinite().all()
