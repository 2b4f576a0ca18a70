"""The bench that metrics are measured on: both sides, judges by name, passes that metrics share, what was cached."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np

from dnnlib.console import say, warn
from dnnlib.files import atomic_path, cache_dir
from metrics.features import (
    DAMAGED,
    FeatureStore,
    MomentsCollector,
    ScoreCollector,
    Streaming,
    read_arrays,
    stream_features,
)
from metrics.judges.weights import Access
from metrics.moments import GroupedMoments
from metrics.samples import Drawn, open_pictures
from torch_utils import distributed
from torch_utils.random_streams import numpy_stream
from training import picture_sources as sources

JUDGES = ("inception", "drawn")
_FORMAT = 1  # of what is cached; another number: nothing of before is read
_EYES = ("nvidia", "clean", "legacy_tensorflow", "legacy_pytorch", "vgg", "classes")


class Bench:
    """What was given to measure, opened once, and what was measured on the way, kept for the next metric."""

    def __init__(self, *, model, network_path, fakes, data, settings, device):
        self.model, self.settings, self.device = model, settings, device
        self.dataset, self.data_path = sources.open_data(data)
        self.fakes_path = pathlib.Path(fakes) if fakes is not None else None
        self.network_name = network_path.name if network_path else None
        self.network_sha256 = sources.network_digest(model, network_path) if model is not None else None
        self.cautions, self._kept, self._folders = [], {}, set()
        self.planned = ()  # the Looks of all metrics that will be measured
        self.access = Access(inception=settings.inception, vgg=settings.vgg, lpips=settings.lpips_weights,
                             download=settings.download, trust=settings.trust_weights)

    def say(self, line):
        """Prints a line, once among all ranks."""
        if distributed.is_first():
            say(line)

    def caution(self, line):
        """Prints a warning and keeps it for the protocol of the metric that is being measured."""
        if line not in self.cautions:
            self.cautions.append(line)
            if distributed.is_first():
                warn(f"Warning: {line}")

    def eye(self, name):
        """Returns the judge behind a name of the table: with --judge drawn it is always the drawn one.

        ValueError when it trained the model, as its card tells, unless that is allowed; then a caution says so.
        """
        if name not in _EYES:
            raise ValueError(f'no judge "{name}"; {", ".join(_EYES)} are known.')
        key = name if self.settings.judge == "inception" else "drawn classes" if name == "classes" else "drawn"
        return self._independent(self._once(("eye", key), lambda: self._open_eye(key)))

    def distance(self):
        """Returns the judge of distances: LPIPS, or the drawn one; as `eye` refuses it when it trained the model."""
        def opened():
            from metrics.judges.drawn import DrawnDistance
            from metrics.judges.lpips import LpipsJudge

            if self.settings.judge == "drawn":
                return DrawnDistance(device=self.device)
            return LpipsJudge(access=self.access, device=self.device)

        return self._independent(self._once("distance", opened))

    def reals(self):
        """Returns the real side: Pictures."""
        return self._once("reals", lambda: sources.real_pictures(self.dataset, self.data_path, self.settings.split))

    def latents(self):
        """Returns what the generator draws from seeds: sources.Latents."""
        return self._once("latents", lambda: sources.Latents(
            self.model, seed=self.settings.seed, psi=self.settings.truncation_psi, labels=sources.labels_for(
                self.model, self.dataset, self.data_path, self.settings.options.get("class"))))

    def fakes(self, count):
        """Returns the generated side: `count` pictures, or as many as there are for the --num that was asked for."""
        wanted = self.settings.num or count
        if self.fakes_path is not None:
            there = self._once("fake pictures", lambda: open_pictures(self.fakes_path))
        elif self.settings.faces_from == "voice":
            there = self._once("fake voices", lambda: sources.faces_of_voices(
                self.model, self.dataset, split=self.settings.split, psi=self.settings.truncation_psi,
                facts=self.network_facts()))
        else:
            return Drawn(wanted, self.latents().draw, {**self.network_facts(), "faces_from": "seeds"})
        if self.settings.num and self.settings.num > there.count:
            what = "pictures" if self.fakes_path is not None else "voices"
            raise ValueError(f"--num {self.settings.num}: there are only {there.count} {what}; give {there.count} or "
                             "less, or leave --num away.")
        return Drawn(min(wanted, there.count), there.draw, there.facts) if isinstance(there, Drawn) \
            else there.first(wanted)

    def network_facts(self):
        """Returns what says which pictures a network draws."""
        return {"network": self.network_name, "network_sha256": self.network_sha256, "seed": self.settings.seed,
                "truncation_psi": self.settings.truncation_psi, "noise": "random",
                "labels": self.latents().labels_note if self.model.generator.c_dim else None}

    def look(self, look):
        """Returns what a Look gathers, with everything else that planned metrics want of the same pass.

        "moments": GroupedMoments. "features": float32 [N, K], mapped from a file. "scores": ScoreSums.
        """
        judge = self.eye(look.eye)
        source = self.pictures_of(look)
        facts = {"format": _FORMAT, **source.facts, "count": source.count, "judge": judge.name,
                 "judge_sha256": judge.sha256, "resize": judge.resize}
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        if (key, look.want) not in self._kept:
            wants = {look.want, *(other.want for other in self.planned if self._same_pass(other, look))}
            wants = {want for want in wants if (key, want) not in self._kept}
            self._kept |= {(key, want): value for want, value in self._pass(key, look, judge, source, wants).items()}
        return self._kept[key, look.want]

    def count_of(self, look):
        """Returns how many pictures a Look is of."""
        return self.pictures_of(look).count

    def facts_of(self, look):
        """Returns what says which pictures a Look is of."""
        source = self.pictures_of(look)
        return {**source.facts, "count": source.count}

    def work_folder(self, key):
        """Returns the folder where a stopped measurement keeps what it has; removed when all is measured."""
        folder = pathlib.Path(self.settings.work_dir or cache_dir("metrics", "unfinished")) / key
        self._folders.add(folder)
        return folder

    def finish(self):
        """Removes what was kept for a run that might have been stopped."""
        self._kept.clear()
        distributed.barrier()
        if distributed.is_first():
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _same_pass(self, other, look):
        return (other.side, other.flips) == (look.side, look.flips) and (other.want == "scores") == (
            look.want == "scores") and self.eye(other.eye) is self.eye(look.eye) and self.count_of(
            other) == self.count_of(look)

    def pictures_of(self, look):
        """Returns the numbered pictures of a Look: Pictures or Drawn."""
        if look.side == "fake":
            return self.fakes(look.count)
        reals = self.reals()
        if look.flips:
            reals = reals.with_flips()
        if look.count is None or look.count >= reals.count:
            return _noted(reals, flips=look.flips, subset=None)
        chosen = numpy_stream(self.settings.seed, "real subset").permutation(reals.count)[:look.count]
        subset = f"{look.count}, seed {self.settings.seed}"
        return _noted(reals.chosen(np.sort(chosen)), flips=look.flips, subset=subset)

    def _pass(self, key, look, judge, source, wants):
        """Runs one pass, or reads what is cached of it; returns want -> what was gathered."""
        found, missing = {}, {}
        cached = cache_dir("metrics", key) if look.side == "real" and self.settings.cache else None
        for want in sorted(wants):
            found[want] = _read_cached(cached, want) if cached else None
            if found[want] is None:
                missing[want] = self._collector(want, key, look, judge, source, cached)
        if missing:
            streaming = Streaming(batch=self.settings.batch, workers=self.settings.workers, device=self.device,
                                  folder=self.work_folder(key), show=self.settings.verbose)
            stream_features(source, judge, missing, streaming, desc=f"{look.side} pictures, {judge.name}")
            for want, collector in missing.items():
                found[want] = collector.gathered
                if cached and want == "moments" and distributed.is_first():
                    with atomic_path(cached / "moments.npz") as temporary, open(temporary, "wb") as file:
                        np.savez(file, **collector.arrays())
                if cached and want == "features" and distributed.is_first():
                    (cached / "features.complete").touch()
        return found

    def _collector(self, want, key, look, judge, source, cached):
        if want == "moments":
            return MomentsCollector(judge.dim, groups=10 if look.side == "fake" and self.settings.rounds else 1)
        if want == "features":
            folder = cached or self.work_folder(key)
            return FeatureStore(folder / "features.npy", source.count, judge.dim)
        return ScoreCollector(source.count)

    def _open_eye(self, key):
        from metrics.judges.drawn import DrawnFeatures
        from metrics.judges.inception import InceptionClasses, InceptionJudge
        from metrics.judges.lpips import VggFeatures

        if key.startswith("drawn"):
            return DrawnFeatures(device=self.device, head="probabilities" if "classes" in key else "features")
        if key == "vgg":
            return VggFeatures(access=self.access, device=self.device)
        if key == "classes":
            return InceptionClasses(access=self.access, device=self.device)
        return InceptionJudge(key, access=self.access, device=self.device)

    def _independent(self, judge):
        from training.voice_judges import check_independence
        from training.voice_wishes import training_judge_allowed

        for note in check_independence(self.model, judge.sha256, judge.name,
                                       allow=training_judge_allowed(self.settings)):
            self.caution(note)
        return judge

    def _once(self, key, make):
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def _noted(pictures, **facts):
    return dataclasses.replace(pictures, facts={**pictures.facts, **facts})


def _read_cached(folder, want):
    """Returns what an earlier run cached, or None. A cache that cannot be read is as good as none."""
    try:
        if want == "moments" and (folder / "moments.npz").exists():
            return GroupedMoments.from_arrays(read_arrays(folder / "moments.npz"))
        if want == "features" and (folder / "features.complete").exists():
            return np.load(folder / "features.npy", mmap_mode="r")
    except DAMAGED:
        pass
    return None


