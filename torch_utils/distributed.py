"""Ranks of one run: start-up from torchrun's environment, and sums over all ranks that gradients flow through.

Rank r of W holds the samples r, r+W, r+2W, … of every batch. With one rank each function here is the identity.
"""

import datetime
import os

import torch
import torch.distributed as dist

_PATIENCE = datetime.timedelta(minutes=30)  # the others wait while rank 0 writes snapshots and measures


def is_started():
    """Returns True when this process belongs to a group of ranks."""
    return dist.is_available() and dist.is_initialized()


def rank():
    """Returns the number of this process, 0 alone."""
    return dist.get_rank() if is_started() else 0


def world_size():
    """Returns the number of processes, 1 alone."""
    return dist.get_world_size() if is_started() else 1


def is_first():
    """Returns True in the one process that prints and writes files."""
    return rank() == 0


def launched_ranks():
    """Returns the number of ranks that torchrun (or --gpus) started, or None when nobody did."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None


def start(device="cpu"):
    """Joins the ranks that the environment names and returns this rank's torch.device; alone it only names the device.

    Without an index a CUDA device becomes that of LOCAL_RANK. ValueError for more local ranks than GPUs.
    """
    device = torch.device(device)
    if launched_ranks() is None:
        return device
    if device.type == "cuda":
        local, there = int(os.environ.get("LOCAL_RANK", os.environ["RANK"])), torch.cuda.device_count()
        if local >= there:
            raise ValueError(f"local rank {local} has no GPU: this machine has {there}; start {there} ranks here, "
                             "or give --device=cpu.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not is_started():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE,
                                init_method=os.environ.get("V2S_RENDEZVOUS", "env://"),
                                rank=int(os.environ["RANK"]), world_size=launched_ranks())
    return device


def stop():
    """Leaves the group, if there is one."""
    if is_started():
        dist.destroy_process_group()


def barrier():
    """Waits for all ranks."""
    if world_size() > 1:
        dist.barrier()


class _Sum(torch.autograd.Function):
    """y = Σ_r x_r on every rank. The loss of the run is the sum of the ranks' losses, so dL/dx_r = Σ_s dL_s/dy."""

    @staticmethod
    def forward(ctx, x):
        y = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        return _Sum.apply(gradient)


class _Gather(torch.autograd.Function):
    """[n, …] of every rank -> [W·n, …], sample i·W + r being row i of rank r."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx, gradient):
        return sum_across_ranks(gradient)[rank()::world_size()]


def sum_across_ranks(tensor):
    """Returns the sum over ranks, differentiable any number of times; every rank must call it."""
    return tensor if world_size() == 1 else _Sum.apply(tensor)


def mean_across_ranks(tensor):
    """Returns the mean over ranks, differentiable any number of times; every rank must call it."""
    return tensor if world_size() == 1 else _Sum.apply(tensor) / world_size()


def gather_across_ranks(tensor):  # [n, ...] -> [W n, ...]
    """Returns all ranks' rows in the order of their places in the batch; differentiable; as many rows on every rank."""
    return tensor if world_size() == 1 else _Gather.apply(tensor)


def gather_objects(value):
    """Returns the list of what every rank gave; for small plain values, a few times a minute."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def value_of_first(value):
    """Returns rank 0's plain value on every rank."""
    holder = [value]
    if world_size() > 1:
        dist.broadcast_object_list(holder, src=0)
    return holder[0]


class GradientSum:
    """Sums gradients over ranks. Which parameters of a phase have any is asked across ranks once and remembered."""

    def __init__(self):
        self._touched = {}

    def __call__(self, phase, parameters):
        """Sums in place; a parameter that no rank touched in this phase keeps the gradient None, as it would alone."""
        if world_size() == 1:
            return
        parameters = list(parameters)
        if phase not in self._touched:
            flags = [[p.grad is not None for p in parameters]]
            self._touched[phase] = [any(column) for column in zip(*gather_objects(flags[0]))]
        used = [p for p, touched in zip(parameters, self._touched[phase]) if touched]
        if not used:
            return
        for p in used:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in used])
        dist.all_reduce(flat)
        for p, part in zip(used, flat.split([p.numel() for p in used])):
            p.grad.copy_(part.view_as(p))


_SUMS = GradientSum()


def sum_gradients(networks, phase=""):
    """Sums the gradients of some networks over all ranks, in place."""
    _SUMS(phase, [p for network in networks for p in network.parameters()])
