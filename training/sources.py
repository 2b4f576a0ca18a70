"""Training samples by their position in an endless order: the same sample whoever reads it, and when."""

import numpy as np
import torch
from tqdm import tqdm

from torch_utils.distributed import is_first
from torch_utils.random_streams import numpy_stream
from training.dataset import Damaged
from training.reals import EndlessOrder, check_size

_PCM = 32767
_MOST_CLASSES = 100_000


class Store:
    """Items 0..count-1 by `read(k)`, decoded in memory or read anew each time; a damaged one gives way to another.

    The replacement depends on the number of the damaged item alone. `bad` maps numbers of damaged items to the reason.
    """

    def __init__(self, count, read, *, seed, skip_corrupt):
        self.count, self.read, self.seed, self.skip_corrupt = count, read, seed, skip_corrupt
        self.items, self.bad = None, {}

    def keep_in_memory(self, what):
        """Reads everything once; ValueError after more damaged items than may be skipped."""
        self.items = {}
        for k in tqdm(range(self.count), desc=f"Reading {what}", unit="item", disable=None if is_first() else True):
            self.load(k)
            if len(self.bad) > self.skip_corrupt:
                raise too_many(self.bad, self.skip_corrupt)
        return self

    def get(self, k):  # -> (number of the item that is used, its content)
        """Returns item k, or its replacement if it is damaged; ValueError when everything tried is."""
        attempts, tried = numpy_stream(self.seed, "replacement", k), k
        for _ in range(self.skip_corrupt + 2):
            content = self.load(tried)
            if content is not None:
                return tried, content
            tried = int(attempts.integers(self.count))
        raise too_many(self.bad, self.skip_corrupt)

    def load(self, k):
        """Returns item k, or None if it is damaged."""
        if k in self.bad:
            return None
        if self.items is not None and k in self.items:
            return self.items[k]
        try:
            content = self.read(k)
        except (Damaged, OSError) as error:
            self.bad[k] = " ".join(str(error).split())
            return None
        if self.items is not None:
            self.items[k] = content
        return content


def too_many(bad, most):
    """Returns the ValueError for more damaged items than may be skipped."""
    return ValueError(f"{len(bad)} items of the dataset are damaged, {most} may be passed over (--skip-corrupt): "
                      f"{next(iter(bad.values()))}")


def label_table(dataset, rows):  # -> float32 [N, c_dim], or None
    """Returns the labels of face rows (their own "label", else their person's): numbers as one-hot rows, or vectors.

    None when there are none; ValueError when only some rows have one, or they are of different kinds.
    """
    people = {row["person"]: row.get("label") for row in dataset.people()}
    found = [row.get("label", people.get(row["person"])) for row in rows]
    given = [label for label in found if label is not None]
    if not given:
        return None
    if len(given) < len(found):
        raise ValueError(f'"{dataset.path}": {len(found) - len(given)} of {len(found)} faces have no label.')
    if all(isinstance(label, int) and not isinstance(label, bool) and label >= 0 for label in found):
        if max(found) >= _MOST_CLASSES:
            raise ValueError(f'"{dataset.path}" has the label {max(found)}; classes are numbered from 0, without gaps, '
                             f"up to {_MOST_CLASSES - 1}.")
        table = np.zeros([len(found), max(found) + 1], np.float32)
        table[np.arange(len(found)), found] = 1
        return table
    if all(isinstance(label, list) and len(label) == len(found[0]) for label in found):
        table = np.asarray(found, np.float32)
        if not np.isfinite(table).all():
            raise ValueError(f'"{dataset.path}" has labels with numbers that are not finite.')
        return table
    raise ValueError(f'"{dataset.path}": labels are neither all whole numbers nor vectors of one length.')


