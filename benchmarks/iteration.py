"""One full training iteration (G main, lazy path length, D main, lazy R1) over any pair of networks."""

import contextlib
import math
import time

import torch
from torch.nn.functional import softplus

PATH_EVERY, R1_EVERY, GAMMA, PATH_WEIGHT = 4, 16, 1.0, 2.0


class Iteration:
    """All four phases over the same latents and pictures for everybody.

    synthesis(ws) -> pictures and score(pictures) -> logits are the contestant's; the weights belong to G and D.
    score_both(fakes, reals) -> logits of each; None: two calls of score. fused: one operation is a step of Adam.
    """

    def __init__(self, G, D, *, mapping, synthesis, score, batch, score_both=None, bf16=False, fused=False):
        self.mapping, self.synthesis, self.score, self.batch, self.bf16 = mapping, synthesis, score, batch, bf16
        self.score_both = score_both or (lambda fakes, reals: (score(fakes), score(reals)))
        self.G, self.D = G, D
        self.g_optimiser, self.d_optimiser = (
            torch.optim.Adam(network.parameters(), lr=0.002, betas=(0.0, 0.99), fused=fused) for network in (G, D))
        self.generator = torch.Generator().manual_seed(0)
        self.path_mean = torch.zeros([])
        height, width = G.settings.grid_shape(G.img_resolution)
        self.reals = torch.rand([batch, G.img_channels, height, width], generator=self.generator) * 2 - 1

    def period(self, *, step=True):
        """Returns the seconds of each phase, of one iteration over a whole lazy period, and a piece of each gradient.

        step False: the weights stay, so that the gradients of two contestants can be compared.
        """
        phases = {"G": (self.G, self.g_optimiser, self._g_main), "path": (self.G, self.g_optimiser, self._path),
                  "D": (self.D, self.d_optimiser, self._d_main), "R1": (self.D, self.d_optimiser, self._r1)}
        every, seconds, gradient = {"G": 1, "path": PATH_EVERY, "D": 1, "R1": R1_EVERY}, {}, []
        for name, (network, optimiser, run) in phases.items():
            self.generator.manual_seed(1)
            torch.manual_seed(1)
            begin = time.perf_counter()
            self._phase(network, optimiser if step else None, run)
            seconds[name] = time.perf_counter() - begin
            gradient += [p.grad.flatten()[:64] / (p.grad.norm() + 1e-12) for p in network.parameters()
                         if p.grad is not None and p.ndim == 4]
        return {"seconds": sum(seconds[name] / every[name] for name in phases), "phases": seconds,
                "gradient": torch.cat(gradient)}

    def _phase(self, network, optimiser, run):
        other = self.D if network is self.G else self.G
        network.requires_grad_(True)
        other.requires_grad_(False)
        network.zero_grad(set_to_none=True)
        loss = run()
        loss.backward()
        if optimiser is not None:
            optimiser.step()

    def _autocast(self):
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def _codes(self, n):
        return self.mapping(torch.randn([n, self.G.z_dim], generator=self.generator))

    def _g_main(self):
        with self._autocast():
            logits = self.score(self.synthesis(self._codes(self.batch)))
        return softplus(-logits.float()).mean()

    def _path(self):
        ws = self._codes(max(self.batch // 2, 1))
        images = self.synthesis(ws)
        noise = torch.randn(images.shape, generator=self.generator) / math.sqrt(images.shape[2] * images.shape[3])
        (grads,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = grads.square().sum(2).mean(1).sqrt()
        mean = self.path_mean + 0.01 * (lengths.mean() - self.path_mean)
        return (lengths - mean).square().mean() * PATH_WEIGHT * PATH_EVERY

    def _d_main(self):
        with self._autocast():
            with torch.no_grad():
                fakes = self.synthesis(self._codes(self.batch))
            fake, real = self.score_both(fakes, self.reals)
        return softplus(fake.float()).mean() + softplus(-real.float()).mean()

    def _r1(self):
        reals = self.reals.clone().requires_grad_(True)
        (grads,) = torch.autograd.grad(self.score(reals).sum(), reals, create_graph=True)
        return grads.square().sum([1, 2, 3]).mean() * (GAMMA / 2) * R1_EVERY
