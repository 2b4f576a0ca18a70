"""What else can be read from a recogniser: attributes by ridge regression, landmarks, the people it knows."""

import numpy as np
import torch

from metrics.attributes import LinearReader

_RIDGE = 0.5  # of the features' mean variance: held-out faces are read best between 0.1 and 1
_NOISE = 0.05  # deviation, of pixels in [-1, 1]
_LEAST_FACES = 50


def attribute_readers(evidence):
    """Returns grouping -> LinearReader fitted on the training faces, for the single groupings that they know."""
    readers = {}
    for grouping in [name for name in evidence.groups if "+" not in name]:
        labels = evidence.labels(grouping, evidence.train_people)
        known = [k for k, label in enumerate(labels) if label is not None]
        if len({labels[k] for k in known}) > 1:
            readers[grouping] = LinearReader(evidence.train[known], [labels[k] for k in known])
    if not readers:
        raise ValueError("attributes need a dataset whose training people have a known gender, age or nationality, "
                         "and faces.")
    return readers


def class_probabilities(judge, embeddings):  # [N, K] -> [N, P]
    """Returns the judge's distribution over the people it knows."""
    import torch

    with torch.inference_mode():
        rows = torch.from_numpy(embeddings).to(judge.prototypes)
        return (judge.settings.scale * judge.cosines(rows)).double().softmax(1).cpu().numpy()


class LandmarkReader:
    """Reads landmarks from the last feature maps of our own recogniser: ridge regression on training faces.

    `reader(features [N, F])` -> [N, P·2], x and y as parts of the picture's width and height.
    """

    def __init__(self, features, marks):
        self.num_points = marks.shape[1]
        self._reader = LinearReader(features, marks.reshape(len(marks), -1).astype(np.float64), ridge=_RIDGE)

    def __call__(self, features):
        return self._reader.values(features)


def landmarks_of(row):  # -> float [P, 2] or None
    """Returns the landmarks of a face's manifest row as parts of the picture, None where there are none."""
    marks = row.get("landmarks")
    if not marks or not row.get("width") or not row.get("height"):
        return None
    return np.asarray(marks, np.float64) / [row["width"], row["height"]]


def fit_landmarks(judge, pictures, rows):
    """Returns a LandmarkReader fitted on faces whose manifest rows have landmarks, or None where that is impossible.

    `pictures()` yields batches [n, 3, H, W] on the judge's device, in the order of `rows`. Each face is also shown with
    noise, as drawn faces are not as clean as real ones. Impossible: an ONNX judge, or fewer than 50 such faces.
    """
    marks = [landmarks_of(row) for row in rows]
    shape = next((mark.shape for mark in marks if mark is not None), None)
    known = [k for k, mark in enumerate(marks) if mark is not None and mark.shape == shape]
    if not hasattr(judge, "features") or len(known) < _LEAST_FACES:
        return None
    generator, clean, noisy = torch.Generator().manual_seed(0), [], []
    with torch.inference_mode():
        for images in pictures():
            noise = torch.randn(images.shape, generator=generator).to(images.device)
            clean.append(judge.features(images).cpu().numpy())
            noisy.append(judge.features(images + _NOISE * noise).cpu().numpy())
    features = np.concatenate([np.concatenate(part)[known] for part in (clean, noisy)])
    wanted = np.stack([marks[k] for k in known])
    return LandmarkReader(features, np.concatenate([wanted, wanted]))
