"""What there is to judge a voice model by: its faces for a split's clips, real faces beside them, as embeddings.

One pass draws every clip's face once; all metrics of the voice are computed from the embeddings, so that they speak of
the same faces. Ranks share the clips; with a work folder a stopped pass goes on.
"""

import dataclasses
import hashlib
import json
import time

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.files import atomic_path, sha256_file
from metrics.features import summed
from metrics.matching import rows_by_person
from torch_utils import distributed
from torch_utils.images import to_float
from torch_utils.random_streams import numpy_stream
from training.voice_groups import known_groups, person_table
from training.voice_judges import judge_label, known_people, load_face_judge, trained_here
from training.voice_readers import fit_landmarks
from training.voice_wishes import clips_per_person, judge_file, training_judge_allowed
from voice2style.listening import listen

SAVE_EVERY_S = 120.0
_MOST_TRAINING_FACES = 4000
_MOST_CODES = 50_000_000  # numbers of W+ codes kept (200 MB)
_CHEEKS, _CHEEK_SIZE = ((0.375, 0.60), (0.625, 0.60)), 0.05  # centres (x, y) and half side, parts of the picture


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Embeddings (unit length) of drawn and real faces and who owns them; V clips, F candidate faces, T of training.

    `second` holds one photograph a person that is kept out of the candidates, where there are two or more: the ceiling.
    `cheeks` is the brightness of the drawn cheeks in [0, 1]; `marks` [V, P, 2] and `face_marks` [F, P, 2] are landmarks
    read in drawn and candidate faces, as parts of the picture (None where they cannot be read).
    """

    clip_people: np.ndarray
    drawn: np.ndarray
    codes: np.ndarray | None
    cheeks: np.ndarray
    marks: np.ndarray | None
    face_marks: np.ndarray | None
    face_people: np.ndarray
    faces: np.ndarray
    second: dict
    train_people: np.ndarray
    train: np.ndarray
    mean_face: np.ndarray
    clip_rows: list
    face_rows: list
    groups: dict
    people: dict
    judge: object
    protocol: dict

    @property
    def label(self):
        """How results name the judge."""
        return judge_label(self.judge)

    @property
    def own_people(self):
        """The people who have clips and faces, in order."""
        return np.unique(self.clip_people)

    def labels(self, grouping, people):  # [N] -> list of label or None
        """Returns the label of each person."""
        table = self.groups[grouping]
        return [table.get(person) for person in np.asarray(people).tolist()]

    def seconds(self):  # -> [V, K], NaN where a person has one photograph only
        """Returns the held-back photograph of each clip's person."""
        nothing = np.full(self.drawn.shape[1], np.nan)
        return np.stack([self.second.get(person, nothing) for person in self.clip_people.tolist()])


def gather(bench):
    """Returns the Evidence of a Bench's model on a split ("test" unless told): clips of people who also have faces.

    Options (training.voice_wishes) name the recogniser and how many clips a person are heard.
    ValueError when fewer than two people have both a voice and a face.
    """
    model, dataset, settings, device = bench.model, bench.dataset, bench.settings, bench.device
    split = settings.split or "test"
    judge, notes = load_face_judge(judge_file(settings), data=bench.data_path, model=model, device=device,
                                   allow=training_judge_allowed(settings))
    clips, faces = paired_rows(dataset, split, people=settings.limit, clips_per=clips_per_person(settings))
    people = list(rows_by_person([row["person"] for row in clips]))
    train_rows = training_rows(dataset, split, settings.seed)
    looking = {"device": device, "batch": settings.batch, "show": settings.verbose}
    reader = fit_landmarks(judge, lambda: pictures_of(dataset, train_rows, **looking), train_rows)
    pictures, face_marks = embed_rows(judge, dataset, faces, reader=reader, **looking)
    candidates, second = hold_back(faces, pictures)
    train, _ = embed_rows(judge, dataset, train_rows, **looking)
    train_people = np.array([row["person"] for row in train_rows], object)
    mean = embed_mean_face(model, judge)
    arrays = draw_clips(bench, judge, clips, reader=reader, dim=len(mean))
    known = known_people(judge, dataset, people)
    if split == "train" and trained_here(model, dataset):
        notes.append("the model was trained on these people; its numbers say nothing about others")
    if known:
        notes.append(f"the judge was trained on {known} of these people; its numbers are too good for them")
    protocol = {"network": bench.network_name, "network_sha256": bench.network_sha256, "data": dataset.path.name,
                "data_sha256": data_sha256(dataset), "split": split, "people": len(people), "clips": len(clips),
                "faces": len(faces), "notes": notes,
                "training_faces": len(train_rows), "judge": judge.name, "judge_sha256": judge.sha256,
                "truncation_psi": settings.truncation_psi, "noise": "const", "interval": "95 %, people drawn again",
                "rounds": settings.rounds}
    everybody = [*people, *dict.fromkeys(train_people.tolist())]
    return Evidence(
        clip_people=np.array([row["person"] for row in clips]), drawn=arrays["drawn"],
        codes=arrays.get("codes"), cheeks=arrays["cheeks"], marks=_points(arrays.get("marks")),
        face_marks=None if reader is None else _points(face_marks[candidates]),
        face_people=np.array([faces[k]["person"] for k in candidates]), faces=pictures[candidates],
        second={faces[k]["person"]: pictures[k] for k in second}, train_people=train_people, train=train,
        mean_face=mean, clip_rows=clips, face_rows=[faces[k] for k in candidates],
        groups=known_groups(dataset, everybody), people=person_table(dataset), judge=judge, protocol=protocol)


