"""Alignment: least squares against scipy, known transforms taken back to sub-pixel, FFHQ's square."""

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import least_squares

from torch_utils.images import to_uint8
from training.datasets import alignment
from training.datasets.alignment import Similarity, as_complex, fit_similarity, resample
from voice2style.demo.world import World

FACE = np.array([(100.0, 120.0), (160.0, 118.0), (131.0, 155.0), (108.0, 185.0), (155.0, 183.0)])


def rotated(points, degrees, factor=1.0, shift=0j):
    return Similarity(factor * np.exp(1j * np.deg2rad(degrees)), shift)(points)


def blob(point, size, sigma):
    """A picture with one Gaussian blob."""
    y, x = np.mgrid[:size, :size] + 0.5
    total = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
    return Image.fromarray(np.rint(255 * total).astype(np.uint8)).convert("RGB")


def centroid(picture):
    """The centre of brightness in pixels; the centre of the first pixel is (0.5, 0.5)."""
    grey = np.asarray(picture.convert("L"), dtype=float)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
    return np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum()


def test_fit_is_the_least_squares_similarity():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(7, 2)) * 50, rng.normal(size=(7, 2)) * 50 + 10

    def residual(values):
        a, b = complex(*values[:2]), complex(*values[2:])
        difference = a * as_complex(source) + b - as_complex(target)
        return np.concatenate([difference.real, difference.imag])

    best = least_squares(residual, [1, 0, 0, 0], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    found = fit_similarity(source, target)
    assert np.allclose([found.scale.real, found.scale.imag, found.shift.real, found.shift.imag], best.x, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 33, -120, 180])
def test_known_transforms_are_recovered_exactly(degrees):
    moved = rotated(FACE, degrees, 1.7, 12 - 40j)
    found = fit_similarity(FACE, moved)
    assert found.scale == pytest.approx(1.7 * np.exp(1j * np.deg2rad(degrees)))
    assert np.allclose(found(FACE), moved) and np.allclose(found.inverse()(moved), FACE)


def test_a_mirrored_face_is_not_reflected_back():
    mirrored = FACE * (-1, 1)
    found = fit_similarity(FACE, mirrored)
    matrix = found(np.eye(2)) - found(np.zeros((2, 2)))
    assert np.linalg.det(matrix) > 0 and not np.allclose(found(FACE), mirrored, atol=5)


def test_a_face_of_the_template_comes_back_to_the_template():
    template = np.array(alignment.TEMPLATE)
    for degrees in (0, 20, 200):
        crop = alignment.template_crop(rotated(template * 300, degrees, 1.0, 50 + 9j), 64)
        assert np.allclose(crop.inverse()(rotated(template * 300, degrees, 1.0, 50 + 9j)), template * 64)
        assert crop.pixels == pytest.approx(300 / 64)


@pytest.mark.parametrize("count", [5, 6, 68, 478])
def test_landmarks_of_every_count_give_five(count):
    points = np.random.default_rng(1).uniform(0, 300, (count, 2))
    eyes = {5: ([0], [1]), 6: ([0], [1]), 68: (range(36, 42), range(42, 48)),
            478: ((33, 133, 159, 145), (263, 362, 386, 374))}[count]
    others = {5: (2, 3, 4), 6: (2, 3, 4), 68: (30, 48, 54), 478: (1, 61, 291)}[count]
    for side, place in zip(eyes, ((80.0, 90.0), (150.0, 90.0))):
        points[list(side)] = place
    for number, place in zip(others, ((115, 130), (90, 160), (140, 160))):
        points[number] = place
    expected = [(80, 90), (150, 90), (115, 130), (90, 160), (140, 160)]
    assert np.allclose(alignment.five_points(points), expected)


@pytest.mark.parametrize(("points", "message"), [
    (np.zeros((4, 2)), "4 landmarks; 5, 6, 68, 468 and 478"), (np.zeros((5, 3)), r"shape \[5, 3\]"),
    (np.full((5, 2), np.nan), "not finite"), (np.full((5, 2), 7.0), "lie on one spot")])
def test_landmarks_that_are_none(points, message):
    with pytest.raises(ValueError, match=message):
        alignment.five_points(points)


def test_ffhq_square_follows_its_definition():
    """Upright, eye distance 60, eyes to mouth 50: half side max(2·60, 1.8·50), centre 5 below the eyes."""
    face = np.array([(100.0, 100), (160, 100), (130, 125), (110, 150), (150, 150)])
    crop = alignment.ffhq_crop(face, 256)
    assert np.allclose(crop([(0, 0), (256, 0), (256, 256)]), [(10, -15), (250, -15), (250, 225)])
    long = face + np.array([0, 1]) * np.array([[0], [0], [0], [60], [60]])  # eye-to-mouth 110 > 60·2/1.8
    assert alignment.ffhq_crop(long, 256).pixels * 256 == pytest.approx(2 * 1.8 * 110)