class Faces:
    """Sample `position` of the endless row of faces: {"images": uint8 [C, H, W], "labels": float32 [c_dim]}."""

    def __init__(self, dataset, *, resolution, seed=0, split="train", mirror=False, mirrory=False, cond=False,
                 subset=None, skip_corrupt=10):
        rows = dataset.faces(split)
        if not rows:
            raise ValueError(f'"{dataset.path}" has no faces in the split "{split}".')
        check_size(dataset, _first_readable(dataset, rows, skip_corrupt), resolution)
        if subset is not None and subset < len(rows):  # the same faces whatever comes after
            rows = [rows[k] for k in sorted(numpy_stream(seed, "subset").permutation(len(rows))[:subset])]
        self.dataset, self.rows, self.seed, self.resolution = dataset, rows, seed, resolution
        self.mirror, self.mirrory = mirror, mirrory
        self.labels = label_table(dataset, rows) if cond else None
        if cond and self.labels is None:
            raise ValueError(f'"{dataset.path}" has no labels; --cond=1 needs rows with "label".')
        self.order = EndlessOrder(len(rows), seed, "faces")
        self.stores = {"faces": Store(len(rows), self._read, seed=seed, skip_corrupt=skip_corrupt)}
        self.num_bytes = {"faces": len(rows) * 3 * resolution**2}

    def __len__(self):
        return len(self.rows)

    def _read(self, k):  # -> uint8 [C, H, W]
        pixels = self.dataset.read_face(self.rows[k])
        if pixels.shape != (self.resolution, self.resolution, 3):
            height, width, channels = pixels.shape
            raise Damaged(f'"{self.rows[k]["path"]}" is {width}x{height} with {channels} channels, this run needs '
                          f"{self.resolution}x{self.resolution} with 3.")
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def __getitem__(self, position):
        k, pixels = self.stores["faces"].get(self.order[position])
        flips = numpy_stream(self.seed, "mirror", position).random(2) < 0.5
        if self.mirror and flips[0]:
            pixels = pixels[:, :, ::-1]
        if self.mirrory and flips[1]:
            pixels = pixels[:, ::-1]
        sample = {"images": np.ascontiguousarray(pixels)}
        return sample if self.labels is None else {**sample, "labels": self.labels[k]}

    def sheet(self, columns, rows):  # -> [places of faces]
        """Returns which faces a sheet of real pictures shows: by class in rows where there are labels."""
        order = numpy_stream(self.seed, "sheet").permutation(len(self.rows)).tolist()
        if self.labels is None:
            return [order[k % len(order)] for k in range(columns * rows)]
        classes = {}
        for k in order:
            classes.setdefault(tuple(self.labels[k]), []).append(k)
        members = [classes[label] for label in sorted(classes, reverse=True)]  # one-hot rows: class 0 first
        shown = []
        for row in range(rows):
            turn, number = divmod(row, len(members))
            mine = members[number]
            shown += [mine[(turn * columns + column) % len(mine)] for column in range(columns)]
        return shown

    def pictures(self, places):  # -> uint8 [N, C, H, W]
        """Returns faces by their places."""
        return torch.from_numpy(np.stack([self.stores["faces"].get(k)[1] for k in places]))


