"""Ctrl-C during heavy imports ends the process at once, with 130 and one line."""

import signal
import subprocess
import sys
import threading

from dnnlib.interrupts import ctrl_c_ends_at_once

CODE = """
import os, signal
from dnnlib.interrupts import ctrl_c_ends_at_once
signal.signal(signal.SIGINT, signal.default_int_handler)
with ctrl_c_ends_at_once():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        print("swallowed")
"""


def test_ctrl_c_cannot_be_swallowed():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


def test_the_usual_handler_comes_back_and_other_threads_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c_ends_at_once():
        pass
    assert signal.getsignal(signal.SIGINT) is before
    done = []

    def work():
        with ctrl_c_ends_at_once():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
