"""Rings: all neighbourhood sums at once, around many small objects."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu import cost, kernels
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.components import smooth_noise
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend
from gpuseg.backends.rings import ring_sums

SHARE = 1.5  # of noise that is thresholded: objects of a volume stay apart, too
MARGINS = {2: (0, 30, 30), 3: (5, 10, 10)}  # ilastik's default; and one that reaches into other slices
EXACT = ("count", "extremes", "histogram")
CLOSE = 1e-9  # of the largest: sums of floats are added in another order


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    for shape in ((1, size.side, size.side), (size.deep[0],) * 3):
        for channels in (1, 2):
            yield from _rows(cupy, backend, shape, channels, size)


def _rows(cupy: Any, backend: Backend, shape: tuple[int, ...], channels: int, size: Size) -> Iterator[Row]:
    cpu, noise = get_backend("cpu"), smooth_noise(shape)
    labels, count = cpu.components(noise > SHARE * noise.std(), 1)
    values = np.random.default_rng(0).normal(100, 30, (channels, *shape)).astype(np.float32)
    boxes = cpu.region_sums(labels, count, None, ["box"])["box"]
    margin = MARGINS[2 if shape[0] == 1 else 3]
    task = partial(ring_sums, backend, backend.asarray(labels), backend.asarray(values), boxes, margin)
    note = _check(task(), ring_sums(cpu, labels, values, boxes, margin))
    seconds, launches = kernels.timed(cupy, task, size.rounds)
    sides = " x ".join(str(n) for n in shape if n > 1)
    for name, spent in seconds.items():
        yield Row(
            section="rings",
            case=f"{name}, {sides}, {channels} channels",
            engine=name,
            data=f"{sides}, {count} objects, margin {' x '.join(str(m) for m in margin if m)}",
            seconds=spent,
            items=labels.size / 1e6,
            unit="Mpx" if shape[0] == 1 else "Mvox",
            cost=cost.of_rings(labels.size, channels, _compared(boxes, margin, shape)),
            launches=launches[name],
            note=note,
        )


def _compared(boxes: NDArray[np.int64], margin: tuple[int, int, int], shape: tuple[int, ...]) -> int:
    """Numbers compared along y, for all objects: rows of the box that a pixel can reach, at most."""
    low = np.maximum(boxes[..., 0] - margin, 0)
    crop = np.minimum(boxes[..., 1] + margin + 1, shape) - low
    box = boxes[..., 1] + 1 - boxes[..., 0]
    rows = np.minimum(box[:, 1], 2 * margin[1] + 1)
    return int((box[:, 0] * crop[:, 1] * crop[:, 2] * rows).sum())


def _check(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """That integers and extremes are the CPU's, and how close the rest is; or WrongAnswer."""
    largest = 0.0
    for name, e in expected.items():
        if name in EXACT:
            if not np.array_equal(found[name], e, equal_nan=name == "extremes"):
                raise WrongAnswer(f"{name} of rings is not the CPU's")
        elif e.size:
            largest = max(largest, float(np.abs(found[name] - e).max() / np.abs(e).max()))
    if not largest <= CLOSE:
        raise WrongAnswer(f"sums differ from the CPU's by {largest:.2g} of the largest, at most {CLOSE:g}")
    return f"pixels are the CPU's, the rest within {largest:.1g} of the largest"
