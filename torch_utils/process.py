"""What every door does before it computes: memory that stays, threads for the free cores."""

from torch_utils.allocator import keep_freed_memory
from torch_utils.threads import settle_threads


def prepare_process():
    """Tells the C library to keep freed memory (opt-out: V2S_ALLOCATOR=system) and OpenMP how many threads to use.

    Call it before torch is imported, or the threads are settled already. Returns (allocator was set, threads).
    """
    return keep_freed_memory(), settle_threads()
