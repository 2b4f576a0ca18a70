"""Voice metrics of the drawn world, where every trait is known: R² per trait, heard and unheard, beside the ceiling."""

import numpy as np

from dnnlib.console import table
from metrics.attributes import LinearReader
from metrics.landmark_ratios import pearson
from metrics.result import Result
from metrics.world_traits import trait_scores
from training.evaluate import judge_world
from training.metric_rows import Outcome
from training.voice_judges import training_command
from training.voice_run import evidence_of, outcome
from training.voice_rungs import shuffled_rows
from training.voice_wishes import training_judge_allowed
from voice2style.demo.traits import TRAITS

NO_TRUTH = "this metric needs the truth of the drawn world: a dataset made by dataset_tool.py world."


def measure_world_traits(bench):
    """R² of the heard traits as a trait probe reads them, one clip and one face a person."""
    settings, probe = bench.settings, bench.settings.options.get("probe")
    if not probe:
        raise ValueError("world_traits needs a trait probe that did not train the model: --judge FILE. Make one of "
                         f"drawn people (minutes) with {training_command('probe', bench.data_path)}.")
    report = judge_world(bench.model, data=bench.dataset, judge_path=probe, split=settings.split or "test",
                         psi=settings.truncation_psi, most=settings.limit, seed=settings.seed,
                         network_sha256=bench.network_sha256, allow=training_judge_allowed(settings))
    return Outcome(results=report.scored(), protocol={**report.protocol, "interval": "95 %, people drawn again"},
                   table=report.table(), pictures={"world_traits.png": report.sheet})


def measure_unheard(bench):
    """R² of heard and unheard traits, read from the judge's embeddings, of the model, its control and photographs.

    Per person: the mean of what is read in all clips (or photographs). What cannot be heard has the ceiling 0: below it
    only because a guess costs, above it would be a leak.
    """
    evidence, settings = evidence_of(bench), bench.settings
    people = evidence.own_people
    rows = [evidence.people[person] for person in people.tolist()]
    trained = [evidence.people.get(person, {}) for person in evidence.train_people.tolist()]
    if not all(row.get("traits") for row in rows) or not trained or not all(row.get("traits") for row in trained):
        raise ValueError(NO_TRUTH + " It reads traits by a regression on the training faces, which must be there too.")
    names = sorted(rows[0]["traits"], key=lambda name: (_heard_place(name), name))
    truth, known = (np.array([[row["traits"][name] for name in names] for row in part]) for part in (rows, trained))
    reader = LinearReader(evidence.train, known)
    sides = {"model": (evidence.drawn, evidence.clip_people),
             "shuffled": (evidence.drawn[shuffled_rows(evidence.clip_people, settings.seed)], evidence.clip_people),
             "photographs": (evidence.faces, evidence.face_people)}
    ceilings = {name: bench.dataset.card.get("ceilings", {}).get(name, 0.0) for name in names}
    read = {side: _per_person(reader.values(rows), owners, people) for side, (rows, owners) in sides.items()}
    scores = {side: trait_scores({name: truth[:, k] for k, name in enumerate(names)},
                                 {name: values[:, k] for k, name in enumerate(names)}, ceilings=ceilings,
                                 seed=settings.seed, rounds=settings.rounds) for side, values in read.items()}
    hears = {trait.name: trait.hears for trait in TRAITS}
    order = [pearson(truth[:, k], read["model"][:, k]) for k in range(len(names))]
    words = table([[own.name, hears.get(own.name, "nothing"), f"{own.ceiling:.2f}", f"{limit.value:.2f}",
                    f"**{own.value:.2f}** ({own.low:.2f} … {own.high:.2f})", f"{r:.2f}", f"{dealt.value:.2f}"]
                   for own, dealt, limit, r in zip(scores["model"], scores["shuffled"], scores["photographs"], order)],
                  ["trait", "hears", "ceiling ρ²", "photographs", "MODEL", "r, MODEL", "shuffled voices"])
    results = [Result(f"world_r2_{score.name}", score.value, *score.limits, score.n, settings.seed, evidence.label)
               for score in scores["model"]]
    return outcome(evidence, results, words, reader="ridge on the judge's embeddings of training faces")


def heard_of(evidence):  # -> [V, F] or None
    """Returns the audible factors of each clip's person, None where the dataset does not know them."""
    rows = [evidence.people.get(person, {}).get("heard") for person in evidence.clip_people.tolist()]
    if not all(rows):
        return None
    return np.array([[row[name] for name in sorted(rows[0])] for row in rows])


def _heard_place(name):
    order = [trait.name for trait in TRAITS]
    return order.index(name) if name in order else len(order)


def _per_person(values, owners, people):
    return np.stack([values[owners == person].mean(0) for person in people.tolist()])
