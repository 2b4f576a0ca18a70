"""Finds faces and their landmarks with packages that work offline: opencv (the extra `face`), dlib, mediapipe."""

import dataclasses
import os

import numpy as np

# Where the five points lie in the square that OpenCV's frontal cascade draws, as shares of its side; used where the
# eye cascade does not find two plausible eyes.
_IN_BOX = np.array([(0.31, 0.39), (0.69, 0.39), (0.5, 0.6), (0.35, 0.79), (0.65, 0.79)])
_MOST_PIXELS = 640  # longer side of the picture that the cascades look at


@dataclasses.dataclass(frozen=True)
class Found:
    """A face in a picture: landmarks ((x, y), ...) of 5, 68 or 478 points, and its box."""

    landmarks: np.ndarray  # [P, 2]
    box: tuple  # left, top, right, bottom

    @property
    def side(self):
        """The greater side of the box in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def open_detector(name, model=None):
    """Returns detect(pixels uint8 [H, W, 3]) -> [Found], the largest first.

    ValueError, with the package and the file that are missing, if it cannot be used here.
    """
    if name not in DETECTORS:
        raise ValueError(f'detector is "{name}"; {", ".join(DETECTORS)} are known.')
    detect = DETECTORS[name](model)
    return lambda pixels: sorted(detect(pixels), key=lambda found: -found.side)


def _open_opencv(model):
    if model is not None:
        raise ValueError("the detector opencv has its models in the package; --model is for dlib and mediapipe.")
    try:
        import cv2
    except ImportError:
        raise ValueError("the detector opencv needs opencv-python-headless<5: "
                         "pip install 'voice2style[face]'.") from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise ValueError(f"opencv {cv2.__version__} has no cascades any more: pip install 'voice2style[face]' installs "
                         "opencv-python-headless<5.")
    folder = cv2.data.haarcascades
    faces, eyes = (cv2.CascadeClassifier(os.path.join(folder, f"haarcascade_{part}.xml"))
                   for part in ("frontalface_default", "eye"))
    if faces.empty() or eyes.empty():
        raise ValueError(f'opencv {cv2.__version__} comes without its cascades (looked in "{folder}"): '
                         "pip install 'opencv-python-headless<5'.")
    cv2.setNumThreads(1)
    return lambda pixels: _detect_opencv(cv2, faces, eyes, pixels)


def _detect_opencv(cv2, faces, eyes, pixels):
    scale = min(1.0, _MOST_PIXELS / max(pixels.shape[:2]))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.equalizeHist(grey)
    least = max(24, min(grey.shape) // 12)
    found = []
    for left, top, side, _ in faces.detectMultiScale(grey, 1.1, 6, minSize=(least, least)):
        part = grey[top : top + int(0.6 * side), left : left + side]
        pairs = eyes.detectMultiScale(part, 1.05, 5, minSize=(max(8, side // 8),) * 2, maxSize=(max(9, side // 3),) * 2)
        centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in pairs]).reshape(-1, 2)
        points = _place_points(_plausible_eyes(centres / side)) * side + (left, top)
        box = np.array([left, top, left + side, top + side]) / scale
        found.append(Found(points / scale, tuple(box.tolist())))
    return found


def _plausible_eyes(centres):  # [E, 2] as shares of the box -> [2, 2] or None
    """The leftmost and rightmost eye, if they lie about where eyes lie in the box."""
    near = [min(centres, key=lambda c, at=at: np.abs(c - at).sum(), default=None) for at in _IN_BOX[:2]]
    if any(eye is None or np.abs(eye - at).max() > 0.12 for eye, at in zip(near, _IN_BOX)):
        return None
    return np.array(near)


def _place_points(eyes):
    """Five points of a face in its box: the usual places, moved, turned and scaled with the eyes if they were found."""
    from training.datasets.alignment import fit_similarity

    return _IN_BOX if eyes is None else fit_similarity(_IN_BOX[:2], eyes)(_IN_BOX)


def _open_dlib(model):
    _need_model(model, "dlib", "a shape predictor such as shape_predictor_68_face_landmarks.dat (the 68-point model of "
                               "dlib-models is not for commercial use)")
    try:
        import dlib
    except ImportError:
        raise ValueError("the detector dlib needs the package dlib-bin: pip install dlib-bin.") from None
    try:
        predictor = dlib.shape_predictor(str(model))
    except RuntimeError as error:
        raise ValueError(f'"{model}" is not a shape predictor that dlib can read ({error}).') from None
    finder = dlib.get_frontal_face_detector()

    def detect(pixels):
        found = []
        for rectangle in finder(pixels, 1 if min(pixels.shape[:2]) < 300 else 0):
            shape = predictor(pixels, rectangle)
            points = np.array([(point.x, point.y) for point in shape.parts()]) + 0.5
            box = rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1
            found.append(Found(points, tuple(float(x) for x in box)))
        return found

    return detect


def _open_mediapipe(model):
    _need_model(model, "mediapipe", "face_landmarker.task, which its makers offer for download")
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        raise ValueError("the detector mediapipe needs the package mediapipe: pip install mediapipe.") from None
    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)), num_faces=8)
    try:
        finder = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f'"{model}" is not a face landmarker that mediapipe can read ({error}).') from None

    def detect(pixels):
        height, width = pixels.shape[:2]
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        found = []
        for marks in finder.detect(image).face_landmarks:
            points = np.array([(mark.x * width, mark.y * height) for mark in marks])
            found.append(Found(points, (*points.min(0).tolist(), *points.max(0).tolist())))
        return found

    return detect


def _need_model(model, name, what):
    if model is None:
        raise ValueError(f"the detector {name} needs --model PATH: {what}.")
    if not os.path.isfile(model):
        raise ValueError(f'the detector {name} needs a model file; there is none at "{model}" ({what}).')


DETECTORS = {"opencv": _open_opencv, "dlib": _open_dlib, "mediapipe": _open_mediapipe}
