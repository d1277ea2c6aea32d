"""Seeded growth: every kernel by itself, downhill from the peaks of smooth noise."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu import cost, kernels
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.components import smooth_noise
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends import get_backend
from gpuseg.backends._kernels import FILES
from gpuseg.backends.base import Backend

SHARE = {2: 0.6, 3: 1.5}  # standard deviations that objects are above; lower ones of volumes are one object


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    for shape in ((1, size.side, size.side), (size.deep[0],) * 3):
        yield from _rows(cupy, backend, shape, size)


def _rows(cupy: Any, backend: Backend, shape: tuple[int, ...], size: Size) -> Iterator[Row]:
    from scipy import ndimage

    smooth = smooth_noise(shape)
    least = np.float32(SHARE[2 if shape[0] == 1 else 3] * smooth.std())
    peaks = (smooth == ndimage.maximum_filter(smooth, 3)) & (smooth >= least)
    seeds = np.where(peaks, np.cumsum(peaks).reshape(shape), 0).astype(np.int32)
    limit = -float(least)
    task = partial(backend.flood, backend.asarray(-smooth), backend.asarray(seeds), limit)
    if not np.array_equal(backend.to_numpy(task()), get_backend("cpu").flood(-smooth, seeds, limit)):
        raise WrongAnswer("floods are not the CPU's")
    seconds, launches = kernels.timed(cupy, task, size.rounds)
    if "grow_basins" not in seconds:
        raise WrongAnswer("a basin was so large that the host flooded it")
    sides = " x ".join(str(n) for n in shape if n > 1)
    for name in (n for n in seconds if FILES[n] == "flood"):
        yield Row(
            section="flood",
            case=f"{name}, {sides}",
            engine=name,
            data=f"{sides}, {seeds.max()} seeds",
            seconds=seconds[name],
            items=smooth.size / 1e6,
            unit="Mpx" if shape[0] == 1 else "Mvox",
            cost=cost.of_flood(name, smooth.size, int(np.count_nonzero(smooth >= least))),
            launches=launches[name],
            note="labels are the CPU's",
        )
