"""One iteration of voice training: clip -> W+ codes -> frozen generator -> what the picture shows -> loss."""

import math

import torch

from torch_utils.random_streams import stream
from training.losses.adversarial import generator_loss
from training.phases import Phase


def cosine_with_warmup(step, *, steps, warmup):
    """Returns the share of the learning rate at `step`: up in a line, down along half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def rate_share(step, settings):
    """Returns the share of the learning rate at `step` under the schedule of VoiceSettings."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    left = settings.steps - settings.warmup_steps
    period = max(-(-left // settings.cycles), 1) if settings.schedule == "cycles" else left
    return cosine_with_warmup((step - settings.warmup_steps) % max(period, 1), steps=period, warmup=0)


def make_optimiser(parameters, settings):
    """Returns the optimiser that VoiceSettings name."""
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum,
                               weight_decay=settings.weight_decay)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimiser]
    return kind(parameters, lr=settings.lr, betas=tuple(settings.betas), weight_decay=settings.weight_decay)


def add_noise(waves, snr_db, draw, batch):  # [n, S] -> [n, S]
    """Returns waves with white noise at a signal-to-noise ratio drawn for each from `snr_db` to 30 dB above it."""
    ratios, noises = [], []
    for place in batch.positions.tolist():  # each sample has its own stream, whatever part of the batch this is
        random = draw("noise", place)
        ratios.append(torch.rand([1], generator=random))
        noises.append(torch.randn(waves.shape[1], generator=random))
    ratio_db = snr_db + 30 * torch.stack(ratios).to(waves.device)
    power = waves.square().mean(1, keepdim=True)
    return waves + torch.stack(noises).to(waves.device) * (power / 10 ** (ratio_db / 10)).sqrt()


@torch.no_grad()
def whitening(generator, *, num_samples=20000, seed=0):  # -> [D, D]
    """Returns the matrix that gives the codes of the mapping network unit variance in every direction.

    Distances are measured through it: a step the generator has never seen counts much, one it knows counts little.
    """
    z = torch.randn([num_samples, generator.z_dim], generator=stream(seed, "whitening"))
    device = next(generator.parameters()).device
    c = None
    if generator.c_dim:  # all labels in turn
        c = torch.eye(generator.c_dim, device=device)[torch.arange(num_samples) % generator.c_dim]
    variances, directions = torch.linalg.eigh(torch.cov(generator.mapping(z.to(device), c)[:, 0].T))
    return directions / variances.clamp_min(1e-4 * variances.max()).sqrt()


class VoiceStep:
    """The audio processor and its optimiser; generator, probe and discriminator (None: no realism term) stay frozen.

    `truth` [people, K] are the traits that the probe should read in a person's picture. `terms`: an object with
    `loss(images=, ws=, embeddings=, batch=, draw=) -> {name: (weight, value)}`, or None.
    """

    def __init__(self, model, probe, discriminator, settings, *, truth=None, terms=None):
        self.model, self.probe, self.discriminator, self.settings = model, probe, discriminator, settings
        self.truth, self.terms = truth, terms
        self.whitening = whitening(model.generator, seed=settings.seed)
        self.networks = {"encoder": model.encoder}
        if terms is not None:
            self.networks |= terms.networks
        parameters = [parameter for network in self.networks.values() for parameter in network.parameters()]
        self.optimisers = {"encoder": make_optimiser(parameters, settings)}

    def phases(self, index):
        """Returns the one phase of iteration `index`, with the learning rate set."""
        for group in self.optimisers["encoder"].param_groups:
            group["lr"] = self.settings.lr * rate_share(index, self.settings)
        return [Phase("voice", "encoder", tuple(self.networks), self._run, clip=self.settings.clip_norm)]

    def finish(self, index, batch_size):
        """Nothing moves beside the audio processor."""

    def state(self):
        """Returns what a later run needs beside network and optimiser: nothing."""
        return {}

    def restore(self, state):
        """Takes back what `state()` returned."""

    def _run(self, batch, draw):
        settings, waves = self.settings, batch.waves
        if not settings.voice_augment:
            waves = add_noise(waves, settings.noise_snr_db, draw, batch)
        embeddings = self.model.encoder.train().embed(self.model.frontend(waves))
        offsets = self.model.encoder.offsets(embeddings)
        ws = self.model.mean_codes() + offsets
        images = self.model.synthesis(ws, noise_mode="const")
        middle = offsets.mean(1, keepdim=True)
        terms = {"w_avg": (settings.w_avg_weight, (middle @ self.whitening).square().mean()),
                 "spread": (settings.spread_weight, ((offsets - middle) @ self.whitening).square().mean())}
        if self.probe is not None:
            truth = self.truth[batch.people]
            terms["trait"] = settings.trait_weight, (self.probe(images) - truth).square().mean()
        if self.discriminator is not None and settings.realism_weight:
            c_dim = self.discriminator.c_dim
            c = torch.full([len(images), c_dim], 1 / c_dim, device=images.device) if c_dim else None
            terms["realism"] = settings.realism_weight, generator_loss(self.discriminator(images, c))
        if self.terms is not None:
            terms |= self.terms.loss(images=images, ws=ws, embeddings=embeddings, batch=batch, draw=draw)
        loss = sum(weight * value for weight, value in terms.values())
        return loss, {f"Loss/voice/{name}": value.detach() for name, (_, value) in terms.items()} | {
            "Loss/voice/all": loss.detach()}
