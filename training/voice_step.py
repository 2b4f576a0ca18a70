"""One iteration of voice training: clip -> W+ codes -> frozen generator -> what the picture shows -> loss."""

import math

import torch

from training.losses.terms import total
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


def voice_weights(settings, *, probe, discriminator, codes, recogniser):
    """Returns {term: weight} of a run: the settings' weights where there is something to learn from, then --term."""
    given = {"trait": settings.trait_weight if probe else 0.0,
             "realism": settings.realism_weight if discriminator else 0.0, "latent": 1.0 if codes else 0.0,
             "id_cosine": 1.0 if recogniser else 0.0, "w_avg": settings.w_avg_weight, "spread": settings.spread_weight}
    return {name: weight for name, weight in {**given, **settings.terms}.items() if weight}


class VoiceStep:
    """The audio processor and its optimiser; generator, judges and discriminator (None: no realism term) stay frozen.

    `terms`: WeighedTerms, whose own networks (the projection of voice embeddings) are trained as well. `masks`: a
    FeatureMasks, or None.
    """

    def __init__(self, model, discriminator, terms, settings, *, masks=None):
        self.model, self.discriminator, self.terms, self.settings = model, discriminator, terms, settings
        self.masks, self.main_calls = masks, {"G": model.synthesis}
        self.networks = {"encoder": model.encoder, **terms.networks}
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
        waves = batch.waves
        if not self.settings.voice_augment:  # else the reading processes have changed them
            waves = add_noise(waves, self.settings.noise_snr_db, draw, batch)
        features = self.model.frontend(waves)
        if self.masks is not None:
            features = self.masks(features, draw("masks"), batch=batch)
        embeddings = self.model.encoder.train().embed(features)
        ws = self.model.mean_codes() + self.model.encoder.offsets(embeddings)
        images = self.main_calls["G"](ws)
        logits = None
        if "realism" in self.terms.weights and self.discriminator is not None:
            c_dim = self.discriminator.c_dim  # a voice has no label: all of them alike
            c = torch.full([len(images), c_dim], 1 / c_dim, device=images.device) if c_dim else None
            logits = self.discriminator(images, c)
        found = self.terms.loss(batch=batch, draw=draw, images=images, ws=ws, embeddings=embeddings, logits=logits)
        loss, stats = total(found, "Loss/voice")
        return loss, {**stats, "Loss/voice/all": loss.detach()}
