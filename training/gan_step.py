"""One iteration of StyleGAN2 training: G main, path length (lazy), D main, R1 (lazy), moving average."""

import torch

from torch_utils.distributed import sum_across_ranks
from torch_utils.random_streams import numpy_stream
from training.adversarial_step import AdversarialStep, Real
from training.ema import ema_beta, update_ema
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_lengths


def lazy_adam(network, lr, interval):
    """Returns Adam corrected for a regulariser that runs every `interval` steps (StyleGAN2, appendix B)."""
    share = interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * share, betas=(0.0, 0.99**share), eps=1e-8, fused=True)


def per_sample(draw, name, batch, device):
    """Returns one random generator on `device` for each sample of a part, named by its place in the whole batch."""
    generators = []
    for place in batch.positions.tolist():  # positions stay on the CPU
        generator = torch.Generator(device)
        generator.manual_seed(draw(name, place).initial_seed())
        generators.append(generator)
    return generators


class GanStep(AdversarialStep):
    """Networks, optimisers and running means of an adversarial run; `phases(index)` is what iteration `index` does.

    Every random draw comes from a stream named by (seed, phase, index, place in the batch): iteration 500 draws the
    same numbers whether or not the run was stopped before it, and on any number of ranks. `labels` [K, c_dim]: the
    labels that generated faces get at random. `augment`: (images, draw, batch) -> images for whatever D sees.
    """

    def __init__(self, generator, discriminator, average, settings, *, device="cpu", labels=None, augment=None):
        super().__init__(settings, trained=("G",), pl_weight=settings.pl_weight, device=device, augment=augment)
        self.G, self.D, self.G_ema, self.labels = generator, discriminator, average, labels
        self.networks = {"G": generator, "D": discriminator, "G_ema": average}
        self.optimisers = {"G": lazy_adam(generator, settings.g_lr, settings.pl_interval),
                           "D": lazy_adam(discriminator, settings.d_lr, settings.r1_interval)}
        self.frozen = {id(parameter) for parameter in frozen_parameters(generator, discriminator, settings)}
        self.main_calls = {"G": generator.synthesis, "D": discriminator}
        self._code_sums = {}  # of the codes of generated pictures, by the first place of each part

    def finish(self, index, batch_size):
        """Moves the mean code, what every adversarial step moves, and the averaged generator."""
        super().finish(index, batch_size)
        settings, mapping = self.settings, self.G.mapping
        sums = list(self._code_sums.values())
        total = sum_across_ranks(torch.stack(sums).sum(0) if sums else torch.zeros_like(mapping.w_avg))
        mapping.w_avg.copy_((total / batch_size).lerp(mapping.w_avg, mapping.w_avg_beta))
        self._code_sums = {}
        seen = index * batch_size + settings.resume_kimg * 1000  # as published: before this step
        update_ema(self.G_ema, self.G, ema_beta(batch_size, ema_kimg=settings.ema_kimg, seen_images=seen,
                                                rampup=settings.ema_rampup))

    def _to_device(self, tensor):
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def fake_labels(self, batch, draw):  # -> [n, c_dim], or None
        """Returns labels drawn from those of the dataset, or None for a network without labels."""
        if self.labels is None:
            return None
        picks = torch.randint(len(self.labels), [batch.size], generator=draw("labels"))
        return self._to_device(self.labels[batch.rows(picks)])

    def fakes(self, batch, draw, c, *, synthesis=None):
        """Returns (images [n, C, H, W], ws [n, L, D], unmixed codes [n, D]); from a random row on a second z rules."""
        settings, mapping = self.settings, self.G.mapping
        z = torch.randn([2, batch.size, settings.z_dim], generator=draw("z"))
        z = self._to_device(torch.stack([batch.rows(z[0]), batch.rows(z[1])]))
        ws = mapping(z[0], c)
        codes = ws[:, 0]
        if settings.style_mixing > 0:
            random = numpy_stream(draw.seed, draw.phase, draw.index, "mixing")
            cutoff = int(random.integers(1, ws.shape[1]))
            if random.random() < settings.style_mixing:
                ws = torch.cat([ws[:, :cutoff], mapping(z[1], c)[:, cutoff:]], 1)
        if torch.is_grad_enabled() and not ws.requires_grad:  # --freezeM with all layers: path lengths need it
            ws.requires_grad_(True)
        noise = per_sample(draw, "noise", batch, self.device) if settings.use_noise else None
        synthesis = synthesis or self.G.synthesis
        return synthesis(ws, noise_mode="random", generator=noise), ws, codes

    def _real_logits(self, images, batch, draw):
        return self.D(self._augmented(images, Real(draw), batch), batch.labels)

    def _g_main(self, batch, draw):
        with self._autocast():
            c = self.fake_labels(batch, draw)
            images, _, _ = self.fakes(batch, draw, c, synthesis=self.main_calls["G"])
            logits = self.main_calls["D"](self._augmented(images, draw, batch), c)
        loss, scores = generator_loss(logits.float()), logits.detach().float()
        return loss, {"Loss/scores/fake": scores.mean(), "Loss/signs/fake": scores.sign().mean(),
                      "Loss/G/loss": loss.detach()}

    def _lengths(self, batch, draw):
        images, ws, _ = self.fakes(batch, draw, self.fake_labels(batch, draw))
        noise = torch.stack([torch.randn(images.shape[1:], generator=own, device=self.device)
                             for own in per_sample(draw, "path", batch, self.device)])
        return path_lengths(images, ws, noise)

    def _d_main(self, batch, draw):
        with self._autocast():
            with torch.no_grad():
                c = self.fake_labels(batch, draw)
                images, _, codes = self.fakes(batch, draw, c, synthesis=self.main_calls["G"])
            both = torch.cat([self._augmented(images, draw, batch), self._augmented(batch.images, Real(draw), batch)])
            labels = None if c is None else torch.cat([c, batch.labels])
            fake_logits, real_logits = self.main_calls["D"](both, labels, batches=2).chunk(2)
        self._code_sums[int(batch.positions[0])] = codes.float().sum(0)
        loss = discriminator_loss(real_logits.float(), fake_logits.float())
        return loss, {**self._saw(real_logits, batch), "Loss/D/loss": loss.detach()}


def frozen_parameters(generator, discriminator, settings):
    """Yields the parameters that --freezeM (first layers of the mapping) and --freezeE (label embeddings) hold."""
    for layer in range(min(settings.freeze_mapping, generator.mapping.num_layers)):
        yield from getattr(generator.mapping, f"fc{layer}").parameters()
    if settings.freeze_embed:
        for network in (generator, discriminator):
            if network.c_dim:
                yield from network.mapping.embed.parameters()
