"""Adversarial training from an empty run folder to snapshots, going on where it was stopped."""

import copy

import torch

from dnnlib.settings import to_dict
from torch_utils import distributed
from torch_utils.checkpoint import save_checkpoint
from torch_utils.images import grid, to_hwc, to_uint8, write_png
from torch_utils.random_streams import stream
from training.augmentation import augmentation_of
from training.dataset import Dataset
from training.gan_step import GanStep
from training.loop import Loop, Task, iterations_of
from training.run_folder import RunFolder, has_state
from training.settings import RunSettings
from training.sheets import sheet_size
from training.snapshot_metrics import measure_snapshot
from training.sources import Faces
from training.transfer import take_over
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

_CLAMP = 256.0  # of activations, where some are in half precision
_HALF_RESOLUTIONS = 4


def build_networks(settings, *, c_dim=0):
    """Returns (G, D) with initial values that depend on the seed alone."""
    half = {"num_fp16_res": _HALF_RESOLUTIONS, "conv_clamp": _CLAMP} if settings.precision == "fp16" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.seed, "initial values").initial_seed())
        generator = Generator(GeneratorSettings(
            z_dim=settings.z_dim, w_dim=settings.w_dim, img_resolution=settings.resolution, channels=settings.channels,
            mapping_layers=settings.mapping_layers, use_noise=settings.use_noise, c_dim=c_dim, **half))
        discriminator = Discriminator(DiscriminatorSettings(
            img_resolution=settings.resolution, channels=settings.channels, c_dim=c_dim,
            architecture=settings.d_architecture, mbstd_group_size=settings.mbstd_group,
            freeze_layers=settings.freeze_d, **half))
    return generator, discriminator


def train_gan(settings, *, data, outdir, desc, resume=None, device="cpu", command="", licence="Apache-2.0", run=None):
    """Trains until `settings.total_kimg`, snapshots on the way; returns the path of the last snapshot.

    The same call again goes on from the last state of its run folder. `run`: RunSettings.
    """
    run = run or RunSettings()
    options = {"task": "gan", "settings": to_dict(settings), "data": str(data), "resume": resume and str(resume)}
    device = distributed.start(device)
    dataset = Dataset(data)
    faces = Faces(dataset, resolution=settings.resolution, seed=settings.seed, mirror=settings.mirror,
                  mirrory=settings.mirrory, cond=settings.cond, subset=settings.subset, skip_corrupt=run.skip_corrupt)
    c_dim = 0 if faces.labels is None else faces.labels.shape[1]
    generator, discriminator = build_networks(settings, c_dim=c_dim)
    augment, told = augmentation_of(settings), []
    if resume is not None and not has_state(outdir, desc, options, latest=run.resume_latest):
        take_over(generator, discriminator, resume, told.append)  # before there is a folder: a bad file leaves none
    folder = RunFolder(outdir, desc, options, notes={"run": to_dict(run), "command": command}, latest=run.resume_latest,
                       keep_states=run.keep_states)
    with folder:
        folder.say(f"Output directory: {folder.path}")
        folder.say(f"Num images:  {len(faces)}")
        folder.say(f"Image shape: [3, {settings.resolution}, {settings.resolution}]")
        folder.say(f"Label shape: [{c_dim}]")
        folder.say("Constructing networks...")
        for line in told:
            folder.say(line)
        if settings.precision == "fp16" and device.type != "cuda":
            folder.say("On this device everything is computed in fp32; fp16 is for CUDA GPUs.")
        step = _step(settings, generator, discriminator, faces, device, augment)
        source = {"data": dataset.card, "settings": to_dict(settings), "command": command}
        pictures = _Pictures(step, faces, folder, run, settings)
        task = Task(
            step=step, source=faces, seed=settings.seed, batch=settings.batch,
            first=round(settings.resume_kimg * 1000) // settings.batch,
            last=iterations_of(settings.total_kimg, settings.batch),
            per_tick=max(int(round(settings.tick_kimg * 1000, 6)) // settings.batch, 1),
            snapshot_ticks=settings.snapshot_ticks, group=settings.mbstd_group or 1,
            write_snapshot=lambda path, kimg: save_networks(step, path, {**source, "kimg": kimg}, licence),
            draw_pictures=pictures, measure=lambda path: measure_snapshot(
                run, path, data, device=device, warn=folder.warn_once, mirror=settings.mirror))
        return Loop(task, folder, run, device=device).run()


def _step(settings, generator, discriminator, faces, device, augment):
    """Returns the step with its networks on the device, laid out as convolutions like it best."""
    layout = {"device": device, "memory_format": torch.channels_last}
    average = copy.deepcopy(generator).eval()
    labels = None if faces.labels is None else torch.from_numpy(faces.labels)
    return GanStep(generator.to(**layout), discriminator.to(**layout), average.to(**layout), settings, device=device,
                   labels=labels, augment=augment)


def save_networks(step, path, source, licence):
    """Writes G_ema, G and D with their card."""
    card = Card(generator=Part("stylegan2", to_dict(step.G.settings)), licence=licence, source=source,
                discriminator=Part("stylegan2", to_dict(step.D.settings)))
    save_checkpoint(path, {f"{prefix}.{name}": tensor for prefix in ("G_ema", "G", "D")
                           for name, tensor in getattr(step, prefix).state_dict().items()}, card.to_dict())


class _Pictures:
    """Draws reals.png and fakes_init.png at first, then the same latents at every snapshot, with constant noise."""

    def __init__(self, step, faces, folder, run, settings):
        self.step, self.faces, self.path, self.seed = step, faces, folder.path, settings.seed
        self.columns, self.rows = sheet_size(settings.resolution, settings.resolution, run.grid)

    def __call__(self, number):
        shown = self.faces.sheet(self.columns, self.rows)
        if number is None:
            write_png(self.path / "reals.png", to_hwc(grid(self.faces.pictures(shown), self.columns)))
        labels = None if self.faces.labels is None else torch.from_numpy(self.faces.labels[shown])
        name = "fakes_init.png" if number is None else f"fakes{number}.png"
        write_fakes(self.step, self.path / name, count=len(shown), columns=self.columns, labels=labels, seed=self.seed)


@torch.no_grad()
def write_fakes(step, path, *, count, columns, labels=None, seed=0, at_once=64):
    """Writes a sheet of faces of fixed latents (and labels) by G_ema, rounded to the nearest pixel value."""
    z = torch.randn([count, step.settings.z_dim], generator=stream(seed, "grid"))
    parts = [None] * len(z.split(at_once)) if labels is None else labels.to(step.device).split(at_once)
    images = torch.cat([to_uint8(step.G_ema(part.to(step.device), c, noise_mode="const") - 0.5 / 127.5).cpu()
                        for part, c in zip(z.split(at_once), parts)])
    write_png(path, to_hwc(grid(images, columns)))
