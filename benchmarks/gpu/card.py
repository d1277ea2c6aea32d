"""The card: what it is, and the most it can do. Every figure of a kernel is read beside these."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.gpu.clock import device_seconds
from benchmarks.gpu.size import Size

SOURCE = Path(__file__).with_name("limits.cu")
KERNELS = ("limit_copy", "limit_fma", "limit_shared")
CHAINS, THREADS = 8, 256  # as in limits.cu
WAVES = 8  # blocks per multiprocessor: what fits at once


def facts(cupy: Any, device: int = 0) -> dict[str, Any]:
    """Machine, card, driver and versions: what a result means nothing without."""
    found = cupy.cuda.runtime.getDeviceProperties(device)
    name = found["name"]
    runtime = cupy.cuda.runtime
    here = machine.facts()
    return here | {
        "commit": os.environ.get("GPUSEG_COMMIT") or here["commit"],  # a copied tree has no history
        "card": name.decode() if isinstance(name, bytes) else str(name),
        "card_memory_gb": round(found["totalGlobalMem"] / 1e9, 1),
        "multiprocessors": found["multiProcessorCount"],
        "compute_capability": str(cupy.cuda.Device(device).compute_capability),
        "driver": runtime.driverGetVersion(),
        "cuda": runtime.runtimeGetVersion(),
        "versions": here["versions"] | {"cupy": cupy.__version__},
    }


def limits(cupy: Any, size: Size) -> dict[str, float]:
    """Measured: memory copied (read + written), shared memory read and host link in GB/s, FMA in GFLOP/s."""
    multiprocessors = cupy.cuda.Device().attributes["MultiProcessorCount"]
    work = {**_arithmetic(cupy, size, WAVES * multiprocessors), **_memory(cupy, size), **_link(cupy, size)}
    found: dict[str, float] = {}
    for name, (task, amount) in work.items():
        task()  # compiles, and touches the memory
        best = amount / min(device_seconds(cupy, task, size.rounds)) / 1e9
        limit = name.partition(",")[0]
        found[limit] = float(f"{max(best, found.get(limit, 0)):.5g}")
    return found


Work = dict[str, tuple[Callable[[], Any], float]]  # limit -> task, bytes or operations


def _arithmetic(cupy: Any, size: Size, blocks: int) -> Work:
    module = cupy.RawModule(
        code=SOURCE.read_text(encoding="utf-8"), options=("--std=c++17",), name_expressions=KERNELS
    )
    copy, fma, shared = (module.get_function(name) for name in KERNELS)
    out = cupy.empty(blocks * THREADS, np.float32)
    grid, block = (blocks,), (THREADS,)
    numbers = (np.float32(0.999), np.float32(0.001), np.int32(size.limit_steps))
    n = size.limit_mb * 2**20 // 16
    source, target = (cupy.zeros((n, 4), np.float32) for _ in range(2))
    per_thread = size.limit_steps * blocks * THREADS
    return {
        "fma": (lambda: fma(grid, block, (out, *numbers)), 2.0 * CHAINS * per_thread),
        "shared": (lambda: shared(grid, block, (out, numbers[2])), 16.0 * per_thread),
        "copy": (lambda: copy(grid, block, (source, target, np.int64(n))), 32.0 * n),
    }


def _memory(cupy: Any, size: Size) -> Work:
    """The driver's own copy, which may be faster than ours."""
    source, target = (cupy.zeros(size.limit_mb * 2**18, np.float32) for _ in range(2))
    return {"copy, by the driver": (lambda: cupy.copyto(target, source), 2.0 * source.nbytes)}


def _link(cupy: Any, size: Size) -> Work:
    """Host to device and back, from pinned memory and from ordinary one."""
    empty_pinned = import_module("cupyx").empty_pinned
    n = size.limit_mb * 2**18
    device = cupy.zeros(n, np.float32)
    pinned, plain = empty_pinned(n, np.float32), np.ones(n, np.float32)
    pinned[...] = 1
    return {
        "to the device": (lambda: device.set(pinned), 4.0 * n),
        "to the host": (lambda: device.get(out=pinned), 4.0 * n),
        "to the device from pageable memory": (lambda: device.set(plain), 4.0 * n),
        "to the host into pageable memory": (lambda: device.get(out=plain), 4.0 * n),
    }
