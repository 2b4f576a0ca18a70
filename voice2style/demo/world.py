"""The drawn world: people numbered 0, 1, 2, ... without end, each with a voice, faces, and known ground truth.

    world = World(seed=0)
    people = world.people(range(100))
    images, landmarks = world.faces(people, shots=0, resolution=64)
    wave = world.voice(7, clip=0)

Everything about person i depends on (seed, i) alone; the circumstances of a picture (pose, light, wall) on
(seed, i, shot), those of a clip (words, level, noise, channel) on (seed, i, clip), independent of the person's traits.

`hello.wav` beside this file is four seconds of person 59 of `World(seed=0)`, clip 0, made by
`python -m voice2style.demo.world voice2style/demo/hello.wav`. That person is in the test split, so no model trained on
the world of seed 0 has heard it.
"""

import dataclasses
import math
import operator
import pathlib
import sys

import numpy as np

from voice2style.demo import drawing, voices
from voice2style.demo.counter_random import Counters
from voice2style.demo.traits import HEARD, TRAITS, UNHEARD, direction

__all__ = ["HEARD", "TRAITS", "UNHEARD", "People", "World"]
MIN_SECONDS, MAX_SECONDS = 3.0, 8.0  # of a clip whose length is not given
HELLO = {"person": 59, "clip": 0, "seconds": 4.0}
_GROUP_PITCH, _GROUP_VTL = (-0.80, 0.60), (0.75, 0.66)  # mean by group, spread within it
_LIMIT = 2.2


@dataclasses.dataclass(frozen=True)
class People:
    """N people: what is heard of them and what is seen of them, name -> float64 [N]."""

    indices: np.ndarray  # int64 [N]
    group: np.ndarray  # float64 [N], +1 or -1: which of two kinds of speakers (it makes pitch and vtl bimodal)
    heard: dict  # the factors of HEARD, of about unit variance
    traits: dict  # TRAITS (unit variance) and UNHEARD (uniform in [0, 1])

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, part):  # slice, index array or mask -> People
        rows = np.atleast_1d(np.arange(len(self))[part])
        pick = operator.itemgetter(rows)
        return People(
            pick(self.indices),
            pick(self.group),
            *({k: pick(v) for k, v in d.items()} for d in (self.heard, self.traits)),
        )


def _checked_indices(values, what):  # -> int64 [N]
    array = np.atleast_1d(np.asarray(list(values) if isinstance(values, range) else values))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{what} must be whole numbers in one row, not {array.dtype} of shape {array.shape}.")
    if array.size and array.min() < 0:
        raise ValueError(f"{what} count from 0; {array.min()} came.")
    return array.astype(np.int64)


class World:
    """The endless source. `audibility` in [0, 1] multiplies every rho; `nuisance` in [0, 2] scales circumstances."""

    def __init__(self, seed=0, *, audibility=1.0, nuisance=1.0):
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
            raise ValueError(f"seed {seed!r}: a whole number from 0 to 2^63 - 1 is needed.")
        for name, value, top in (("audibility", audibility, 1), ("nuisance", nuisance, 2)):
            if not isinstance(value, (int, float)) or not 0 <= value <= top:
                raise ValueError(f"{name} {value!r}: a number from 0 to {top} is needed.")
        self.seed, self.audibility, self.nuisance = int(seed), float(audibility), float(nuisance)

    def people(self, indices):  # int [N] -> People
        """The people with these numbers; each is the same whatever the batch."""
        indices = _checked_indices(indices, "people")
        random = Counters(self.seed, "person", indices)
        group = np.where(random.uniform("group") < 0.5, 1.0, -1.0)
        heard = {name: random.normal(f"heard {name}") for name in HEARD}
        for name, (mean, spread) in (("pitch", _GROUP_PITCH), ("vtl", _GROUP_VTL)):
            heard[name] = mean * group + spread * np.clip(heard[name], -_LIMIT, _LIMIT)
        heard["age"] = (random.uniform("heard age") * 2 - 1) * math.sqrt(3)  # in years: 48 + 17.3 * age
        traits = {}
        for trait in TRAITS:
            rho = trait.rho * self.audibility
            noise = random.normal(f"trait {trait.name}")
            traits[trait.name] = rho * direction(heard, trait.hears) + math.sqrt(1 - rho * rho) * noise
        traits.update({name: random.uniform(f"trait {name}") for name in UNHEARD})
        return People(indices, group, heard, traits)

    def faces(self, people, shots=0, resolution=64, device="cpu"):
        """Portraits [N, 3, R, R] float32 in [-1, 1] and landmarks [N, 6, 2] in pixels, one a person, on `device`.

        `shots` (one number, or [N]) picks the circumstances: another shot is another pose, light, expression, wall.
        """
        import torch

        from voice2style.demo import faces

        shots = np.broadcast_to(_checked_indices(shots, "shots"), people.indices.shape)
        random = Counters(self.seed, "shot", people.indices, shots)
        numbers = drawing.person_parameters(people.traits) | drawing.shot_parameters(random, self.nuisance)
        rows = torch.from_numpy(np.stack([numbers[name] for name in faces.PARAMETERS]).astype(np.float32)).to(device)
        return faces.render(dict(zip(faces.PARAMETERS, rows, strict=True)), resolution)

    def voice(self, person, clip=0, seconds=None):  # -> float32 [S] in [-1, 1] at 16 kHz
        """One clip of a person's speech. `seconds` is its length, or a range to draw it from; None is 3 to 8 s."""
        index = _checked_indices(person, "people")
        random = Counters(self.seed, "clip", index, _checked_indices(clip, "clips"))
        if len(random) != 1:
            raise ValueError(f"one clip is spoken at a time; {len(random)} came.")
        if seconds is None or isinstance(seconds, tuple):
            low, high = seconds or (MIN_SECONDS, MAX_SECONDS)
            seconds = low + (high - low) * float(random.uniform("seconds")[0])
        generator = np.random.default_rng(int(random.bits("speech")[0]))
        heard = {name: float(value[0]) for name, value in self.people(index).heard.items()}
        return voices.speak(heard, seconds, generator, nuisance=self.nuisance)

    def ceilings(self):
        """trait -> the best reachable R^2 of that trait from the voice. For every name in UNHEARD it is 0."""
        return {trait.name: (trait.rho * self.audibility) ** 2 for trait in TRAITS}

    def ideal_portrait(self, people):  # People -> People
        """The same people with the traits an ideal listener expects: E[trait | voice], or the mean of unheard ones."""
        expected = {t.name: t.rho * self.audibility * direction(people.heard, t.hears) for t in TRAITS}
        expected |= {name: np.full(len(people), 0.5) for name in UNHEARD}
        return dataclasses.replace(people, traits=expected)


def _write_hello(path):
    wave = World(seed=0).voice(HELLO["person"], HELLO["clip"], HELLO["seconds"])
    pathlib.Path(path).write_bytes(voices.wav_bytes(wave))
    print(f"{path}: person {HELLO['person']} of World(seed=0), clip {HELLO['clip']}, {HELLO['seconds']} s")


if __name__ == "__main__":
    _write_hello(sys.argv[1] if len(sys.argv) > 1 else "hello.wav")
