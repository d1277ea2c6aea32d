"""All cores this process may use, by threads of our own around kernels that release the GIL.

Numba's own threads abort the process when two Python threads start kernels at once, which a viewer
does; these can be used from any thread, and stop between pieces of work.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from pathlib import Path
from threading import Event
from typing import TypeVar

from gpuseg.errors import InputError

T = TypeVar("T")


@cache
def cores() -> int:
    """Cores granted by GPUSEG_THREADS, else by the scheduler and the control group together."""
    if asked := os.environ.get("GPUSEG_THREADS"):
        if not asked.isdecimal() or int(asked) < 1:
            raise InputError(f"GPUSEG_THREADS = {asked!r}: a number of threads from 1 is needed")
        return int(asked)
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(granted, _quota(Path("/sys/fs/cgroup")) or granted))


def _quota(group: Path) -> int | None:
    """Whole cores that a container's CPU limit comes to, rounded up; None without a limit."""
    try:
        limit, period = (group / "cpu.max").read_text().split()  # control groups, version 2
    except (OSError, ValueError):
        try:
            limit = (group / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if limit in ("max", "-1") else -(-int(limit) // int(period))


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="gpuseg")


def spread(pieces: int, work: Callable[[int, T], None], scratch: Callable[[], T]) -> None:
    """Call `work(i, scratch)` for every i below `pieces` on all cores; each core has its own scratch."""
    numbers = count()
    stopped = Event()

    def worker(_: int) -> None:
        mine = scratch()
        while (i := next(numbers)) < pieces and not stopped.is_set():
            work(i, mine)

    workers = min(cores(), pieces)
    if workers <= 1:
        worker(0)
        return
    pool = _pool(cores(), os.getpid())  # a forked child must not wait for its parent's threads
    futures = [pool.submit(worker, k) for k in range(workers)]
    try:
        for future in futures:
            future.result()
    except BaseException:  # an error in a piece, or Ctrl-C: nobody may go on writing afterwards
        stopped.set()
        wait(futures)
        raise
