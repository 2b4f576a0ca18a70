"""Trains a recogniser of faces or voices on a dataset's train split; a run that is stopped goes on as it was."""

import hashlib
import json
import time

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.settings import to_dict
from metrics.judges.people_sphere import save_recogniser
from metrics.verification import area_under_curve, equal_error_rate
from torch_utils.random_streams import numpy_stream
from training.dataset import Dataset
from training.recogniser_settings import SpeakerSettings
from training.recogniser_subjects import FaceSubject, VoiceSubject
from training.run_folder import Averages, RunFolder, tick_line

_MOST_PAIRS = 20000  # of each sort, for the held-out AUC
_MOST_FACES = 2000  # all pairs of so many are looked at


def train_recogniser(settings, *, data, outdir, desc, command="", device="cpu"):
    """Trains for `settings.steps` iterations, prints the AUC of unseen people, and returns the path of the recogniser.

    SpeakerSettings train one of voices, RecogniserSettings one of faces. ValueError when the train split has fewer than
    two people with what it learns from.
    """
    dataset, by_voice = Dataset(data), isinstance(settings, SpeakerSettings)
    subject = (VoiceSubject if by_voice else FaceSubject)(dataset, settings)
    rows = subject.rows("train")
    people = sorted({row["person"] for row in rows}, key=str)
    if len(people) < 2:
        raise ValueError(f'"{data}" has {subject.noun} of {len(people)} people in the train split; a recogniser learns '
                         "to tell people apart, so it needs two or more.")
    subject.open()
    with RunFolder(outdir, desc, {"task": "speaker" if by_voice else "recogniser", "settings": to_dict(settings),
                                  "data": str(data)}) as folder:
        return _train(settings, subject, rows, people, folder, command, device)


def _train(settings, subject, rows, people, folder, command, device):
    """Does what `train_recogniser` says in its run folder."""
    place = {person: number for number, person in enumerate(people)}
    labels = torch.tensor([place[row["person"]] for row in rows])
    folder.say(f"Num {subject.noun}: {len(rows)} of {len(people)} people for training")
    recogniser = build_recogniser(subject, people, command).to(device)
    optimiser = torch.optim.AdamW(recogniser.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=settings.steps)
    first = take_up(folder, recogniser, optimiser, schedule)
    averages, begin, tick_begin, done = Averages(), time.time(), time.time(), first
    path = folder.path / subject.file
    for index in range(first, settings.steps):
        inputs, picks = subject.batch(index)
        margin = settings.margin * min(1.0, (index + 1) / max(1, settings.warmup_steps))
        recogniser.train()
        cosines = recogniser.cosines(recogniser(inputs.to(device)))
        wanted = labels[picks].to(device)
        loss = margin_loss(cosines, wanted, scale=settings.scale, margin=margin)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        averages.add({"Loss/recogniser": loss.detach(),
                      "Recogniser/right": (cosines.argmax(1) == wanted).float().mean().detach()})
        if (index + 1) % settings.tick_steps and index + 1 < settings.steps:
            continue
        tick, rate = (index + 1) // settings.tick_steps, (index + 1 - done) / max(time.time() - tick_begin, 1e-9)
        stats = averages.take()
        folder.say(tick_line(
            tick=tick, kimg=(index + 1) * settings.batch / 1000, total_s=time.time() - begin,
            tick_s=time.time() - tick_begin, tick_kimg=(index + 1 - done) * settings.batch / 1000, maintenance_s=0.0,
            eta_s=(settings.steps - index - 1) / rate, images_per_s=rate * settings.batch)
            + "".join(f"  {name.rsplit('/', 1)[1]} {value['mean']:.3f}" for name, value in stats.items()))
        folder.append_stats(stats)
        if tick % settings.snapshot_ticks == 0 or index + 1 == settings.steps:
            save_recogniser(recogniser, path)
            folder.save_state({"recogniser": recogniser.state_dict(), "optimiser": optimiser.state_dict(),
                               "schedule": schedule.state_dict(), "next": index + 1})
        tick_begin, done = time.time(), index + 1
    folder.say(verification_line(recogniser.eval(), subject, seed=settings.seed, device=device))
    return path


def build_recogniser(subject, people, command):
    """Returns a fresh recogniser whose card says on whom it is trained."""
    listed = json.dumps([str(person) for person in people]).encode()
    settings = subject.settings
    source = {"data": subject.dataset.card, "settings": to_dict(settings), "command": command, "people": people,
              "people_sha256": hashlib.sha256(listed).hexdigest()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return subject.build(len(people), source)


def take_up(folder, recogniser, optimiser, schedule):
    """Puts the last state of the run folder back; returns the iteration that comes next."""
    state = folder.load_state()
    if state is None:
        return 0
    recogniser.load_state_dict(state["recogniser"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    folder.say(f"Going on at iteration {state['next']} in {folder.path}")
    return state["next"]


def margin_loss(cosines, labels, *, scale, margin):  # [N, P], [N] -> []
    """Returns the cross-entropy of scaled cosines, that of the right person lowered by a margin.

    CosFace: Large Margin Cosine Loss for Deep Face Recognition (2018), equation 4.
    """
    lowered = cosines - margin * F.one_hot(labels, cosines.shape[1])
    return F.cross_entropy(scale * lowered, labels)


@torch.no_grad()
def verification_line(recogniser, subject, *, seed, device="cpu"):
    """Returns a line with AUC and EER of pairs of rows of unseen people: same person or two people."""
    for split in ("val", "test"):
        rows = subject.rows(split)
        counts = {}
        for row in rows:
            counts[row["person"]] = counts.get(row["person"], 0) + 1
        if len(counts) > 1 and max(counts.values()) > 1:
            break
    else:
        return "no held-out AUC: neither the val nor the test split has two people and two of one"
    embeddings = subject.embed(recogniser, split, device)
    owner = np.unique([str(row["person"]) for row in rows], return_inverse=True)[1]
    first, second = held_out_pairs(owner, numpy_stream(seed, "held-out pairs"))
    counts = set(owner[first]) | set(owner[second])
    same = owner[first] == owner[second]
    scores = (embeddings[first] * embeddings[second]).sum(1).cpu().numpy()
    auc, eer = area_under_curve(scores, same), equal_error_rate(scores, same)
    return (f"held-out AUC {auc:.4f}  EER {eer:.4f}  ({split} split, {len(counts)} people, {int(same.sum())} pairs of "
            f"one person, {int((~same).sum())} of two, seed {seed})")


def held_out_pairs(owner, random):  # [N] -> [P], [P]
    """Returns pairs of pictures of one person, then of two; a random choice of people and pairs when there are many."""
    people, sizes = np.unique(owner, return_counts=True)
    order = random.permutation(len(people))
    enough = max(2, int((np.cumsum(sizes[order]) <= _MOST_FACES).sum()))
    rows = np.flatnonzero(np.isin(owner, people[order[:enough]]))
    first, second = (rows[part] for part in np.triu_indices(len(rows), 1))
    same = owner[first] == owner[second]
    kept = np.concatenate([random.permutation(np.flatnonzero(same == wanted))[:_MOST_PAIRS]
                           for wanted in (True, False)])
    return first[kept], second[kept]
