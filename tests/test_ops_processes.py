"""Vector kernels in processes that fork."""

import ctypes
import os
import signal
import threading

import pytest
import torch

from torch_utils.ops import build, native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def compiled():
    if build.library("simd") is None:
        pytest.skip(f"no vector kernels here: {build.state('simd')}")


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
