"""The operators by themselves: convolution with derivatives, resampling, bias and activation, against plain torch."""

from benchmarks.measuring import Wishes, interleaved, row


def suite_ops(rounds, wishes=None):
    """Operators on [4, 64, 128, 128] in float32: ours beside the published steps, and the bytes they move."""
    import torch

    from torch_utils.allocator import keep_freed_memory

    wishes = wishes or Wishes(rounds=rounds)
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(wishes.threads)
    x = torch.randn(4, 64, 128, 128, generator=torch.Generator().manual_seed(0))
    results = [*_convolutions(x, wishes.rounds), *_passes(x, wishes.rounds)]
    torch.set_num_threads(threads)
    return results


def _convolutions(x, rounds):
    """Returns rows of a convolution whose input gradient is penalised (as R1 does), ours and the library's."""
    import torch

    from torch_utils.ops.convolution import conv2d

    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(1)) / 24

    def penalty(function):
        a, w = x.clone().requires_grad_(), (weight * 1.0).requires_grad_()
        (dx,) = torch.autograd.grad(function(a, w * 1.0, padding=1).square().sum(), a, create_graph=True)
        dx.square().sum().backward()

    seconds = interleaved({"ours": lambda: penalty(conv2d), "torch": lambda: penalty(torch.nn.functional.conv2d)},
                          rounds)
    return [row("convolution, penalty on its gradient", seconds, "ours", "torch", None)]


def _passes(x, rounds):
    """Returns rows of resampling and of the tail of a layer: memory-bound work, measured against the machine's copy."""
    import torch

    from benchmarks.published_recipe import activate, fir
    from torch_utils.ops.bias_act import bias_act
    from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

    last = x.contiguous(memory_format=torch.channels_last)
    taps, bias, target = setup_filter([1, 3, 3, 1]), torch.randn(64), torch.empty_like(last)
    works = {
        "low-pass 4x4": (lambda: upfirdn2d(last, taps, padding=(2, 1, 2, 1)),
                         lambda: fir(x, taps, pad=(2, 1, 2, 1)), 2),
        "up-sampling": (lambda: upfirdn2d(last, taps, up=2, padding=(2, 1, 2, 1), gain=4),
                        lambda: fir(x, taps, up=2, pad=(2, 1, 2, 1), gain=4), 5),
        "down-sampling": (lambda: upfirdn2d(last, taps, down=2, padding=(1, 1, 1, 1)),
                          lambda: fir(x, taps, pad=(1, 1, 1, 1), down=2), 1.25),
        "bias, leaky ReLU, gain": (lambda: bias_act(last, bias, act="lrelu"), lambda: activate(x, bias), 2),
    }
    results = []
    with torch.inference_mode():
        for work, (ours, published, passes) in works.items():
            contestants = {"ours": ours, "published": published, "copy": lambda: target.copy_(last)}
            seconds = interleaved(contestants, rounds * 3)
            result = row(work, seconds, "ours", "published", None)
            moved = passes * x.numel() * 4
            copied = 2 * x.numel() * 4 / sorted(seconds["copy"])[len(seconds["copy"]) // 2]
            results.append({**result, "gbytes_per_s": moved / result["ours_s"] / 1e9,
                            "share_of_copy": moved / result["ours_s"] / copied})
    return results
