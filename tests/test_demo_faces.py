"""Drawn faces: exact landmarks, the laws of pose and resolution, every trait visible, no waiting for the device."""

import math

import numpy as np
import pytest
import torch

from voice2style.demo import drawing, faces
from voice2style.demo.counter_random import Counters
from voice2style.demo.traits import TRAITS, UNHEARD
from voice2style.demo.world import World


def numbers(num, *, nuisance=1.0, **changes):  # -> name -> float32 [num]
    """Drawing parameters of the first people of world 3, some of them replaced."""
    people = World(seed=3).people(range(num))
    shots = Counters(3, "shot", people.indices, np.zeros(num, int))
    values = drawing.person_parameters(people.traits) | drawing.shot_parameters(shots, nuisance)
    values |= {name: np.full(num, value) for name, value in changes.items()}
    return {name: torch.tensor(values[name], dtype=torch.float32) for name in faces.PARAMETERS}


def test_images_are_finite_in_range_and_repeatable():
    world = World(seed=3)
    people = world.people(range(24))
    images, landmarks = world.faces(people, 0, 64)
    assert images.shape == (24, 3, 64, 64) and images.dtype == torch.float32
    assert landmarks.shape == (24, len(faces.LANDMARKS), 2) and landmarks.dtype == torch.float32
    assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1
    assert landmarks.min() > 0 and landmarks.max() < 64
    assert images.std((0, 2, 3)).min() > 0.3
    again = World(seed=3).faces(people, 0, 64)
    assert torch.equal(images, again[0]) and torch.equal(landmarks, again[1])


def test_a_face_is_the_same_in_any_batch():
    world = World(seed=3)
    images, landmarks = world.faces(world.people(range(20)), np.arange(20) % 3, 48)
    for person in (0, 7, 19):
        alone = world.faces(world.people([person]), person % 3, 48)
        assert (alone[0][0] - images[person]).abs().max() < 1e-4
        assert (alone[1][0] - landmarks[person]).abs().max() < 1e-4


def test_shots_differ_in_circumstances_only():
    world = World(seed=3)
    person = world.people([4])
    first, second = (world.faces(person, shot, 64)[0] for shot in (0, 1))
    assert (first - second).abs().mean() > 0.02
    still = World(seed=3, nuisance=0.0)
    assert torch.equal(still.faces(person, 0, 64)[0], still.faces(person, 1, 64)[0])


@pytest.mark.parametrize("roll", [-0.3, 0.2])
def test_landmarks_follow_roll_scale_and_shift(roll):
    """A similarity transform of the picture, written out: u' = scale R(roll) u + shift."""
    upright = {"roll": 0.0, "scale": 1.0, "shift_x": 0.0, "shift_y": 0.0}
    _, before = faces.render(numbers(6, **upright), 64)
    _, after = faces.render(numbers(6, roll=roll, scale=0.9, shift_x=0.06, shift_y=-0.03), 64)
    cos, sin = math.cos(roll), math.sin(roll)
    x, y = (before / 32 - 1).unbind(-1)
    expected = torch.stack([0.9 * (cos * x - sin * y) + 0.06, 0.9 * (sin * x + cos * y) - 0.03], -1)
    assert (after - (expected + 1) * 32).abs().max() < 1e-3


def test_pixels_follow_the_shift():
    """Moving the head by four pixels moves the features by four pixels."""
    moved, still = (faces.render(numbers(8, roll=0.0, shift_x=x, shift_y=0.0), 64)[0] for x in (4 / 32, 0.0))
    inner = slice(22, 42)
    difference = (moved[:, :, inner, 26:46] - still[:, :, inner, 22:42]).abs().max()
    assert difference < 0.01  # the boxes in which faint shadows are painted stay where they are


def test_turning_the_head_moves_near_points_more():
    _, ahead = faces.render(numbers(5, yaw=0.0, roll=0.0, scale=1.0), 64)
    _, turned = faces.render(numbers(5, yaw=0.3, roll=0.0, scale=1.0), 64)
    moved = dict(zip(faces.LANDMARKS, (turned - ahead)[0, :, 0].tolist(), strict=True))
    assert moved["nose_tip"] > moved["left_mouth_corner"] > moved["left_eye"] > 0.5
    assert abs(moved["chin"]) < 1e-4


def test_eye_landmarks_lie_in_the_pupils():
    images, landmarks = faces.render(numbers(12, gaze=0.0, glasses=0.0, eye_size=2.0, wrinkle=0.0, light=-1.0), 256)
    for image, points in zip(images, landmarks, strict=True):
        for x, y in points[:2].round().int().tolist():
            assert image[:, y, x - 1].mean() < -0.8


def test_a_smile_lifts_the_mouth_corners():
    (_, serious), (_, smiling) = (faces.render(numbers(5, smile=value, roll=0.0), 64) for value in (-0.4, 1.1))
    assert (smiling[:, 3:5, 1] < serious[:, 3:5, 1] - 0.5).all()
    assert torch.equal(smiling[:, 5], serious[:, 5])


def test_resolutions_agree():
    """A picture at twice the resolution, averaged over 2 by 2 pixels, is the picture."""
    values = numbers(12)
    (small, points), (large, large_points) = faces.render(values, 64), faces.render(values, 128)
    averaged = torch.nn.functional.avg_pool2d(large, 2)
    assert (averaged - small).abs().mean() < 0.015
    assert (averaged - small).abs().flatten(1).quantile(0.99, 1).max() < 0.25
    assert (large_points / 2 - points).abs().max() < 1e-3


@pytest.mark.parametrize("name", [*(trait.name for trait in TRAITS), *UNHEARD])
def test_every_trait_is_drawn(name):
    """Each trait, at two ends of its range, gives different pictures of some of eight people."""
    world = World(seed=3, nuisance=0.0)
    people = world.people(range(8))
    low, high = (0.02, 0.98) if name in UNHEARD else (-1.5, 1.5)
    if name == "freckle":
        people.traits["skin"][:] = 0.2
    if name in ("gl_round", "gl_c"):
        people.traits["glasses"][:] = 0.9
    pictures = []
    for value in (low, high):
        people.traits[name][:] = value
        pictures.append(world.faces(people, 0, 48)[0])
    assert (pictures[0] - pictures[1]).abs().mean((1, 2, 3)).max() > 1e-4


def test_drawing_never_waits_for_the_device():
    """On the meta device any look at a value (.item(), a branch on pixels) is an error."""
    world = World(seed=3)
    images, landmarks = world.faces(world.people(range(2)), 0, 16, device="meta")
    assert images.shape == (2, 3, 16, 16) and landmarks.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_draws_the_same():
    world = World(seed=3)
    people = world.people(range(8))
    here, there = (world.faces(people, 0, 128, device=device) for device in ("cpu", "cuda"))
    assert there[0].device.type == "cuda"
    assert (here[0] - there[0].cpu()).abs().mean() < 1e-4 and (here[1] - there[1].cpu()).abs().max() < 1e-2


@pytest.mark.parametrize("resolution", [0, -64, 15, 4096, 64.0, "64", True])
def test_bad_resolution(resolution):
    with pytest.raises(ValueError, match="16 to 2048"):
        World().faces(World().people([0]), 0, resolution)


def test_missing_parameters():
    values = numbers(1)
    del values["yaw"]
    with pytest.raises(ValueError, match="yaw"):
        faces.render(values, 64)
