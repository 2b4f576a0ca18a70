"""Voice training: the audio processor onto W+ with the generator frozen, from a run folder that can be continued."""

import time

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.settings import from_dict, to_dict
from metrics.judges.trait_probe import load_probe
from metrics.world_traits import trait_scores
from torch_utils.checkpoint import load_checkpoint, load_strictly, part_of
from torch_utils.images import grid, to_float, to_hwc, to_uint8, write_png
from torch_utils.random_streams import numpy_stream, stream
from training.dataset import Dataset
from training.probe_loop import trait_table
from training.reals import EndlessOrder
from training.run_folder import Averages, RunFolder, tick_line
from training.voice_step import VoiceStep
from voice2style.audio import AudioSettings, FrontEnd
from voice2style.audio.voice_activity import speech_spans
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.encoders import ENCODERS
from voice2style.generators.stylegan2 import Generator, GeneratorSettings
from voice2style.pipeline import VoiceToFace

_PCM = 32767


class Voices:
    """The speech of one split's clips in memory, pauses left out as in inference; batches are crops of one length."""

    def __init__(self, dataset, split, *, crop_s, seed):
        self.rows = dataset.voices(split)
        if not self.rows:
            raise ValueError(f'"{dataset.path}" has no voices in the split "{split}"; --task voice needs them.')
        self.clips = [_speech_of(dataset, row)
                      for row in tqdm(self.rows, desc=f"Reading {split} voices", unit="clip", disable=None)]
        self.size = int(crop_s * self.rows[0].get("sample_rate_hz", 16000))
        self.order, self.seed = EndlessOrder(len(self.rows), seed, "voices"), seed

    def batch(self, index, size):  # -> [N, S], positions
        """Returns crops at places drawn for batch `index`; a short clip is repeated."""
        picks = self.order.batch(index, size)
        random = numpy_stream(self.seed, "crops", index)
        return torch.from_numpy(np.stack([self._crop(pick, random.random()) for pick in picks])), picks

    def middle(self, pick):  # -> [1, S]
        """Returns the middle crop of one clip."""
        return torch.from_numpy(self._crop(pick, 0.5))[None]

    def _crop(self, pick, place):
        clip = self.clips[pick]
        if len(clip) < self.size:
            clip = np.tile(clip, -(-self.size // len(clip)))
        start = int(place * (len(clip) - self.size))
        return clip[start:start + self.size].astype(np.float32) / _PCM


def _speech_of(dataset, row):  # -> int16 [S]
    samples = dataset.read_voice(row)
    rate = row.get("sample_rate_hz", 16000)
    parts = [samples[round(start_s * rate):round(end_s * rate)] for start_s, end_s in speech_spans(samples, rate)]
    return np.round((np.concatenate(parts) if parts else samples) * _PCM).astype(np.int16)


def build_model(settings, network):
    """Returns (VoiceToFace with a fresh encoder and the frozen generator of `network`, its discriminator or None)."""
    tensors, found = load_checkpoint(network)
    if found is None:
        raise ValueError(f'"{network}" has no card; give a snapshot of train.py --task gan.')
    card = Card.from_dict(found, where=f'the card of "{network}"')
    generator = Generator(from_dict(GeneratorSettings, card.generator.options))
    load_strictly(generator, part_of(tensors, "G_ema"), where=f'the generator of "{network}"')
    discriminator = None
    if card.discriminator is not None:
        discriminator = Discriminator(from_dict(DiscriminatorSettings, card.discriminator.options))
        load_strictly(discriminator, part_of(tensors, "D"), where=f'the discriminator of "{network}"')
        discriminator.eval().requires_grad_(False)
    frontend = FrontEnd(AudioSettings(**settings.audio))
    encoder_settings, encoder_class = ENCODERS["se_resnet"]
    options = encoder_settings(num_ws=generator.num_ws, w_dim=generator.w_dim, planes=frontend.planes,
                               rows=frontend.num_features // frontend.planes, **settings.encoder)
    encoder = encoder_class(options, generator=stream(settings.seed, "encoder"))
    card = Card(generator=card.generator, audio=to_dict(frontend.settings), encoder=Part("se_resnet", to_dict(options)),
                source={"generator": card.source}, licence=card.licence)
    return VoiceToFace(frontend, encoder, generator.eval().requires_grad_(False), card), discriminator


def train_voice(settings, *, network, probe, data, outdir, desc, command="", device="cpu"):
    """Trains for `settings.steps` iterations, going on after a stop; returns the path of the model."""
    options = {"task": "voice", "settings": to_dict(settings), "data": str(data), "network": str(network),
               "probe": str(probe)}
    folder = RunFolder(outdir, desc, options)
    dataset = Dataset(data)
    judge = load_probe(probe, device=device)
    model, discriminator = build_model(settings, network)
    card = model.card
    source = {**card.source, "voice": {"data": dataset.card, "settings": to_dict(settings), "command": command,
                                       "probe": judge.settings.source}}
    model.card = Card(**{**vars(card), "source": source})
    voices = Voices(dataset, "train", crop_s=settings.crop_s, seed=settings.seed)
    unseen = Voices(dataset, "val", crop_s=settings.crop_s, seed=settings.seed)
    folder.say(f"Num voices: {len(voices.rows)} for training, {len(unseen.rows)} for validation")
    step = VoiceStep(model.to(device), judge, discriminator and discriminator.to(device), settings)
    truth = trait_table(dataset, voices.rows, judge.settings.traits)
    state, first = folder.load_state(), 0
    if state is not None:
        model.encoder.load_state_dict(state["encoder"])
        step.optimiser.load_state_dict(state["optimiser"])
        first = state["next"]
        folder.say(f"Going on at iteration {first} in {folder.path}")
    averages, begin, tick_begin, done = Averages(), time.time(), time.time(), first
    path = folder.path / "model.safetensors"
    for index in range(first, settings.steps):
        waves, picks = voices.batch(index, settings.batch)
        averages.add(step.run(waves.to(device), truth[picks].to(device), index))
        if (index + 1) % settings.tick_steps and index + 1 < settings.steps:
            continue
        tick, rate = (index + 1) // settings.tick_steps, (index + 1 - done) / (time.time() - tick_begin)
        stats = averages.take()
        folder.say(tick_line(
            tick=tick, kimg=(index + 1) * settings.batch / 1000, total_s=time.time() - begin,
            tick_s=time.time() - tick_begin, tick_kimg=(index + 1 - done) * settings.batch / 1000, maintenance_s=0.0,
            eta_s=(settings.steps - index - 1) / rate, images_per_s=rate * settings.batch)
            + "".join(f"  {name.rsplit('/', 1)[1]} {value['mean']:.3f}" for name, value in stats.items()))
        folder.append_stats(stats)
        if tick % settings.snapshot_ticks == 0 or index + 1 == settings.steps:
            model.encoder.eval()
            validate(model, judge, unseen, dataset, folder)
            model.save(path)
            folder.save_state({"encoder": model.encoder.state_dict(), "optimiser": step.optimiser.state_dict(),
                               "next": index + 1})
        tick_begin, done = time.time(), index + 1
    return path


@torch.no_grad()
def validate(model, judge, voices, dataset, folder, *, most=400):
    """Prints R² per trait of faces from unseen voices, as the training probe reads them, and draws a grid of pairs."""
    rows = voices.rows[:most]
    truth = trait_table(dataset, rows, judge.settings.traits).numpy()
    images = torch.cat([model.synthesis(model.codes(voices.middle(place))).clamp(-1, 1) for place in range(len(rows))])
    read = torch.cat([judge(part) for part in images.split(64)]).numpy()
    names = judge.settings.traits
    scores = trait_scores({name: truth[:, k] for k, name in enumerate(names)},
                          {name: read[:, k] for k, name in enumerate(names)}, ceilings={}, rounds=50)
    folder.say("val R²  " + "  ".join(f"{score.name} {score.value:.2f}" for score in scores))
    first_face = {row["person"]: row for row in reversed(dataset.faces("val"))}
    pairs = [(place, first_face[row["person"]]) for place, row in enumerate(rows) if row["person"] in first_face][:32]
    if pairs:
        reals = [to_float(torch.from_numpy(np.array(dataset.read_face(row))).permute(2, 0, 1)) for _, row in pairs]
        sheet = [image for (place, _), real in zip(pairs, reals) for image in (real, images[place].cpu())]
        write_png(folder.path / "pairs.png", to_hwc(grid(to_uint8(torch.stack(sheet)), 16)))
