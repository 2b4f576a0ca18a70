"""Whether bfloat16 pays on this processor: the instructions are asked for, a trial is measured."""

import time

import torch


def has_bf16(device="cpu"):
    """Returns True when the device computes in bfloat16 by itself: AVX-512, AMX, Arm, CUDA from 8.0."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    if kind != "cpu":
        return False
    return any(_says(name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")) or _arm_bf16()


def _says(name):
    question = getattr(torch.cpu, name, None)
    return question is not None and bool(question())


def _arm_bf16():
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    found = capabilities() if capabilities is not None else {}
    return bool(found.get("bf16") or found.get("arm_bf16"))


def measured_gain(*, channels=64, size=64, rounds=5):
    """Returns how many times faster a 3x3 convolution is in bfloat16 than in float32 here (best of some rounds)."""
    seconds = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.ones(1, channels, size, size, dtype=dtype).to(memory_format=torch.channels_last)
            weight = torch.ones(channels, channels, 3, 3, dtype=dtype)
            best = float("inf")
            for _ in range(rounds + 1):
                begin = time.perf_counter()
                torch.nn.functional.conv2d(x, weight, padding=1)
                best = min(best, time.perf_counter() - begin)
            seconds[dtype] = best
    return seconds[torch.float32] / seconds[torch.bfloat16]
