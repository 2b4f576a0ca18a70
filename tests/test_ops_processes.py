"""Vector kernels in processes that fork, and that the system denies threads or memory."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from torch_utils.ops import build, native
from torch_utils.ops.fused import fused_layer

MEMORY = Path("/proc/self/statm")  # of this process, in pages
pytestmark = pytest.mark.skipif(not MEMORY.exists(), reason="needs Linux")


@pytest.fixture(autouse=True)
def compiled():
    if build.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build.state('simd')}")


def pictures(*shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def run_in_child(function):
    """Returns whether function() is true in a fork of this process; False too where it does not come back."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        good = False
        try:
            good = function()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def allow(num_bytes):
    """Lets this process have so many bytes more than it has."""
    import resource

    limit = int(MEMORY.read_text().split()[0]) * resource.getpagesize() + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # is multi-threaded: that is what is tested
def test_a_child_that_is_forked_beside_a_call_has_kernels_too():
    x, w, y = torch.ones(1, 16), torch.ones(1, 16), torch.zeros(1)
    call = native.ThinProductCall(input=native.pointer(x), weight=native.pointer(w), output=native.pointer(y), pixels=1,
                                  batch=1, planes=1, channels=16, kind=native.KINDS[x.dtype], threads=1)
    function, stopped = native._function(build.library("simd"), "thin_product"), threading.Event()

    def repeat():
        while not stopped.is_set():
            for _ in range(100):
                function(ctypes.byref(call), None)

    beside = [threading.Thread(target=repeat) for _ in range(3)]
    for thread in beside:
        thread.start()
    try:
        assert all(run_in_child(lambda: function(ctypes.byref(call), None) is None) for _ in range(4))
    finally:
        stopped.set()
        for thread in beside:
            thread.join()


def test_without_more_threads_the_work_is_done_by_those_there_are():
    x, bias = pictures(2, 64, 64, 64), torch.ones(64)
    wanted, before = fused_layer(x, bias=bias), torch.get_num_threads()

    def starve():
        torch.set_num_threads(64)
        allow(24 << 20)
        y = fused_layer(x, bias=bias)
        torch.set_num_threads(1)
        return torch.equal(y, wanted)

    assert run_in_child(starve) and torch.get_num_threads() == before


STARVE = """
import torch
from test_ops_processes import allow, pictures
from torch_utils.ops import build, weight_gradient
fine, coarse = pictures(1, 16, 8, 8), pictures(1, 16384, 8, 8)  # transformed tiles of 151 MB
assert build.library("simd") is not None
allow(80 << 20)
try:
    weight_gradient.weight_gradient(fine, coarse, (1, 1), (1, 1))
except RuntimeError as error:
    print(error)
"""


def test_without_memory_a_call_fails_and_the_process_lives():
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", STARVE], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": path})  # fresh: this one may hold freed memory
    assert "weight_gradient failed on simd: there is not enough memory" in done.stdout, done.stderr
