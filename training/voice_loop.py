"""Voice training: the audio processor onto W+ with the generator frozen, from a run folder that can be continued."""

import functools

import numpy as np
import torch

from dnnlib.settings import from_dict, to_dict
from metrics.judges.trait_probe import load_probe
from metrics.world_traits import trait_scores
from torch_utils import distributed
from torch_utils.checkpoint import load_checkpoint, load_strictly, part_of
from torch_utils.images import grid, to_float, to_hwc, to_uint8, write_png
from torch_utils.random_streams import stream
from training.dataset import Damaged, Dataset
from training.loop import Loop, Task
from training.losses.equipment import equip, judges_of
from training.losses.terms import WeighedTerms, check_weights, needs_of
from training.probe_loop import trait_table
from training.run_folder import RunFolder
from training.settings import RunSettings
from training.snapshot_metrics import measure_snapshot
from training.sources import Faces, Voices
from training.viewing import same_file
from training.voice_step import VoiceStep, voice_weights
from voice2style.audio import AudioSettings, FrontEnd
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.encoders import ENCODERS
from voice2style.pipeline import VoiceToFace, check_channels, load, network_file

_PAIRS = 32  # on the sheet of real faces beside faces from voices


def frozen_networks(network):
    """Returns (generator, its card's Part and source, discriminator or None) of any readable checkpoint, frozen.

    ValueError says in one sentence what is wrong with the file.
    """
    from voice2style.networks import load_networks

    path = network_file(network)
    model = load(path, device="cpu")  # our own files of any kind of generator, and strangers'
    check_channels(model, (3,), name=network)
    discriminator = None
    if model.card.generator.kind == "stylegan2":
        discriminator = load_networks(path).D
    elif model.card.discriminator is not None:
        tensors, _ = load_checkpoint(path)
        discriminator = Discriminator(from_dict(DiscriminatorSettings, model.card.discriminator.options))
        load_strictly(discriminator, part_of(tensors, "D"), where=f'the discriminator of "{network}"')
    return model.generator, model.card, discriminator and discriminator.eval().requires_grad_(False)