@pytest.mark.parametrize("degrees", [15, -40, 90])
def test_crops_turn_with_the_face(degrees):
    for make in (alignment.ffhq_crop, alignment.template_crop):
        upright, turned = make(FACE, 128), make(rotated(FACE, degrees, 1.3, 20 + 30j), 128)
        assert np.allclose(turned.inverse()(rotated(FACE, degrees, 1.3, 20 + 30j)), upright.inverse()(FACE))


@pytest.mark.parametrize("side", [32, 64, 200])
@pytest.mark.parametrize("degrees", [0, 25])
def test_resampled_pixels_lie_where_the_points_do(side, degrees):
    """A blob at a landmark is found in the aligned face within a twentieth of a pixel of it, at every scale."""
    points = rotated(FACE, degrees, 2.0, 40 - 60j) + (0 if degrees == 0 else (130, -60))
    crop = alignment.template_crop(points, side)
    for point, expected in zip(points, crop.inverse()(points)):
        aligned = resample(blob(point, 512, max(4, 1.2 * crop.pixels)), crop, side)
        assert aligned.size == (side, side)
        assert np.abs(centroid(aligned) - expected).max() < 0.05


def test_drawn_faces_align_whatever_was_done_to_them():
    """A drawn face, turned and made smaller, comes out as the face itself does: landmarks and pixels."""
    image, marks = World(seed=4).faces(World(seed=4).people([7]), 0, 256)
    face, marks = Image.fromarray(to_uint8(image[0]).permute(1, 2, 0).numpy()), marks[0].numpy().astype(float)
    straight = alignment.template_crop(marks, 64)
    expected = np.asarray(resample(face, straight, 64), dtype=float)
    moved = Similarity(np.exp(1j * np.deg2rad(17)) * 1.25, 10 - 50j)  # from the turned picture to the drawn one
    turned = face.transform((256, 256), Image.Transform.AFFINE, (
        moved.scale.real, -moved.scale.imag, moved.shift.real, moved.scale.imag, moved.scale.real, moved.shift.imag),
        Image.Resampling.BICUBIC)
    crop = alignment.template_crop(moved.inverse()(marks), 64)
    assert np.abs(crop.inverse()(moved.inverse()(marks)) - straight.inverse()(marks)).max() < 1e-6
    found = np.asarray(resample(turned, crop, 64), dtype=float)
    assert np.abs(found - expected)[12:52, 12:52].mean() < 2.5


def test_drawn_faces_lie_on_the_template_on_average():
    world = World(seed=4)
    _, marks = world.faces(world.people(range(64)), 0, 64)
    template = np.array(alignment.TEMPLATE) * 64
    aligned = [alignment.template_crop(m, 64).inverse()(m[:5]) for m in marks.numpy().astype(float)]
    eyes_and_mouths = np.mean(aligned, axis=0) - template
    assert np.abs(eyes_and_mouths.mean(0)).max() < 0.01  # least squares: no shift is left in any face
    assert np.abs(eyes_and_mouths).max() < 3


@pytest.mark.parametrize("resize_filter", ["box", "lanczos"])
def test_fine_stripes_become_grey_not_moire(resize_filter):
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))
    crop = Similarity(512 / 64 * np.exp(0.3j), complex(150, -60))
    picture = resample(Image.fromarray(stripes).convert("RGB"), crop, 64, resize_filter=resize_filter)
    assert np.abs(np.asarray(picture, dtype=int)[24:40, 24:40] - 127).max() < 6


def test_a_crop_on_whole_pixels_is_the_pixels():
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    found = resample(Image.fromarray(pixels), Similarity(1 + 0j, 5 + 7j), 16)
    assert np.array_equal(np.asarray(found), pixels[7:23, 5:21])
    assert np.array_equal(np.asarray(resample(Image.fromarray(pixels), alignment.center_crop(40, 40, 40), 40)), pixels)


def test_beyond_the_picture_it_is_mirrored_and_fades():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = Similarity(1 + 0j, -40 + 0j)  # 40 of 104 columns lie left of the picture
    found = np.asarray(resample(Image.fromarray(pixels), crop, 104), dtype=float)[:64]
    assert np.array_equal(found[:, 40:], pixels)
    assert found[:, :4].std() < 12 < found[:, 40:].std()  # far out: nearly the median
    assert np.abs(found[:, 39] - pixels[:, 0]).mean() < 20  # at the edge: the mirror


def test_a_face_outside_the_picture_is_refused():
    with pytest.raises(ValueError, match="outside the picture"):
        resample(Image.new("RGB", (20, 20)), Similarity(1 + 0j, 500 + 0j), 16)
    with pytest.raises(ValueError, match="box .* is empty"):
        alignment.box_crop((5, 5, 5, 9), 16)
