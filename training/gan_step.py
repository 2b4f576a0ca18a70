"""One iteration of StyleGAN2 training: G main, path length (lazy), D main, R1 (lazy), moving average."""

import contextlib

import torch

from torch_utils.distributed import sum_across_ranks
from torch_utils.random_streams import numpy_stream
from training.ema import ema_beta, update_ema
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_length_loss, path_lengths
from training.losses.r1 import r1_loss
from training.phases import Phase


def lazy_adam(network, lr, interval):
    """Returns Adam corrected for a regulariser that runs every `interval` steps (StyleGAN2, appendix B)."""
    share = interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * share, betas=(0.0, 0.99**share), eps=1e-8)


def per_sample(draw, name, batch, device):
    """Returns one random generator on `device` for each sample of a part, named by its place in the whole batch."""
    generators = []
    for place in batch.positions.tolist():  # positions stay on the CPU
        generator = torch.Generator(device)
        generator.manual_seed(draw(name, place).initial_seed())
        generators.append(generator)
    return generators


class GanStep:
    """Networks, optimisers and running means of an adversarial run; `phases(index)` is what iteration `index` does.

    Every random draw comes from a stream named by (seed, phase, index, place in the batch): iteration 500 draws the
    same numbers whether or not the run was stopped before it, and on any number of ranks. `labels` [K, c_dim]: the
    labels that generated faces get at random. `augment`: (images, draw, batch) -> images for whatever D sees.
    """

    def __init__(self, generator, discriminator, average, settings, *, device="cpu", labels=None, augment=None):
        self.G, self.D, self.G_ema, self.settings = generator, discriminator, average, settings
        self.device, self.labels, self.augment = torch.device(device), labels, augment
        self.networks = {"G": generator, "D": discriminator, "G_ema": average}
        self.optimisers = {"G": lazy_adam(generator, settings.g_lr, settings.pl_interval),
                           "D": lazy_adam(discriminator, settings.d_lr, settings.r1_interval)}
        self.frozen = {id(parameter) for parameter in frozen_parameters(generator, discriminator, settings)}
        self.pl_mean = torch.zeros([], device=self.device)
        self._lengths_mean = self._next_pl_mean = None
        self._code_sums, self._codes_index = {}, None

    def phases(self, index):
        """Returns the phases of iteration `index`, the regularisers only when they are due."""
        settings = self.settings
        found = [Phase("Gmain", "G", ("G",), self._g_main)]
        if settings.pl_weight and index % settings.pl_interval == 0:
            found.append(Phase("Greg", "G", ("G",), self._g_path_length, share=0.5, prepare=self._measure_lengths,
                               collective=True))
        found.append(Phase("Dmain", "D", ("D",), self._d_main))
        if settings.gamma and index % settings.r1_interval == 0:
            found.append(Phase("Dreg", "D", ("D",), self._d_r1))
        return found

    def finish(self, index, batch_size):
        """Moves the mean code, the mean path length and the averaged generator after the optimisers' steps."""
        settings, mapping = self.settings, self.G.mapping
        sums = list(self._code_sums.values())
        total = sum_across_ranks(torch.stack(sums).sum(0) if sums else torch.zeros_like(mapping.w_avg))
        mapping.w_avg.copy_((total / batch_size).lerp(mapping.w_avg, mapping.w_avg_beta))
        if self._next_pl_mean is not None:
            self.pl_mean, self._next_pl_mean, self._lengths_mean = self._next_pl_mean, None, None
        if self.augment is not None:
            self.augment.finish(batch_size)
        seen = (index + 1) * batch_size + settings.resume_kimg * 1000
        update_ema(self.G_ema, self.G, ema_beta(batch_size, ema_kimg=settings.ema_kimg, seen_images=seen,
                                                rampup=settings.ema_rampup))

    def _autocast(self):
        if self.settings.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _to_device(self, tensor):
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def fake_labels(self, batch, draw):  # -> [n, c_dim], or None
        """Returns labels drawn from those of the dataset, or None for a network without labels."""
        if self.labels is None:
            return None
        picks = torch.randint(len(self.labels), [batch.size], generator=draw("labels"))
        return self._to_device(self.labels[batch.rows(picks)])

    def fakes(self, batch, draw, c):
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
        noise = per_sample(draw, "noise", batch, self.device) if settings.use_noise else None
        return self.G.synthesis(ws, noise_mode="random", generator=noise), ws, codes

    def judge(self, images, c, batch, draw):
        """Returns D's logits [n, 1] of pictures as it sees them."""
        return self.D(images if self.augment is None else self.augment(images, draw, batch), c)

    def _g_main(self, batch, draw):
        with self._autocast():
            c = self.fake_labels(batch, draw)
            images, _, _ = self.fakes(batch, draw, c)
            logits = self.judge(images, c, batch, draw)
        loss, scores = generator_loss(logits.float()), logits.detach().float()
        return loss, {"Loss/scores/fake": scores.mean(), "Loss/signs/fake": scores.sign().mean(),
                      "Loss/G/loss": loss.detach()}

    def _lengths(self, batch, draw, *, apart):
        c = self.fake_labels(batch, draw)
        images, ws, _ = self.fakes(batch, draw, c)
        if apart:
            ws = ws.detach().requires_grad_(True)
            images = self.G.synthesis(ws, noise_mode="random", generator=per_sample(
                draw, "noise", batch, self.device) if self.settings.use_noise else None)
        noise = torch.stack([torch.randn(images.shape[1:], generator=own, device=self.device)
                             for own in per_sample(draw, "path", batch, self.device)])
        return path_lengths(images, ws, noise)

    def _set_lengths_mean(self, total, size):
        self._lengths_mean = sum_across_ranks(total) / max(round(size * 0.5), 1)

    def _measure_lengths(self, parts, draw):
        self._set_lengths_mean(sum(self._lengths(part, draw, apart=True).detach().sum() for part in parts),
                               parts[0].size)

    def _g_path_length(self, batch, draw):
        settings, whole = self.settings, self._lengths_mean is None  # else prepared, from all parts
        lengths = self._lengths(batch, draw, apart=False) if len(batch) else torch.zeros([0], device=self.device)
        if whole:
            self._set_lengths_mean(lengths.detach().sum(), batch.size)
        if not len(batch):  # this rank holds no sample of the phase, but the same mean
            self._next_pl_mean = self.pl_mean + settings.pl_decay * (self._lengths_mean - self.pl_mean)
            return None, {}
        loss, self._next_pl_mean = path_length_loss(lengths, self.pl_mean, decay=settings.pl_decay,
                                                    weight=settings.pl_weight, batch_mean=self._lengths_mean)
        return loss * settings.pl_interval, {"Loss/pl_penalty": lengths.detach().mean(), "Loss/G/reg": loss.detach()}

    def _d_main(self, batch, draw):
        with self._autocast():
            with torch.no_grad():
                c = self.fake_labels(batch, draw)
                images, _, codes = self.fakes(batch, draw, c)
            fake_logits = self.judge(images, c, batch, draw)
            real_logits = self.judge(batch.images, batch.labels, batch, Real(draw))
        if self._codes_index != draw.index:
            self._code_sums, self._codes_index = {}, draw.index
        # A part that is done again, in smaller pieces, replaces what it said before.
        self._code_sums[int(batch.positions[0])] = codes.float().sum(0)
        real = real_logits.detach().float()
        if self.augment is not None:
            self.augment.saw(real)
        loss = discriminator_loss(real_logits.float(), fake_logits.float())
        return loss, {"Loss/scores/real": real.mean(), "Loss/signs/real": real.sign().mean(),
                      "Loss/D/loss": loss.detach()}

    def _d_r1(self, batch, draw):
        inputs = batch.images.detach().clone().requires_grad_(True)
        loss = r1_loss(self.judge(inputs, batch.labels, batch, Real(draw)), inputs, gamma=self.settings.gamma)
        return loss * self.settings.r1_interval, {"Loss/r1_penalty": loss.detach() / (self.settings.gamma / 2),
                                                  "Loss/D/reg": loss.detach()}

    def state(self):
        """Returns what a later run needs beside networks and optimisers."""
        return {"pl_mean": self.pl_mean, "augment": None if self.augment is None else self.augment.state()}

    def restore(self, state):
        """Takes back what `state()` returned."""
        self.pl_mean = state["pl_mean"].to(self.device)
        if self.augment is not None and state["augment"] is not None:
            self.augment.restore(state["augment"])


class Real:
    """The random streams of a phase for real pictures, so that they are not augmented as the generated ones are."""

    def __init__(self, draw):
        self._draw, self.seed, self.phase, self.index = draw, draw.seed, draw.phase, draw.index

    def __call__(self, *names):
        return self._draw("real", *names)


def frozen_parameters(generator, discriminator, settings):
    """Yields the parameters that --freezeM (first layers of the mapping) and --freezeE (label embeddings) hold."""
    for layer in range(min(settings.freeze_mapping, generator.mapping.num_layers)):
        yield from getattr(generator.mapping, f"fc{layer}").parameters()
    if settings.freeze_embed:
        for network in (generator, discriminator):
            if network.c_dim:
                yield from network.mapping.embed.parameters()