def paired_rows(dataset, split, *, people=None, clips_per=None):
    """Returns (clips, faces) of the first `people` people of a split who have both, at most `clips_per` clips each."""
    clips, faces = dataset.voices(split), dataset.faces(split)
    owners = {row["person"] for row in faces}
    able = list(dict.fromkeys(row["person"] for row in clips if row["person"] in owners))[:people]
    if len(able) < 2:
        raise ValueError(f'"{dataset.path}" has {len(able)} people with voice and face in the split "{split}"; '
                         "2 are needed.")
    table = rows_by_person([row["person"] for row in clips])
    kept = sorted(row for person in able for row in table[person][:clips_per])
    able = set(able)
    return [clips[row] for row in kept], [row for row in faces if row["person"] in able]


def training_rows(dataset, split, seed):
    """Returns faces of the training people for the baselines: all, or a seeded choice when there are very many."""
    rows = dataset.faces("train") if split != "train" else []
    if len(rows) > _MOST_TRAINING_FACES:
        kept = np.sort(numpy_stream(seed, "training faces").permutation(len(rows))[:_MOST_TRAINING_FACES])
        rows = [rows[k] for k in kept]
    return rows


def hold_back(faces, embeddings):
    """Returns positions of candidate faces and of the one held back for the ceiling: the last of two or more."""
    table = rows_by_person([row["person"] for row in faces])
    second = {rows[-1] for rows in table.values() if len(rows) > 1}
    return [k for k in range(len(faces)) if k not in second], sorted(second)


@torch.inference_mode()
def embed_rows(judge, dataset, rows, *, reader=None, device="cpu", batch=32, show=True):
    """Returns the embeddings [N, K] of manifest rows of faces and, with a `reader`, their landmarks [N, P·2]."""
    parts, marks = [], []
    for images in pictures_of(dataset, rows, device=device, batch=batch, show=show):
        embeddings, found = look(judge, images, reader)
        parts.append(embeddings)
        marks.append(found)
    if not parts:
        return np.zeros((0, 1)), None
    return np.concatenate(parts), None if reader is None else np.concatenate(marks)


def look(judge, images, reader=None):  # [N, 3, H, W] -> float64 [N, K], [N, P·2] or None
    """Returns what a judge and a landmark reader see in pictures, in one pass through the network."""
    if reader is None:
        return judge(images).cpu().numpy().astype(np.float64), None
    features = judge.features(images)
    return judge.embedding_of(features).cpu().numpy().astype(np.float64), reader(features.cpu().numpy())


def pictures_of(dataset, rows, *, device="cpu", batch=32, show=True):
    """Yields the faces of manifest rows as batches [n, 3, H, W] in [-1, 1]; pictures of different sizes one by one."""
    with tqdm(total=len(rows), desc="Real faces", unit="img", leave=False, disable=None if show else True) as bar:
        for start in range(0, len(rows), batch):
            part = [picture_of(dataset, row) for row in rows[start:start + batch]]
            same = all(picture.shape == part[0].shape for picture in part)
            yield from ([torch.stack(part).to(device)] if same else [picture[None].to(device) for picture in part])
            bar.update(len(part))


def picture_of(dataset, row):  # -> float [3, H, W] in [-1, 1]
    """Returns the picture of a manifest row."""
    return to_float(torch.from_numpy(np.array(dataset.read_face(row))).permute(2, 0, 1))


