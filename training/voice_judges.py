"""Judges of a run, and whether they may judge: a network that trained the model is no judge of it."""

import json
import shlex

from metrics.judges.face_id import load_recogniser


def judge_label(judge):
    """Returns how results name a judge: file and the first digits of its sha256."""
    return f"{judge.name} {judge.sha256[:8]}"


def training_command(task, data):
    """Returns the command that trains a judge on the training people of a dataset."""
    return f"python train.py --task {task} --data {shlex.quote(str(data))} --outdir runs"


def load_face_judge(path, *, data, model=None, allow=False, device="cpu"):
    """Returns (recogniser, notes): ValueError when it trained `model`, unless `allow`; then a note says so."""
    if not path:
        raise ValueError("these metrics need a face recogniser that did not train the model: --judge FILE. Make one of "
                         f"the dataset's training people (minutes) with {training_command('recogniser', data)}, or "
                         "give an .onnx file, or one of dlib or facenet-pytorch.")
    judge = load_recogniser(path, device=device)
    source = getattr(getattr(judge, "settings", None), "source", None)
    return judge, check_independence(model, judge.sha256, judge.name, source, allow=allow)


def check_independence(model, sha256, name, source=None, *, allow=False):
    """Returns notes; ValueError when the card of `model` names this judge (by sha256 or its whole source)."""
    if model is None or getattr(model, "card", None) is None or not trained_by(model.card.source, sha256, source):
        return []
    if not allow:
        raise ValueError(f'the judge "{name}" trained this model (its card names sha256 {str(sha256)[:16]}...): the '
                         "model learned to please it, so its numbers mean nothing. Give another judge, or "
                         "--option allow-training-judge=1 to measure all the same and have the report say so.")
    return [f"NOT INDEPENDENT: the judge {name} trained this model; these numbers are too good."]


def trained_by(card_source, sha256, source=None):
    """Returns True when a card's source holds this sha256 anywhere, or exactly this source of a network.

    A judge of several files has their sha256 with "+" between.
    """
    if sha256 and any(part in json.dumps(card_source, default=str) for part in sha256.split("+")):
        return True
    return bool(source) and _holds(card_source, json.loads(json.dumps(source)))


def trained_here(model, dataset):
    """Returns True when the card of a model says that it was trained on the training split of this very dataset."""
    source = getattr(getattr(model, "card", None), "source", None) or {}
    return _holds(source, json.loads(json.dumps(dataset.card)))


def known_people(judge, dataset, people):
    """Returns how many of `people` the judge was trained on, as far as its card tells: same source and same seed."""
    source = getattr(getattr(judge, "settings", None), "source", None) or {}
    trained, card = source.get("people"), source.get("data")
    same = bool(card) and all(card.get(key) == dataset.card.get(key) for key in ("source", "seed"))
    return len(set(trained) & set(people)) if trained and same else 0


def _holds(tree, wanted):
    if tree == wanted:
        return True
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return any(_holds(part, wanted) for part in parts)
