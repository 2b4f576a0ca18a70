"""A frozen synthesis on a GPU, recorded once as a CUDA graph and replayed: one launch a batch instead of hundreds."""

import torch

from dnnlib.console import warn

_WARM_UP = 3  # runs before recording, in which libraries choose their algorithms and allocate


class GraphedSynthesis:
    """Pictures [N, C, H, W] for codes ws [N, L, D] by replaying a graph of a fixed batch.

    plan: what is recorded (a FastSynthesis). exact: what draws when force_fp32 is asked of a plan of lower precision.
    Batches of another size are cut into pieces, the last one filled up. Fresh noise is not recorded, it is drawn by the
    plan itself. Where recording fails, the plan draws, and one line says why.
    """

    def __init__(self, plan, *, exact, device, batch=1):
        if batch < 1:
            raise ValueError(f"batch is {batch}; allowed: 1 or more")
        self.plan, self.exact, self.batch = plan, exact, batch
        self.device = torch.device(device)
        self._recorded, self._failed = {}, False

    @torch.no_grad()
    def __call__(self, ws, noise_mode="const", force_fp32=False, generator=None):
        """Return pictures; arguments as `Synthesis.forward` has them."""
        if force_fp32 and self.plan.precision != "fp32":
            return self.exact(ws, noise_mode=noise_mode, force_fp32=True, generator=generator)
        if noise_mode == "random" or self._failed or len(ws) == 0:
            return self.plan(ws, noise_mode, generator=generator)
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.plan.num_ws, self.plan.w_dim):
            raise ValueError(f"codes ws of shape {list(ws.shape)}; allowed: [N, {self.plan.num_ws}, {self.plan.w_dim}]")
        replay = self._replay_of(noise_mode)
        if replay is None:
            return self.plan(ws, noise_mode)
        return torch.cat([replay(part) for part in ws.split(self.batch)])

    def _replay_of(self, noise_mode):
        """Return what replays the graph of a noise mode; records it at the first call, None if that fails."""
        if noise_mode not in self._recorded:
            try:
                self._recorded[noise_mode] = self._record(noise_mode)
            except (RuntimeError, NotImplementedError) as error:
                self._failed = True
                warn(f"note: CUDA graph not recorded ({str(error).splitlines()[0]}); pictures are drawn without it.")
                return None
        graph, codes, picture = self._recorded[noise_mode]

        def replay(part):
            codes[:len(part)].copy_(part)
            graph.replay()
            return picture[:len(part)].clone()

        return replay

    def _record(self, noise_mode):
        codes = torch.zeros(self.batch, self.plan.num_ws, self.plan.w_dim, device=self.device)
        with torch.cuda.device(self.device):  # a graph records the current device's stream, whatever runs on another
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self.plan(codes, noise_mode)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                picture = self.plan(codes, noise_mode)
        return graph, codes, picture
