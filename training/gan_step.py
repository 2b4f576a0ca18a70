"""One iteration of StyleGAN2 training: G main, path length (lazy), D main, R1 (lazy), moving average."""

import contextlib

import torch

from torch_utils.random_streams import stream
from training.ema import ema_beta, update_ema
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_length_loss, path_lengths
from training.losses.r1 import r1_loss


def lazy_adam(network, lr, interval):
    """Returns Adam corrected for a regulariser that runs every `interval` steps (StyleGAN2, appendix B)."""
    share = interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * share, betas=(0.0, 0.99**share), eps=1e-8)


class GanStep:
    """Networks, optimisers and running means of an adversarial run; `run(reals, index)` does iteration `index`.

    Every random draw comes from a stream named by (seed, purpose, index): iteration 500 draws the same numbers
    whether or not the run was stopped before it.
    """

    def __init__(self, generator, discriminator, average, settings, *, device="cpu"):
        self.G, self.D, self.G_ema, self.settings, self.device = generator, discriminator, average, settings, device
        self.g_optimiser = lazy_adam(generator, settings.g_lr, settings.pl_interval)
        self.d_optimiser = lazy_adam(discriminator, settings.d_lr, settings.r1_interval)
        self.pl_mean = torch.zeros([], device=device)

    def run(self, reals, index):  # [N, C, H, W] in [-1, 1] -> dict of floats as tensors
        """Returns the statistics of one full iteration; the networks, optimisers and means have moved."""
        settings, stats = self.settings, {}
        phases = [("Gmain", self._g_main, 1), ("Greg", self._g_path_length, settings.pl_interval),
                  ("Dmain", self._d_main, 1), ("Dreg", self._d_r1, settings.r1_interval)]
        for name, phase, interval in phases:
            if index % interval == 0 and not (name == "Greg" and settings.pl_weight == 0):
                optimiser, network = ((self.g_optimiser, self.G) if name[0] == "G" else (self.d_optimiser, self.D))
                network.requires_grad_(True)
                optimiser.zero_grad(set_to_none=True)
                phase(reals, lambda *names, _name=name: stream(settings.seed, _name, index, *names), stats)
                network.requires_grad_(False)
                _finite_gradients(network)
                optimiser.step()
        seen = (index + 1) * len(reals)
        update_ema(self.G_ema, self.G, ema_beta(len(reals), ema_kimg=settings.ema_kimg, seen_images=seen,
                                               rampup=settings.ema_rampup))
        return stats

    def _autocast(self):
        if self.settings.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def _codes(self, count, draw, *, update_emas=False):
        """Returns ws [N, L, D] of fresh latents, with style mixing: from a random row on, a second latent rules."""
        settings = self.settings
        z = torch.randn([2, count, settings.z_dim], generator=draw("z")).to(self.device)
        ws = self.G.mapping(z[0], update_emas=update_emas)
        if settings.style_mixing > 0:
            others = self.G.mapping(z[1])
            cutoff = torch.randint(1, ws.shape[1], [], generator=draw("cutoff"))
            mixed = torch.rand([], generator=draw("mixing")) < settings.style_mixing
            row = torch.arange(ws.shape[1], device=self.device)[None, :, None]
            ws = torch.where((row >= cutoff.to(self.device)) & mixed.to(self.device), others, ws)
        return ws

    def _fakes(self, count, draw, **mapping):
        ws = self._codes(count, draw, **mapping)
        return self.G.synthesis(ws, noise_mode="random", generator=draw("noise")), ws

    def _g_main(self, reals, draw, stats):
        with self._autocast():
            logits = self.D(self._fakes(len(reals), draw)[0])
        loss = generator_loss(logits.float())
        stats["Loss/scores/fake"], stats["Loss/G/loss"] = logits.detach().float().mean(), loss.detach()
        loss.backward()

    def _g_path_length(self, reals, draw, stats):
        settings = self.settings
        images, ws = self._fakes(max(len(reals) // 2, 1), draw)
        noise = torch.randn(images.shape, generator=draw("path")).to(self.device)
        lengths = path_lengths(images, ws, noise)
        loss, self.pl_mean = path_length_loss(lengths, self.pl_mean, decay=settings.pl_decay, weight=settings.pl_weight)
        stats["Loss/pl_penalty"], stats["Loss/G/reg"] = lengths.detach().mean(), loss.detach()
        (loss * settings.pl_interval).backward()

    def _d_main(self, reals, draw, stats):
        with self._autocast():
            with torch.no_grad():
                fakes = self._fakes(len(reals), draw, update_emas=True)[0]
            fake_logits, real_logits = self.D(fakes), self.D(reals)
        loss = discriminator_loss(real_logits.float(), fake_logits.float())
        stats["Loss/scores/real"] = real_logits.detach().float().mean()
        stats["Loss/signs/real"] = real_logits.detach().float().sign().mean()
        stats["Loss/signs/fake"] = fake_logits.detach().float().sign().mean()
        stats["Loss/D/loss"] = loss.detach()
        loss.backward()

    def _d_r1(self, reals, draw, stats):
        inputs = reals.detach().clone().requires_grad_(True)
        loss = r1_loss(self.D(inputs), inputs, gamma=self.settings.gamma)
        stats["Loss/r1_penalty"] = loss.detach() / (self.settings.gamma / 2)
        stats["Loss/D/reg"] = loss.detach()
        (loss * self.settings.r1_interval).backward()

    def state(self):
        """Returns everything a later run needs to go on, as tensors and plain values."""
        return {"G": self.G.state_dict(), "D": self.D.state_dict(), "G_ema": self.G_ema.state_dict(),
                "g_optimiser": self.g_optimiser.state_dict(), "d_optimiser": self.d_optimiser.state_dict(),
                "pl_mean": self.pl_mean}

    def restore(self, state):
        """Takes back what `state()` returned."""
        for name in ("G", "D", "G_ema"):
            getattr(self, name).load_state_dict(state[name])
        self.g_optimiser.load_state_dict(state["g_optimiser"])
        self.d_optimiser.load_state_dict(state["d_optimiser"])
        self.pl_mean = state["pl_mean"].to(self.device)


def _finite_gradients(network):
    for parameter in network.parameters():
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=parameter.grad)