@torch.inference_mode()
def embed_mean_face(model, judge):  # -> float64 [K]
    """Returns the embedding of the generator's mean face."""
    return judge(model.synthesis(model.mean_codes()).clamp(-1, 1)).cpu().numpy()[0].astype(np.float64)


@torch.inference_mode()
def draw_clips(bench, judge, clips, *, dim, reader=None):
    """Returns arrays by name of the faces drawn from V clips: "drawn" [V, K], "cheeks" [V], "marks", "codes".

    "codes" [V, L, D] are left out when there are too many, "marks" [V, P·2] without a landmark reader.
    """
    model, dataset, settings, count = bench.model, bench.dataset, bench.settings, len(clips)
    arrays = {"drawn": np.zeros((count, dim)), "cheeks": np.zeros(count)}
    if count * model.num_ws * model.w_dim <= _MOST_CODES:
        arrays["codes"] = np.zeros((count, model.num_ws, model.w_dim), np.float32)
    if reader is not None:
        arrays["marks"] = np.zeros((count, 2 * reader.num_points))
    batches = [range(start, min(start + settings.batch, len(clips))) for start in range(0, len(clips), settings.batch)]
    mine = batches[distributed.rank()::distributed.world_size()]
    state = _Progress(bench, judge, clips)
    done, arrays = state.load(arrays)
    bar = tqdm(total=len(mine) * settings.batch, initial=done * settings.batch, desc="Faces of voices", unit="clip",
               leave=False, disable=None if settings.verbose and distributed.is_first() else True)
    with bar:
        for number, indices in enumerate(mine[done:], done + 1):
            ws = torch.cat([listen(model, torch.from_numpy(dataset.read_voice(clips[k]))).codes for k in indices])
            images = model.synthesis(model.truncate(ws, settings.truncation_psi)).clamp(-1, 1)
            embeddings, marks = look(judge, images, reader)
            found = {"drawn": embeddings, "marks": marks, "cheeks": cheek_brightness(images).cpu().numpy(),
                     "codes": ws.float().cpu().numpy()}
            for name, rows in arrays.items():
                rows[list(indices)] = found[name]
            state.save(number, arrays)
            bar.update(len(indices))
    if distributed.world_size() > 1:
        arrays = {name: summed(values, bench.device) for name, values in arrays.items()}
    return arrays


def cheek_brightness(images):  # [N, 3, H, W] in [-1, 1] -> [N] in [0, 1]
    """Returns the mean luminance of two patches where an aligned face has its cheeks."""
    height, width = images.shape[2:]
    weights = torch.tensor([0.2126, 0.7152, 0.0722], device=images.device)[:, None, None]
    patches = []
    for x, y in _CHEEKS:
        left, top = round((x - _CHEEK_SIZE) * width), round((y - _CHEEK_SIZE) * height)
        wide, high = max(1, round(2 * _CHEEK_SIZE * width)), max(1, round(2 * _CHEEK_SIZE * height))
        patches.append(((images[:, :, top:top + high, left:left + wide] + 1) / 2 * weights).sum(1).mean((1, 2)))
    return torch.stack(patches).mean(0)


def _points(marks):  # [N, P·2] -> [N, P, 2]
    return None if marks is None else marks.reshape(len(marks), -1, 2)


class _Progress:
    """What a stopped pass has done, in a work folder whose name everything goes into that the pass depends on."""

    def __init__(self, bench, judge, clips):
        told = [bench.network_sha256, judge.sha256, bench.settings.truncation_psi, bench.settings.batch,
                distributed.world_size(), [row.get("sha256", row["path"]) for row in clips]]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
        self.path, self._saved = bench.work_folder(f"voices-{key}") / f"{distributed.rank()}.npz", time.time()

    def load(self, fresh):
        """Returns (number of batches done, arrays)."""
        if not self.path.exists():
            return 0, fresh
        with np.load(self.path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return int(arrays.pop("done")), arrays

    def save(self, done, arrays):
        """Writes the arrays, now and then."""
        if time.time() - self._saved >= SAVE_EVERY_S:
            with atomic_path(self.path) as temporary:
                np.savez(temporary, done=done, **arrays)
            self._saved = time.time()


def data_sha256(dataset):
    """Returns the sha256 of a zip, or of a folder's manifest (which holds those of the files)."""
    return sha256_file(dataset.path) if dataset.path.is_file() else sha256_file(dataset.path / "manifest.jsonl")
