"""Ctrl-C while heavy libraries are imported: the process ends at once, with the exit code that it has elsewhere."""

import contextlib
import os
import signal
import sys
import threading


@contextlib.contextmanager
def ctrl_c_ends_at_once():
    """Inside it Ctrl-C ends the process: torch's imports swallow a KeyboardInterrupt and go on half imported."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def end(*_):
        sys.stderr.write("Interrupted.\n")
        sys.stderr.flush()
        os._exit(130)  # nothing is written yet that would have to be cleaned up

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
