"""The two sides of a measurement as numbered pictures: real ones of a dataset or folder, generated ones of a model."""

import hashlib
import pathlib
import zipfile

import numpy as np
import torch

from dnnlib.files import sha256_file
from metrics.samples import Drawn, Pictures, list_sha256, open_pictures, read_labels
from torch_utils.random_streams import numpy_stream, stream
from training.dataset import Dataset


def open_data(path):
    """Returns (Dataset or None, path): a dataset of dataset_tool.py is opened as such, other pictures stay a path."""
    if path is None or isinstance(path, Dataset):
        return path, getattr(path, "path", None)
    path = pathlib.Path(path)
    if path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                has_card = "card.json" in archive.namelist()
        except zipfile.BadZipFile as error:
            raise ValueError(f'"{path}" is neither a folder nor a zip that can be read ({error}).') from error
    else:
        has_card = (path / "card.json").exists()
    return (Dataset(path) if has_card else None), path


def real_pictures(dataset, path, split):
    """Returns the Pictures of the real side; ValueError when there are none."""
    if dataset is None:
        if split is not None:
            raise ValueError(f'--split is for datasets of dataset_tool.py; "{path}" has no splits.')
        return open_pictures(path)
    rows = dataset.faces(split)
    if not rows:
        raise ValueError(f'"{dataset.path}" has no faces' + (f' in the split "{split}".' if split else "."))
    names = tuple(row["path"] for row in rows)
    facts = {"name": dataset.path.name, "files": len(rows), "split": split or "all",
             "sha256": list_sha256(names, [row.get("sha256") or _digest(dataset, row) for row in rows])}
    return Pictures(len(rows), lambda i: dataset.read_face(rows[i]), facts, names)


def _digest(dataset, row):
    return hashlib.sha256(dataset.read_bytes(row)).hexdigest()


class Latents:
    """What a generator draws for numbers 0, 1, 2, …: z, label and noise of number i depend on (seed, i) alone."""

    def __init__(self, model, *, seed, psi=1.0, labels=None):
        self.model, self.seed, self.psi, self.labels = model, seed, psi, labels
        self.generator = model.generator
        self.labels_note = labels if labels is None else (
            f"{len(labels)}, sha256 {hashlib.sha256(labels.numpy().tobytes()).hexdigest()}")
        if self.generator.c_dim and labels is None:
            raise ValueError(f"this network is conditional, with {self.generator.c_dim} numbers in a label, but the "
                             "data has no labels to draw from; give --data with labels (dataset.json), or --class K.")

    def z(self, indices, purpose="z"):  # -> [N, Z]
        """Returns the latents of these numbers."""
        rows = [torch.randn(self.generator.z_dim, generator=stream(self.seed, "metric", purpose, i)) for i in indices]
        return torch.stack(rows).to(self.model.device, self.model.dtype)

    def c(self, indices):  # -> [N, C] or None
        """Returns the labels of these numbers, drawn from the data."""
        if not self.generator.c_dim:
            return None
        picks = [int(numpy_stream(self.seed, "metric", "label", i).integers(len(self.labels))) for i in indices]
        return torch.stack([self.labels[pick] for pick in picks]).to(self.model.device, self.model.dtype)

    def noise(self, indices):
        """Returns the generators that the noise of these numbers comes from."""
        return [stream(self.seed, "metric", "noise", i) for i in indices]

    @torch.inference_mode()
    def draw(self, indices):  # -> [N, C, H, W]
        """Returns the pictures of these numbers, with fresh noise, as StyleGAN2's own measurements do."""
        ws = self.model.truncate(self.generator.mapping(self.z(indices), self.c(indices)), self.psi)
        return finite(self.model.synthesis(ws, noise_mode="random", generator=self.noise(indices)).float())


def finite(images):
    """Returns pictures; ValueError when the network gives numbers that are not finite."""
    if not torch.isfinite(images).all():
        raise ValueError("the network gives pixels that are not finite numbers; its weights are damaged, or its "
                         "half-precision layers overflow.")
    return images


def labels_for(model, dataset, path, label):
    """Returns the labels that a conditional network is fed, [M, C], or None where there are none to draw from.

    `label` fixes the class. Else the labels of the data: dataset.json, or the people of a dataset that has as many of
    them in its training split as the network has classes.
    """
    size = model.generator.c_dim
    if not size:
        if label is not None:
            raise ValueError(f"--class {label}: this network has no classes; leave --class out.")
        return None
    if label is not None:
        if not 0 <= label < size:
            raise ValueError(f"--class {label}: this network has the classes 0 to {size - 1}.")
        return torch.eye(size)[label][None]
    table = read_labels(path) if path is not None else None
    if table:
        values = list(table.values())
    elif dataset is not None:
        faces = dataset.faces("train")
        people = sorted({row["person"] for row in faces})
        if all("label" in row for row in faces) and faces:
            values = [row["label"] for row in faces]
        elif len(people) == size:
            values = [people.index(row["person"]) for row in faces]
        else:
            return None
    else:
        return None
    return torch.stack([_vector(value, size) for value in values])


def _vector(value, size):
    if isinstance(value, int) and 0 <= value < size:
        return torch.eye(size)[value]
    vector = torch.as_tensor(value, dtype=torch.float32)
    if vector.shape != (size,):
        raise ValueError(f"the data has the label {value!r}; this network takes classes 0 to {size - 1} or vectors of "
                         f"{size} numbers.")
    return vector


def faces_of_voices(model, dataset, *, split, psi, facts):
    """Returns the Drawn of a voice model: picture i is the face that it draws for clip i of the dataset."""
    from voice2style.listening import listen

    rows = dataset.voices(split)
    if not rows:
        raise ValueError(f'"{dataset.path}" has no voices' + (f' in the split "{split}".' if split else "."))
    names = [row["path"] for row in rows]
    facts = {**facts, "faces_from": "voice", "voices": dataset.path.name, "voices_split": split or "all",
             "voices_sha256": list_sha256(names, [row.get("sha256", "") for row in rows])}
    return Drawn(len(rows), lambda indices: torch.cat([face_of(model, listen, dataset, rows[i], psi) for i in indices]),
                 facts)


@torch.inference_mode()
def face_of(model, listen, dataset, row, psi):  # -> [1, 3, H, W] in [-1, 1]
    """Returns the face that a model draws for one clip."""
    ws = listen(model, torch.from_numpy(np.ascontiguousarray(dataset.read_voice(row)))).codes
    return finite(model.synthesis(model.truncate(ws, psi)).float()).clamp(-1, 1)


def network_digest(model, path):
    """Returns the sha256 of a network's file, or of its tensors when it has none."""
    if path is not None:
        return sha256_file(path)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
                      if tensor.ndim else str(tensor.item()).encode())
    return digest.hexdigest()
