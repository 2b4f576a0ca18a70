"""One iteration of voice training: clip -> W+ codes -> frozen generator -> traits that the picture shows -> loss."""

import math

import torch

from torch_utils.random_streams import stream
from training.losses.adversarial import generator_loss


def cosine_with_warmup(step, *, steps, warmup):
    """Returns the share of the learning rate at `step`: up in a line, down along half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def add_noise(waves, snr_db, generator):  # [N, S] -> [N, S]
    """Returns waves with white noise at a signal-to-noise ratio drawn for each from `snr_db` to 30 dB above it."""
    ratio_db = snr_db + 30 * torch.rand([len(waves), 1], generator=generator)
    power = waves.square().mean(1, keepdim=True)
    noise = torch.randn(waves.shape, generator=generator)
    return waves + noise * (power / 10 ** (ratio_db / 10)).sqrt()


@torch.no_grad()
def whitening(generator, *, num_samples=20000, seed=0):  # -> [D, D]
    """Returns the matrix that gives the codes of the mapping network unit variance in every direction.

    Distances are measured through it: a step the generator has never seen counts much, one it knows counts little.
    """
    z = torch.randn([num_samples, generator.z_dim], generator=stream(seed, "whitening"))
    device = next(generator.parameters()).device
    variances, directions = torch.linalg.eigh(torch.cov(generator.mapping(z.to(device))[:, 0].T))
    return directions / variances.clamp_min(1e-4 * variances.max()).sqrt()


class VoiceStep:
    """The audio processor and its optimiser; generator, probe and discriminator (None: no realism term) stay frozen."""

    def __init__(self, model, probe, discriminator, settings):
        self.model, self.probe, self.discriminator, self.settings = model, probe, discriminator, settings
        self.whitening = whitening(model.generator, seed=settings.seed)
        self.optimiser = torch.optim.AdamW(model.encoder.parameters(), lr=settings.lr,
                                           weight_decay=settings.weight_decay)

    def run(self, waves, truth, index):  # [N, S], [N, K] -> dict of scalars
        """Returns the statistics of one iteration; the audio processor has moved."""
        settings = self.settings
        share = cosine_with_warmup(index, steps=settings.steps, warmup=settings.warmup_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * share
        waves = add_noise(waves, settings.noise_snr_db, stream(settings.seed, "waves", index))
        features = self.model.frontend(waves)
        offsets = self.model.encoder.train()(features)
        images = self.model.synthesis(self.model.mean_codes() + offsets, noise_mode="const")
        middle = offsets.mean(1, keepdim=True)
        terms = {"trait": (self.probe(images) - truth).square().mean(),
                 "w_avg": (middle @ self.whitening).square().mean(),
                 "spread": ((offsets - middle) @ self.whitening).square().mean()}
        loss = (settings.trait_weight * terms["trait"] + settings.w_avg_weight * terms["w_avg"]
                + settings.spread_weight * terms["spread"])
        if self.discriminator is not None:
            terms["realism"] = generator_loss(self.discriminator(images))
            loss = loss + settings.realism_weight * terms["realism"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.encoder.parameters(), 1.0)
        self.optimiser.step()
        return {f"Loss/voice/{name}": value.detach() for name, value in {**terms, "all": loss}.items()}
