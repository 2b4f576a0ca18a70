"""The whole method: voice path, discriminator and identity classifier trained together, and the generator if asked."""

import functools

import torch

from dnnlib.settings import to_dict
from metrics.judges.trait_probe import load_probe
from torch_utils import distributed
from torch_utils.checkpoint import save_checkpoint
from torch_utils.random_streams import stream
from training.augmentation import augmentation_of
from training.dataset import Dataset
from training.joint_step import JOINT_TERMS, JointStep, with_classifier
from training.loop import Loop, Task
from training.losses.equipment import equip, judges_of
from training.losses.terms import check_weights, needs_of
from training.settings import RunSettings
from training.snapshot_metrics import measure_snapshot
from training.viewing import same_file
from training.voice_loop import (
    build_model,
    face_source,
    faces_of,
    known_codes,
    masks_of,
    run_folder,
    truth_of,
    validate,
    voice_source,
    write_pairs,
)
from training.voice_step import add_noise
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings


def train_joint(settings, *, network, probe=None, data, outdir, desc, command="", device="cpu", codes=None,
                recogniser=None, perceptual=None, run=None):
    """Trains for `settings.steps` iterations, going on after a stop; returns the path of the model.

    `network`: any readable checkpoint with a generator; its discriminator, if it has one, is trained further. The
    people with voice and face in the training split are the classes of the classifier. `run`: RunSettings.
    """
    run = run or RunSettings()
    files = {"network": network, "probe": probe, "codes": codes, "recogniser": recogniser, "perceptual": perceptual}
    device = distributed.start(device)
    dataset = Dataset(data)
    judge = None if probe is None else load_probe(probe, device=device)  # a file that is none of it leaves no folder
    model, discriminator = build_model(settings, network)
    with run_folder("joint", settings, run, files, data=data, outdir=outdir, desc=desc, command=command) as folder:
        faces = face_source(dataset, settings, run.skip_corrupt, resolution=model.generator.img_resolution,
                            mirror=settings.mirror)
        voices = voice_source(dataset, settings, run, codes=known_codes(codes, model, faces), faces=faces)
        unseen = voice_source(dataset, settings, run, split="val") if dataset.voices("val") else None
        folder.say(f"Num voices: {len(voices)} of {len(voices.people)} people for training, "
                   f"{0 if unseen is None else len(unseen)} for validation")
        if discriminator is None:
            folder.say("The network file has no discriminator: a fresh one is trained.")
            discriminator = fresh_discriminator(model.generator, settings)
        check_groups(discriminator, settings, run)
        discriminator = with_classifier(discriminator, len(voices.people), seed=settings.seed).to(device)
        model.to(device)
        for network in (model.generator, discriminator):  # as convolutions like their weights best
            network.to(memory_format=torch.channels_last)
        weights = {**JOINT_TERMS, **settings.terms}
        check_weights(weights)
        folder.say("Objectives: " + ", ".join(f"{name} {weight:g}" for name, weight in weights.items()))
        equipment = equip(needs_of(weights), model, seed=settings.seed, probe=judge,
                          truth=truth_of(voices, judge, device), recogniser=recogniser and str(recogniser),
                          perceptual=perceptual and str(perceptual), faces=functools.partial(faces_of, voices))
        step = JointStep(model, discriminator, equipment, settings, augment=augmentation_of(settings),
                         change_waves=None if settings.voice_augment else functools.partial(_noisy, settings),
                         masks=masks_of(settings, model))
        judges = judges_of(needs_of(weights), probe=probe, recogniser=recogniser, perceptual=perceptual)
        source = {**model.card.source, "joint": {"data": dataset.card, "settings": to_dict(settings),
                                                 "command": command, "learned_from": judges}}
        return _run(step, source, voices, unseen, judge, folder, run, device=device, data=data)


def _noisy(settings, waves, draw, batch):
    return add_noise(waves, settings.noise_snr_db, draw, batch)


def fresh_discriminator(generator, settings):
    """Returns an untrained discriminator of the generator's resolution and widths, from the seed."""
    wanted = DiscriminatorSettings(img_resolution=generator.img_resolution, channels=generator.settings.channels,
                                   mbstd_group_size=settings.mbstd_group, freeze_layers=settings.freeze_d)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.seed, "discriminator").initial_seed())
        return Discriminator(wanted)


def check_groups(discriminator, settings, run):
    """Raises ValueError unless the network's own groups of batch statistics stay whole in each piece of work."""
    if discriminator.c_dim:
        raise ValueError("the network's discriminator knows labels; --task joint needs one without.")
    part = run.batch_gpu or settings.batch // distributed.world_size()
    group = discriminator.settings.mbstd_group_size
    group = settings.batch if group is None else min(group, settings.batch)
    if discriminator.settings.mbstd_num_channels and part % group:
        raise ValueError(f"a piece of {part} samples is no multiple of the {group} samples in a group of the "
                         f"discriminator's batch statistics; give a --batch (and --batch-gpu) that is.")


def _run(step, source, voices, unseen, judge, folder, run, *, device, data):
    settings, final, average = step.settings, folder.path / "model.safetensors", step.average

    def write_snapshot(path, kimg):
        save_joint(step, path, {**source, "kimg": kimg})
        same_file(path, final)

    def draw_pictures(number):
        write_pairs(average, voices, unseen, folder, number=number)
        if judge is not None and unseen is not None and number is not None:
            validate(average, judge, unseen, folder)

    Loop(Task(step=step, source=voices, seed=settings.seed, batch=settings.batch, last=settings.steps,
              per_tick=settings.tick_steps, snapshot_ticks=settings.snapshot_ticks, write_snapshot=write_snapshot,
              draw_pictures=draw_pictures, group=step.D.settings.mbstd_group_size or 1,
              measure=lambda path: measure_snapshot(run, path, data, device=device, warn=folder.warn_once,
                                                    faces_from="voice")), folder, run, device=device).run()
    return final


def save_joint(step, path, source):
    """Writes the averaged voice path and generator, and the discriminator with its classifier."""
    card = Card(**{**vars(step.model.card), "source": source,
                   "discriminator": Part("stylegan2", to_dict(step.D.settings))})
    parts = {"G_ema": step.average.generator, "encoder": step.average.encoder, "D": step.D}
    save_checkpoint(path, {f"{prefix}.{name}": tensor for prefix, part in parts.items()
                           for name, tensor in part.state_dict().items()}, card.to_dict())
