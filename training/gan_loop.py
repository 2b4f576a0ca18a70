"""Adversarial training from an empty run folder to snapshots, going on where it was stopped."""

import copy
import time

import torch

from dnnlib.settings import to_dict
from torch_utils.checkpoint import load_checkpoint, part_of, save_checkpoint
from torch_utils.images import grid, to_hwc, to_uint8, write_png
from torch_utils.random_streams import stream
from training.dataset import Dataset
from training.gan_step import GanStep
from training.reals import RealFaces
from training.run_folder import Averages, RunFolder, tick_line
from training.transfer import silence_new_blocks, transfer
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings


def build_networks(settings):
    """Returns (G, D) with initial values that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.seed, "initial values").initial_seed())
        generator = Generator(GeneratorSettings(
            z_dim=settings.z_dim, w_dim=settings.w_dim, img_resolution=settings.resolution, channels=settings.channels,
            mapping_layers=settings.mapping_layers, use_noise=settings.use_noise))
        discriminator = Discriminator(DiscriminatorSettings(
            img_resolution=settings.resolution, channels=settings.channels))
    return generator, discriminator


def take_over(generator, discriminator, path, say):
    """Copies by name what fits from the checkpoint at `path` (also one of a lower resolution) into G and D."""
    tensors, _ = load_checkpoint(path)
    for label, network, prefixes in (("G", generator, ("G", "G_ema")), ("D", discriminator, ("D",))):
        source = next((found for prefix in prefixes if (found := part_of(tensors, prefix))), {})
        result = transfer(network, source)
        say(f"{label} from {path}: {result.sentence()}")
        if label == "G":
            silence_new_blocks(network, result.fresh)


def train_gan(settings, *, data, outdir, desc, resume=None, device="cpu", command="", licence="Apache-2.0"):
    """Trains until `settings.total_kimg`, snapshots on the way; returns the path of the last snapshot.

    The same call again goes on from the last state of its run folder.
    """
    options = {"task": "gan", "settings": to_dict(settings), "data": str(data), "resume": resume and str(resume)}
    folder = RunFolder(outdir, desc, options)
    dataset = Dataset(data)
    reals = RealFaces(dataset, resolution=settings.resolution, seed=settings.seed, mirror=settings.mirror)
    folder.say(f"Num images:  {len(reals)}")
    folder.say(f"Image shape: [3, {settings.resolution}, {settings.resolution}]")
    generator, discriminator = build_networks(settings)
    state = folder.load_state()
    if resume is not None and state is None:
        take_over(generator, discriminator, resume, folder.say)
    layout = {"device": device, "memory_format": torch.channels_last}
    step = GanStep(generator.to(**layout), discriminator.to(**layout), copy.deepcopy(generator).eval().to(**layout),
                   settings, device=device)
    first = 0
    if state is not None:
        step.restore(state["step"])
        first = state["next"]
        folder.say(f"Going on at {first * settings.batch / 1000:.1f} kimg in {folder.path}")
    else:
        write_png(folder.path / "reals.png", to_hwc(grid(to_uint8(reals.batch(0, 256)), 16)))
        write_fakes(step, folder.path / "fakes_init.png")
    source = {"data": dataset.card, "settings": to_dict(settings), "command": command}
    folder.say(f"Training for {settings.total_kimg:g} kimg...")
    return _loop(step, reals, folder, first, source, licence)


def _loop(step, reals, folder, first, source, licence):
    """Runs iterations first..last with a tick line every `tick_kimg`; returns the last snapshot's path."""
    settings = step.settings
    last = -(-int(settings.total_kimg * 1000) // settings.batch)
    per_tick = max(int(settings.tick_kimg * 1000) // settings.batch, 1)
    averages, begin, tick_begin, done, maintenance = Averages(), time.time(), time.time(), first, 0.0
    path = folder.path / f"network-snapshot-{round(last * settings.batch / 1000):06d}.safetensors"
    for index in range(first, last):
        images = reals.batch(index, settings.batch).to(step.device)
        averages.add(step.run(images.contiguous(memory_format=torch.channels_last), index))
        if (index + 1) % per_tick and index + 1 < last:
            continue
        now, kimg, tick = time.time(), (index + 1) * settings.batch / 1000, (index + 1) // per_tick
        rate = (index + 1 - done) * settings.batch / (now - tick_begin)
        folder.say(tick_line(
            tick=tick, kimg=kimg, total_s=now - begin, tick_s=now - tick_begin, maintenance_s=maintenance,
            tick_kimg=(index + 1 - done) * settings.batch / 1000, images_per_s=rate,
            eta_s=(last - index - 1) * settings.batch / rate))
        folder.append_stats({**averages.take(), **{name: {"num": 1, "mean": value, "std": 0.0} for name, value in (
            ("Progress/tick", tick), ("Progress/kimg", kimg), ("Timing/total_sec", now - begin),
            ("Timing/sec_per_kimg", 1000 / rate))}})
        tick_begin, done = time.time(), index + 1
        if tick % settings.snapshot_ticks == 0 or index + 1 == last:
            path = folder.path / f"network-snapshot-{round(kimg):06d}.safetensors"
            save_networks(step, path, {**source, "kimg": kimg}, licence)
            write_fakes(step, folder.path / f"fakes{round(kimg):06d}.png")
            folder.save_state({"step": step.state(), "next": index + 1})
        maintenance, tick_begin = time.time() - tick_begin, time.time()
    return path


def save_networks(step, path, source, licence):
    """Writes G_ema, G and D with their card."""
    card = Card(generator=Part("stylegan2", to_dict(step.G.settings)), licence=licence, source=source,
                discriminator=Part("stylegan2", to_dict(step.D.settings)))
    save_checkpoint(path, {f"{prefix}.{name}": tensor for prefix in ("G_ema", "G", "D")
                           for name, tensor in getattr(step, prefix).state_dict().items()}, card.to_dict())


def write_fakes(step, path, *, count=256):
    """Draws the same latents at every snapshot, with constant noise."""
    z = torch.randn([count, step.settings.z_dim], generator=stream(step.settings.seed, "grid")).to(step.device)
    with torch.no_grad():
        images = torch.cat([step.G_ema(part, noise_mode="const") for part in z.split(64)])
    write_png(path, to_hwc(grid(to_uint8(images.cpu()), 16)))
