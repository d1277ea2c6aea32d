"""Sums over regions: every kernel by itself, over objects of many sizes and two channels."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu import cost, kernels
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.components import blobs
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends import get_backend
from gpuseg.backends.base import SUMS, Backend

CHANNELS = 2
EXACT = ("count", "box", "center", "scatter", "extremes", "extreme_places", "histogram")
CLOSE = 1e-9  # of the largest: sums of floats are added in another order


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    for shape in ((1, size.side, size.side), (size.deep[0],) * 3):
        yield from _rows(cupy, backend, shape, size)


def _rows(cupy: Any, backend: Backend, shape: tuple[int, ...], size: Size) -> Iterator[Row]:
    labels, count = get_backend("cpu").components(blobs(shape), 1)
    values = np.random.default_rng(0).normal(100, 30, (CHANNELS, *shape)).astype(np.float32)
    here = backend.asarray(labels), count, backend.asarray(values), list(SUMS)
    task = partial(backend.region_sums, *here)
    note = _check(task(), get_backend("cpu").region_sums(labels, count, values, list(SUMS)))
    seconds, launches = kernels.timed(cupy, task, size.rounds)
    sides = " x ".join(str(n) for n in shape if n > 1)
    for name, spent in seconds.items():
        yield Row(
            section="regions",
            case=f"{name}, {sides}",
            engine=name,
            data=f"{sides}, {count} objects, {CHANNELS} channels",
            seconds=spent,
            items=labels.size / 1e6,
            unit="Mpx" if shape[0] == 1 else "Mvox",
            cost=cost.of_regions(name, labels.size, CHANNELS),
            launches=launches[name],
            note=note,
        )


def _check(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """That integers are the CPU's, and how close the rest is; or WrongAnswer."""
    largest = 0.0
    for name, e in expected.items():
        if name in EXACT:
            if not np.array_equal(found[name], e):
                raise WrongAnswer(f"{name} of objects is not the CPU's")
        else:
            largest = max(largest, float(np.abs(found[name] - e).max() / np.abs(e).max()))
    if not largest <= CLOSE:
        raise WrongAnswer(f"sums differ from the CPU's by {largest:.2g} of the largest, at most {CLOSE:g}")
    return f"integers are the CPU's, the rest within {largest:.1g} of the largest"