def build_model(settings, network):
    """Returns (VoiceToFace with a fresh encoder and the frozen generator of `network`, its discriminator or None)."""
    generator, card, discriminator = frozen_networks(network)
    frontend = FrontEnd(AudioSettings(**settings.audio))
    encoder_settings, encoder_class = ENCODERS["se_resnet"]
    options = encoder_settings(num_ws=generator.num_ws, w_dim=generator.w_dim, planes=frontend.planes,
                               rows=frontend.num_features // frontend.planes, **settings.encoder)
    encoder = encoder_class(options, generator=stream(settings.seed, "encoder"))
    card = Card(generator=card.generator, audio=to_dict(frontend.settings), encoder=Part("se_resnet", to_dict(options)),
                source={"generator": card.source}, licence=card.licence)
    return VoiceToFace(frontend, encoder, generator.eval().requires_grad_(False), card), discriminator


def voice_augmentation(settings):
    """Returns what changes the voices in the reading processes, or None."""
    if not settings.voice_augment:
        return None
    from training.voice_augment import VoiceAugment, VoiceAugmentSettings

    return VoiceAugment(VoiceAugmentSettings(snr_db=settings.noise_snr_db))


def face_source(dataset, settings, skip_corrupt, *, resolution, mirror=False):
    """Returns the Faces that go with the voices; ValueError when the dataset has none, or of another size."""
    if not dataset.faces("train"):
        raise ValueError(f'"{dataset.path}" has no faces in the split "train"; these objectives compare with faces.')
    return Faces(dataset, resolution=resolution, seed=settings.seed, mirror=mirror, skip_corrupt=skip_corrupt)


def voice_source(dataset, settings, run, *, faces=None, codes=None, split="train"):
    """Returns the Voices of a split as the settings want them."""
    train = split == "train"
    return Voices(dataset, split, crop_s=settings.crop_s, seed=settings.seed, batch=settings.batch,
                  crop_most_s=settings.crop_most_s if train else None, faces=faces if train else None,
                  codes=codes if train else None, augment=voice_augmentation(settings) if train else None,
                  skip_corrupt=run.skip_corrupt)


def train_voice(settings, *, network, probe=None, data, outdir, desc, command="", device="cpu", codes=None,
                recogniser=None, perceptual=None, run=None):
    """Trains for `settings.steps` iterations, going on after a stop; returns the path of the model.

    `network`: any readable checkpoint. What the voice path learns from: `probe` (traits), `codes` (a file of known W+
    codes), `recogniser` (faces of the same person), and `settings.terms`. `run`: RunSettings.
    """
    run = run or RunSettings()
    files = {"network": network, "probe": probe, "codes": codes, "recogniser": recogniser, "perceptual": perceptual}
    device = distributed.start(device)
    dataset = Dataset(data)
    judge = None if probe is None else load_probe(probe, device=device)  # a file that is none of it leaves no folder
    model, discriminator = build_model(settings, network)
    with run_folder("voice", settings, run, files, data=data, outdir=outdir, desc=desc, command=command) as folder:
        model.to(device)
        discriminator = discriminator and discriminator.to(device)
        weights = voice_weights(settings, probe=probe, discriminator=discriminator, codes=codes, recogniser=recogniser)
        check_weights(weights)
        _describe(model, dataset, settings, command, judge, judges_of(
            needs_of(weights), probe=probe, recogniser=recogniser, perceptual=perceptual))
        faces = _faces_for(weights, dataset, settings, model, run)
        voices = voice_source(dataset, settings, run, codes=known_codes(codes, model, faces), faces=faces)
        unseen = voice_source(dataset, settings, run, split="val") if dataset.voices("val") else None
        folder.say(f"Num voices: {len(voices)} for training, {0 if unseen is None else len(unseen)} for validation")
        folder.say("Objectives: " + ", ".join(f"{name} {weight:g}" for name, weight in weights.items()))
        if run.batch_gpu and run.batch_gpu * distributed.world_size() < settings.batch:
            folder.say(f"Batch statistics of the audio processor are those of {run.batch_gpu} clips at a time.")
        equipment = equip(needs_of(weights), model, seed=settings.seed, probe=judge,
                          truth=truth_of(voices, judge, device), recogniser=recogniser and str(recogniser),
                          perceptual=perceptual and str(perceptual), faces=functools.partial(faces_of, voices))
        step = VoiceStep(model, discriminator, WeighedTerms(weights, equipment), settings,
                         masks=masks_of(settings, model))
        return _run(step, voices, unseen, judge, folder, run, settings, device=device, data=data)


def run_folder(task, settings, run, files, *, data, outdir, desc, command):
    """Returns the RunFolder of a task that takes `files` {option: path or None} beside its dataset."""
    options = {"task": task, "settings": to_dict(settings), "data": str(data),
               **{name: value and str(value) for name, value in files.items()}}
    return RunFolder(outdir, desc, options, notes={"run": to_dict(run), "command": command}, latest=run.resume_latest,
                     keep_states=run.keep_states)


def known_codes(path, model, faces):
    """Returns the KnownCodes of a --codes file for the faces of a run, by face or person; None where it has none."""
    if path is None or faces is None:
        return None
    from training.codes import load_codes

    return load_codes(path).fit(model.num_ws, model.w_dim).of_faces(faces.rows)


def _faces_for(weights, dataset, settings, model, run):
    """Returns the faces that the terms compare with, of the generator's size; None when no term needs any."""
    if not needs_of(weights) & {"reals", "codes", "prototypes"}:
        return None
    return face_source(dataset, settings, run.skip_corrupt, resolution=model.generator.img_resolution)


def truth_of(voices, judge, device):  # -> [people, K], or None
    """Returns the traits that the probe should read in each training person's face."""
    if judge is None:
        return None
    first = {row["person"]: row for row in reversed(voices.rows)}
    return trait_table(voices.dataset, [first[person] for person in voices.people], judge.settings.traits).to(device)


def masks_of(settings, model):
    """Returns the masks of time and frequency that go with changed voices, or None."""
    if not settings.voice_augment:
        return None
    from training.voice_augment import FeatureMasks

    return FeatureMasks(planes=model.frontend.planes)


def faces_of(voices, *, at_once=64):
    """Yields (images [n, 3, H, W] in [-1, 1], numbers of their people [n]) of the training people's faces."""
    places = [(place, number) for number, person in enumerate(voices.people) for place in voices.faces_of[person]]
    for start in range(0, len(places), at_once):
        some, numbers = zip(*places[start:start + at_once])
        yield to_float(voices.faces.pictures(some)), torch.tensor(numbers)


def _run(step, voices, unseen, judge, folder, run, settings, *, device, data):
    model, final = step.model, folder.path / "model.safetensors"

    def write_snapshot(path, kimg):
        model.save(path)
        same_file(path, final)

    def draw_pictures(number):
        model.encoder.eval()
        write_pairs(model, voices, unseen, folder, number=number)
        if judge is not None and unseen is not None and number is not None:
            validate(model, judge, unseen, folder)

    def measure(path):
        return measure_snapshot(run, path, data, device=device, warn=folder.warn_once, faces_from="voice")

    Loop(Task(step=step, source=voices, seed=settings.seed, batch=settings.batch, last=settings.steps,
              per_tick=settings.tick_steps, snapshot_ticks=settings.snapshot_ticks, write_snapshot=write_snapshot,
              draw_pictures=draw_pictures, measure=measure), folder, run, device=device).run()
    return final


def _describe(model, dataset, settings, command, judge, judges):
    """Puts into the card what the voice path is trained on."""
    card = model.card
    source = {**card.source, "voice": {"data": dataset.card, "settings": to_dict(settings), "command": command,
                                       "probe": judge and judge.settings.source, "learned_from": judges}}
    model.card = Card(**{**vars(card), "source": source})


@torch.no_grad()
def validate(model, judge, voices, folder, *, most=400):
    """Prints R² per trait of faces from unseen voices, as the training probe reads them."""
    rows = voices.rows[:most]
    truth = trait_table(voices.dataset, rows, judge.settings.traits).numpy()
    images = torch.cat([model.synthesis(model.codes(voices.middle(place))).clamp(-1, 1) for place in range(len(rows))])
    read = torch.cat([judge(part) for part in images.split(64)]).cpu().numpy()
    names = judge.settings.traits
    scores = trait_scores({name: truth[:, k] for k, name in enumerate(names)},
                          {name: read[:, k] for k, name in enumerate(names)}, ceilings={}, rounds=50)
    folder.say("val R²  " + "  ".join(f"{score.name} {score.value:.2f}" for score in scores)
               + f"  (n {len(rows)}, judge: the training probe)")


@torch.no_grad()
def write_pairs(model, voices, unseen, folder, *, number):
    """Draws the same people at every snapshot: a real face, and beside it the face from the voice, constant noise.

    Unseen people where the dataset has some; without faces only the drawn ones.
    """
    heard = voices if unseen is None else unseen
    dataset, split = heard.dataset, "train" if unseen is None else "val"
    first_face = {row["person"]: row for row in reversed(dataset.faces(split))}
    shown, sheet = set(), []
    for place, row in enumerate(heard.rows):
        if row["person"] in shown or (first_face and row["person"] not in first_face):
            continue
        try:
            real = np.array(dataset.read_face(first_face[row["person"]])) if first_face else None
        except (Damaged, OSError):
            continue  # a damaged picture does not end a run
        shown.add(row["person"])
        drawn = model.synthesis(model.codes(heard.middle(place))).clamp(-1, 1)[0].cpu()
        if real is not None:
            real = to_float(torch.from_numpy(real).permute(2, 0, 1))[None]
            sheet.append(torch.nn.functional.interpolate(real, size=drawn.shape[1:], mode="area")[0])
        sheet.append(drawn)
        if len(shown) == _PAIRS:
            break
    if not sheet:
        return
    name = "fakes_init.png" if number is None else f"fakes{number}.png"
    write_png(folder.path / name, to_hwc(grid(to_uint8(torch.stack(sheet)), 16 if len(sheet) >= 16 else None)))
    if number is not None:
        same_file(folder.path / name, folder.path / "pairs.png")
