"""Draws portraits from numbers: signed-distance layers and a shaded height field, batched torch on any device.

Everything is elementwise arithmetic on the pixel grid, so a face can be drawn at any resolution, and on a GPU inside a
training loop. Exact landmarks come with every picture.
"""

import torch

from voice2style.demo import face_features, face_hair, face_skin
from voice2style.demo.face_model import PARAMETERS, Head

LANDMARKS = ("left_eye", "right_eye", "nose_tip", "left_mouth_corner", "right_mouth_corner", "chin")
MIN_RESOLUTION, MAX_RESOLUTION = 16, 2048
_PIXELS_AT_ONCE = {
    "cpu": 16 * 64 * 64,
    "other": 1024 * 128 * 128,
}  # small enough for the caches of a core; for a GPU's memory


def check_resolution(resolution):
    """Raises ValueError unless faces can be drawn at this many pixels a side."""
    if (
        isinstance(resolution, bool)
        or not isinstance(resolution, int)
        or not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION
    ):
        raise ValueError(
            f"resolution {resolution!r}: faces are drawn with a side of a whole number of pixels, "
            f"from {MIN_RESOLUTION} to {MAX_RESOLUTION}."
        )


@torch.no_grad()
def render(parameters, resolution):  # name -> [N] -> images [N, 3, R, R] in [-1, 1], landmarks [N, 6, 2] pixels
    """Portraits for N sets of drawing parameters (`PARAMETERS`), float32, on the device of the parameters.

    Landmarks are (x, y) in pixels, in the order of `LANDMARKS`; left and right are those of the picture; the centre of
    the first pixel is (0.5, 0.5). Large batches are drawn piece by piece.
    """
    check_resolution(resolution)
    if missing := [name for name in PARAMETERS if name not in parameters]:
        raise ValueError(f"drawing parameters {', '.join(missing)} are missing; a face needs all of PARAMETERS")
    parameters = {name: parameters[name].float() for name in PARAMETERS}
    num, device = len(parameters["yaw"]), parameters["yaw"].device
    limit = _PIXELS_AT_ONCE["cpu" if device.type == "cpu" else "other"]
    step = max(1, limit // resolution**2)
    images = torch.empty(num, 3, resolution, resolution, device=device)
    landmarks = torch.empty(num, len(LANDMARKS), 2, device=device)
    for start in range(0, num, step):
        part = slice(start, start + step)
        head = Head({name: value[part] for name, value in parameters.items()}, resolution)
        images[part] = _draw(head).clamp_(0, 1).mul_(2).sub_(1)
        landmarks[part] = head.landmarks()
    return images, landmarks


def _draw(head):  # -> [N, 3, R, R] about [0, 1]
    """All layers, from the back to the front."""
    face_skin.draw_background(head)
    hair = face_hair.draw_back_hair(head)
    face_skin.draw_body(head)
    face_skin.draw_ears(head)
    distance = face_skin.draw_skin(head)
    face_skin.draw_freckles(head)
    face_skin.draw_wrinkles(head)
    face_skin.draw_beard(head, distance)
    face_features.draw_nose(head)
    face_features.draw_mouth(head)
    face_features.draw_eyes(head)
    face_hair.draw_front_hair(head, hair)
    face_features.draw_glasses(head)
    return head.canvas.pixels
