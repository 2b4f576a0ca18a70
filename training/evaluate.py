"""Judges a voice model on the drawn world, where every trait and the best possible score are known."""

import dataclasses
import pathlib

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.console import table
from dnnlib.files import sha256_file
from metrics.judges.trait_probe import load_probe
from metrics.result import Result
from metrics.world_traits import trait_scores
from torch_utils.images import grid, to_float, to_hwc, to_uint8
from torch_utils.random_streams import numpy_stream
from training.dataset import Dataset
from training.probe_loop import trait_table
from training.voice_evidence import data_sha256
from training.voice_judges import check_independence
from voice2style.demo.traits import TRAITS
from voice2style.listening import listen

_PAIRS_KEPT = 24


@dataclasses.dataclass(frozen=True)
class WorldReport:
    """R² per trait: of the model's faces, of those faces dealt to other people, of real pictures."""

    model: list
    shuffled: list
    real: list
    protocol: dict
    pairs: list  # (real picture, drawn face) of the first people, [3, H, W] in [-1, 1]

    def table(self):
        """Returns a Markdown table, one row a trait."""
        hears = {trait.name: trait.hears for trait in TRAITS}
        rows = [(score.name, hears.get(score.name, "nothing"), f"{score.ceiling:.2f}", f"{real.value:.2f}",
                 f"**{score.value:.2f}**", f"{score.low:.2f} … {score.high:.2f}", f"{shuffled.value:.2f}")
                for score, shuffled, real in zip(self.model, self.shuffled, self.real)]
        return table(rows, ["trait", "hears", "ceiling ρ²", "judge on drawn faces", "MODEL", "95 % interval",
                            "shuffled voices"])

    def sheet(self, *, columns=12):  # -> uint8 [H, W, 3]
        """Returns real pictures in one row, the faces drawn from their voices below, twice their size."""
        rows = []
        for start in range(0, len(self.pairs), columns):
            part = self.pairs[start:start + columns]
            rows += [torch.stack([pair[k] for pair in part]) for k in (0, 1)]
        images = torch.nn.functional.interpolate(torch.cat(rows), scale_factor=2, mode="bicubic")
        return to_hwc(to_uint8(grid(images.clamp(-1, 1), columns)))

    def results(self):
        """Returns the numbers as one flat table for a metric line."""
        return {f"world_r2_{score.name}": score.value for score in self.model}

    def scored(self):
        """Returns the numbers of the model as Results."""
        judge, seed = f"{self.protocol['judge']} {self.protocol['judge_sha256'][:8]}", self.protocol["seed"]
        return [Result(f"world_r2_{score.name}", score.value, *score.limits, score.n, seed, judge)
                for score in self.model]


@torch.inference_mode()
def judge_world(model, *, data, judge_path, split="test", psi=1.0, most=None, seed=0, network_sha256=None,
                allow=False):
    """Returns a WorldReport over the people of a split that have a voice and a face: one clip and one face each.

    `data` is a Dataset or the path of one. ValueError when it has no such people or no ground truth, or when the judge
    trained the model, unless `allow`; the protocol's notes then say so.
    """
    dataset = data if isinstance(data, Dataset) else Dataset(data)
    judge, judge_sha256 = load_probe(judge_path), sha256_file(judge_path)
    notes = check_independence(model, judge_sha256, pathlib.Path(judge_path).name, judge.settings.source, allow=allow)
    faces = {row["person"]: row for row in reversed(dataset.faces(split))}
    rows = list({row["person"]: row for row in reversed(dataset.voices(split)) if row["person"] in faces}.values())
    rows = rows[:most] if most else rows
    if len(rows) < 2:
        raise ValueError(f'"{dataset.path}" has {len(rows)} people with voice and face in the split "{split}"; '
                         "2 are needed.")
    drawn, real, pairs = [], [], []
    for row in tqdm(rows, desc="Judging", unit="person", disable=None):
        ws = listen(model, torch.from_numpy(dataset.read_voice(row))).codes
        face = model.synthesis(model.truncate(ws, psi)).clamp(-1, 1)
        picture = to_float(torch.from_numpy(np.array(dataset.read_face(faces[row["person"]]))).permute(2, 0, 1))
        drawn.append(judge(face)[0])
        real.append(judge(picture[None])[0])
        if len(pairs) < _PAIRS_KEPT:
            pairs.append((picture, torch.nn.functional.interpolate(face, size=picture.shape[1:])[0]))
    names = judge.settings.traits
    truth = trait_table(dataset, rows, names).double().numpy()
    ceilings = dataset.card["ceilings"]
    dealt = numpy_stream(seed, "shuffled voices").permutation(len(rows))

    def scores(read):
        read = torch.stack(read).double().numpy()
        return [trait_scores({name: truth[:, k] for k, name in enumerate(names)},
                             {name: values[:, k] for k, name in enumerate(names)}, ceilings=ceilings, seed=seed)
                for values in (read, read[dealt])]

    (model_scores, shuffled), (real_scores, _) = scores(drawn), scores(real)
    protocol = {"n": len(rows), "split": split, "data": str(dataset.path.name), "data_sha256": data_sha256(dataset),
                "judge": pathlib.Path(judge_path).name, "judge_sha256": judge_sha256, "notes": notes,
                "truncation_psi": psi, "seed": seed,
                "network_sha256": network_sha256, "torch": torch.__version__}
    return WorldReport(model=model_scores, shuffled=shuffled, real=real_scores, protocol=protocol, pairs=pairs)
