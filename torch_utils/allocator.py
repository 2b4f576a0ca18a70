"""Tells the C library to keep freed memory: large activations are then not page-faulted anew in every layer."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
_MOST = 2**31 - 1


def keep_freed_memory():
    """Returns True when the setting was made: Linux with glibc, and V2S_ALLOCATOR is not "system" (the opt-out).

    The process then holds its peak of memory until it ends.
    """
    if not sys.platform.startswith("linux") or os.environ.get("V2S_ALLOCATOR") == "system":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all([library.mallopt(_M_MMAP_MAX, 0), library.mallopt(_M_TRIM_THRESHOLD, _MOST),
                library.mallopt(_M_TOP_PAD, 64 << 20)])
