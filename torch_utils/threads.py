"""How many processor cores are free for this process, and the settings that keep threads from spinning."""

import os
import pathlib

_QUOTA_V2 = "/sys/fs/cgroup/cpu.max"
_QUOTA_V1 = ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
_SPINS = "10000"  # more cost two busy processes dearly, fewer do not bridge the gap (benchmarks/NOTES.md)


def free_cores(*, quota_files=(_QUOTA_V2, *_QUOTA_V1)):
    """Returns how many cores this process may use: its affinity mask, bounded by the quota of its container; >= 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(*quota_files)
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def settle_threads():
    """Sets, before torch is imported, what OpenMP reads once; what the user has set stays. Returns the threads.

    OMP_NUM_THREADS: the free cores. OMP_WAIT_POLICY: PASSIVE, or the threads of two busy processes on the same cores
    spin against each other (collapses of 5 to 20 times were measured). GOMP_SPINCOUNT, beside it: GNU's threads wait
    some tenths of a millisecond for more work before they sleep, or waking them costs more than small operations do.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    wanted = os.environ.setdefault("OMP_NUM_THREADS", str(free_cores()))
    first = wanted.split(",")[0].strip()
    return int(first) if first.isdecimal() else free_cores()


def _quota(v2, quota_v1, period_v1):
    """Returns the cores' worth of time that a container grants, or None where it grants all."""
    both = _read(v2)
    if both is not None:
        quota, _, period = both.partition(" ")
    else:
        quota, period = _read(quota_v1), _read(period_v1)
    if not quota or not period or not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # "max", -1 or no such file
    return int(quota) / int(period)


def _read(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return None