class Voices:
    """Sample `position` of the endless row of clips: {"waves": float32 [S], "people": number, …}.

    Speech only, pauses left out as in inference. The crops of one batch of `batch` samples are of one length, drawn for
    it between `crop_s` and `crop_most_s`; a short clip is repeated. With `faces`, a face of the same person comes
    along ("images"); with `codes` ({path of a face: [L, D]}), that face has known codes ("codes"). `augment`: changes
    of the voice, `augment(wave, rng, sample_rate_hz, num_samples=) -> wave`.
    """

    def __init__(self, dataset, split="train", *, crop_s, seed, batch=1, crop_most_s=None, faces=None, codes=None,
                 augment=None, skip_corrupt=10):
        self.rows = dataset.voices(split)
        if not self.rows:
            raise ValueError(f'"{dataset.path}" has no voices in the split "{split}"; --task voice needs them.')
        if features := [row["features"] for row in self.rows if "features" in row]:
            raise ValueError(f'{len(features)} of the {len(self.rows)} voices of "{dataset.path}" in the split '
                             f'"{split}" are features without sound ({features[0]}), and models here learn from '
                             "recordings; build the dataset from the corpus's audio.")
        self.dataset, self.seed, self.batch, self.augment, self.codes = dataset, seed, batch, augment, codes
        self.rate_hz = self.rows[0].get("sample_rate_hz", 16000)
        self.crop_s, self.crop_most_s = crop_s, crop_most_s or crop_s
        self.faces, self.faces_of = faces, {}
        if faces is not None:
            for place, row in enumerate(faces.rows):
                if codes is None or row["path"] in codes:
                    self.faces_of.setdefault(row["person"], []).append(place)
            self.rows = [row for row in self.rows if row["person"] in self.faces_of]
            if not self.rows:
                raise ValueError(f'"{dataset.path}" has nobody with a voice and a face'
                                 f'{" with known codes" if codes is not None else ""} in the split "{split}".')
        self.people = sorted({row["person"] for row in self.rows})
        self.number_of = {person: number for number, person in enumerate(self.people)}
        self.order = EndlessOrder(len(self.rows), seed, "voices")
        self.stores = {"voices": Store(len(self.rows), self._read, seed=seed, skip_corrupt=skip_corrupt)}
        self.num_bytes = {"voices": int(sum(row.get("seconds", 10) for row in self.rows) * self.rate_hz * 2)}
        if faces is not None:
            self.stores["faces"], self.num_bytes["faces"] = faces.stores["faces"], faces.num_bytes["faces"]

    def __len__(self):
        return len(self.rows)

    def _read(self, k):
        return speech_of(self.dataset, self.rows[k])

    def __getitem__(self, position):
        return self._sample(position, self.order[position], self.stores["voices"].skip_corrupt + 1)

    def _sample(self, position, wanted, tries):
        random = numpy_stream(self.seed, "voice", position)
        length_s = self.crop_s
        if self.crop_most_s > self.crop_s:
            share = numpy_stream(self.seed, "length", position // self.batch).random()
            length_s += (self.crop_most_s - self.crop_s) * share
        k, clip = self.stores["voices"].get(wanted)
        size = int(length_s * self.rate_hz)
        if self.augment is None:
            wave = crop(clip, size, random.random())
        else:
            clip = clip.astype(np.float32) / np.float32(_PCM)
            wave = np.asarray(self.augment(clip, random, self.rate_hz, num_samples=size), np.float32)
        person = self.rows[k]["person"]
        sample = {"waves": wave, "people": np.int64(self.number_of[person])}
        if self.faces is not None:
            place, pixels = self._face_of(person, random)
            if pixels is None:  # another person's face would not belong to this voice
                if not tries:
                    raise too_many(self.faces.stores["faces"].bad, self.faces.stores["faces"].skip_corrupt)
                other = numpy_stream(self.seed, "replacement", "pair", k).integers(len(self.rows))
                return self._sample(position, int(other), tries - 1)
            sample["images"] = np.ascontiguousarray(pixels[:, :, ::-1] if self.faces.mirror and random.random() < 0.5
                                                    else pixels)
            if self.codes is not None:
                sample["codes"] = np.asarray(self.codes[self.faces.rows[place]["path"]], np.float32)
        return sample

    def _face_of(self, person, random):  # -> (place, pixels), (None, None) when none of the person's can be read
        places = self.faces_of[person]
        first = int(random.integers(len(places)))
        found = ((place, self.stores["faces"].load(place)) for place in places[first:] + places[:first])
        return next((pair for pair in found if pair[1] is not None), (None, None))

    def middle(self, k):  # -> [1, S]
        """Returns the middle crop of one clip."""
        return torch.from_numpy(crop(self.stores["voices"].get(k)[1], int(self.crop_s * self.rate_hz), 0.5))[None]


def crop(clip, size, place, *, scale=1 / _PCM):  # [S'] -> float32 [size]
    """Returns `size` samples of a clip, from `place` (0 first … 1 last) of what fits; a short clip is repeated."""
    if len(clip) < size:
        clip = np.tile(clip, -(-size // len(clip)))
    start = int(place * (len(clip) - size))
    return clip[start:start + size].astype(np.float32) * np.float32(scale)


def speech_of(dataset, row):  # -> int16 [S]
    """Returns the speech of a clip without its pauses; Damaged when the clip is empty or damaged."""
    from voice2style.audio.voice_activity import speech_spans

    samples = dataset.read_voice(row)
    if not len(samples):
        raise Damaged(f'"{row["path"]}" in "{dataset.path}" has no samples.')
    rate = row.get("sample_rate_hz", 16000)
    parts = [samples[round(start_s * rate):round(end_s * rate)] for start_s, end_s in speech_spans(samples, rate)]
    return np.round((np.concatenate(parts) if parts else samples) * _PCM).astype(np.int16)


def _first_readable(dataset, rows, most):
    for row in rows[:most + 1]:
        try:
            dataset.read_face(row)
        except (Damaged, OSError):
            continue
        return row
    raise ValueError(f'the first {min(len(rows), most + 1)} faces of "{dataset.path}" are damaged.')
