"""Runs the phases of one iteration over parts and ranks: the numbers are those of the whole batch in one piece."""

import time

import torch

from torch_utils.distributed import sum_gradients, world_size
from training.phases import Draw

_LARGEST = 1e5  # what an infinite gradient becomes, as in the published training


class PhaseRunner:
    """`run(step, batch, index)` does one iteration; `batch_gpu` is the largest part that is worked on at a time.

    When a GPU's memory does not suffice, `batch_gpu` is halved once, out loud, and the phase is done again; the numbers
    stay the same, because parts take every k-th sample and the groups of the batch statistics stay whole.
    """

    def __init__(self, *, seed, batch_gpu, stats, device, say, group=1):
        self.seed, self.batch_gpu, self.stats, self.device, self.say = seed, batch_gpu, stats, device, say
        self.group, self.halved, self.seconds = group or 1, False, {}

    def run(self, step, batch, index):
        """Does the phases of iteration `index` on this rank's `batch`."""
        for phase in step.phases(index):
            events = self._timer()
            self._phase(step, phase, batch, index)
            self.seconds.setdefault(phase.name, []).append((*events, self._timer()[0]))
        step.finish(index, batch.size)
        self.stats.next_iteration()

    def take_seconds(self):
        """Returns {phase: seconds since the last call}; waits for the device."""
        found = {}
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        for name, pairs in self.seconds.items():
            found[name] = sum(b - a if isinstance(a, float) else a.elapsed_time(b) / 1000 for a, b in pairs)
        self.seconds = {}
        return found

    def _timer(self):
        if self.device.type != "cuda":
            return (time.perf_counter(),)
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return (event,)

    def _phase(self, step, phase, batch, index):
        whole = batch.first(max(phase.share, 1 / batch.size))
        trained = [step.networks[name] for name in phase.trains]
        frozen = getattr(step, "frozen", ())
        parameters = [p for network in trained for p in network.parameters() if id(p) not in frozen]
        for parameter in parameters:
            parameter.requires_grad_(True)
        found = None
        while found is None:
            step.optimisers[phase.optimiser].zero_grad(set_to_none=True)
            try:
                found = self._gradients(phase, whole, Draw(self.seed, phase.name, index))
            except torch.OutOfMemoryError as error:
                self._make_smaller(len(whole), error)
        for parameter in parameters:
            parameter.requires_grad_(False)
        for values, share in found:
            self.stats.add(values, share)
        if world_size() > 1:
            sum_gradients(trained, phase.name)
        self._step(step.optimisers[phase.optimiser], phase, parameters)

    def _gradients(self, phase, whole, draw):
        """Adds up the gradients of all parts; returns their statistics with the share of the batch each stands for."""
        total = max(round(whole.size * phase.share), 1)
        count = max(-(-len(whole) // (self.batch_gpu or len(whole) or 1)), 1)
        parts = [whole.part(k, count) for k in range(count)]
        if phase.prepare is not None and count > 1:
            phase.prepare(parts, draw)
        found = []
        for part in parts:
            if len(part) or phase.collective:
                loss, values = phase.run(part, draw)
                if loss is not None:
                    (loss * (len(part) / total)).backward()
                found.append((values, len(part) / total))
        return found

    def _step(self, optimiser, phase, parameters):
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        for gradient in gradients:
            torch.nan_to_num(gradient, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST, out=gradient)
        if phase.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, phase.clip)
        self.stats.add({f"Gradients/{phase.name}": norm}, 1 / world_size())
        optimiser.step()

    def _make_smaller(self, samples, error):
        now = min(self.batch_gpu or samples, samples)
        smaller = max((now // 2) // self.group * self.group, 1)
        fits = smaller < now and smaller % min(self.group, smaller) == 0
        advice = f"--batch-gpu={smaller}" if fits else "a smaller --batch or a GPU with more memory"
        if self.halved or world_size() > 1 or not fits:
            raise ValueError(f"the GPU's memory does not suffice for {now} samples at a time; the same command goes on "
                             f"with {advice}.") from error
        self.halved, self.batch_gpu = True, smaller
        self.say(f"Warning: the GPU's memory does not suffice for {now} samples at a time: from here on {smaller} "
                 f"(--batch-gpu={smaller}); the numbers stay the same.")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
