"""What this machine is, and the most it can do: every figure is read beside these."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import clock, race

PACKAGES = (
    *("gpuseg", "numpy", "scipy", "numba", "pandas", "scikit-learn", "scikit-image"),
    *("opencv-python-headless", "connected-components-3d", "fastremap"),
)
CORES = 2
LANES = 256  # float32 accumulators per core: enough to hide the latency of a multiply-add
STEPS = 1_000_000  # multiply-adds per accumulator: milliseconds, so that starting threads is nothing
ROOT = Path(__file__).parents[1]


def pin() -> None:
    """Leave this process and its children `CORES` cores: every engine sees as many."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def facts() -> dict[str, Any]:
    """Date, processor, commit and versions: what a result means nothing without."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | _versions(),
        "environment": _environment(),
    }


def limits(megabytes: int = 256, rounds: int = 5) -> dict[str, float]:
    """Measured: copy, triad and first touch in GB/s (read + written), fused multiply-add in GFLOP/s."""
    from numba import njit, prange, set_num_threads

    set_num_threads(len(os.sched_getaffinity(0)))
    # Sums may not be reordered: else the compiler folds two multiply-adds by constants into one.
    fast: Callable[..., Any] = njit(parallel=True, fastmath={"contract"})

    @fast
    def copy(a, b):  # type: ignore[no-untyped-def]
        for i in prange(a.size):
            b[i] = a[i]

    @fast
    def triad(a, b, c):  # type: ignore[no-untyped-def]
        for i in prange(a.size):
            c[i] = a[i] + np.float32(3) * b[i]

    @fast
    def fma(factor, term, out):  # type: ignore[no-untyped-def]
        for core in prange(out.size):
            lane = np.ones(LANES, np.float32)
            for _ in range(STEPS):
                for i in range(LANES):
                    lane[i] = lane[i] * factor + term
            out[core] = lane.sum()

    n = megabytes * 2**18
    a, b, c = (np.ones(n, np.float32) for _ in range(3))
    out = np.empty(CORES, np.float32)
    work = {  # task, bytes or operations
        "copy": (lambda: copy(a, b), 8 * n),
        "triad": (lambda: triad(a, b, c), 12 * n),
        "first touch": (lambda: np.full(n, 1, np.float32), 4 * n),
        "fma": (lambda: fma(np.float32(0.999), np.float32(0.001), out), 2 * LANES * STEPS * CORES),
    }
    runs = {name: clock(task) for name, (task, _) in work.items()}
    for run in runs.values():
        run()  # compiles
    samples = race(runs, rounds)
    return {  # a limit is the best that was seen, not the median
        name: round(amount / min(s.seconds for s in samples[name]) / 1e9, 1)
        for name, (_, amount) in work.items()
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    info = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    name = info.get("model name", platform.machine())
    widest = next((s for s in ("avx512f", "avx2", "sse2") if s in info.get("flags", "").split()), "")
    return f"{name} (family {info.get('cpu family', '?')}, {widest})" if widest else name


def _commit() -> str:
    """Short hash, with a + where the package or the benchmarks differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "gpuseg", "benchmarks", ":!benchmarks/results")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def _environment() -> str:
    """The variables that could favour someone, as the engines saw them."""
    prefixes = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_", "GPUSEG_")
    found = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(prefixes)]
    return ", ".join(found) or "no variables of BLAS, OpenMP, Numba or gpuseg are set"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
