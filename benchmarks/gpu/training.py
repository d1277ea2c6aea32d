"""Labelled pixels to a forest: the kernel that grows trees, and all of training around it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu import cost, kernels, stage
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.clock import wall_seconds
from benchmarks.gpu.rows import Cost, Row
from benchmarks.gpu.size import Size
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend, Grown, Growth
from gpuseg.forests import get_trainer

CODES = 255  # at most, of a feature: what trees are grown from


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    s = stage.flat(cupy, backend, "texture", min(size.side, size.view), size)
    rows = s.scene.rows()
    data = f"{len(rows)} pixels, {rows.shape[1]} planes, {size.trees} trees"
    yield from _grow(cupy, backend, rows, s.scene.labels, size, data)

    train = get_trainer("hist")
    task = partial(train, rows, s.scene.labels, trees=size.trees, backend=backend.name)
    on_card, on_cpu = task(), task(backend="cpu")
    if not np.array_equal(on_card.forest.threshold, on_cpu.forest.threshold):
        raise WrongAnswer("one seed gave two forests, one on the card and one on the CPU")
    seconds = wall_seconds(cupy, task, size.rounds)
    note = "with codes, out-of-bag accuracy and importances; the forest is the CPU's"
    yield Row("training", "retraining", data, seconds, items=len(rows) / 1e3, unit="krow", note=note)


def _grow(cupy: Any, backend: Backend, rows: Any, labels: Any, size: Size, data: str) -> Iterator[Row]:
    """`Backend.grow` on codes by rank: what its kernels take for all trees."""
    rank = rows.argsort(0).argsort(0)
    codes = np.ascontiguousarray((rank * CODES // len(rows)).T.astype(np.uint8))
    classes, target = np.unique(labels, return_inverse=True)
    how = Growth(len(classes), size.trees, int(np.sqrt(rows.shape[1]) + 0.5), seed=0)
    task = partial(backend.grow, codes, target.astype(np.uint8), how)
    grown: Grown = task()
    expected = get_backend("cpu").grow(codes, target.astype(np.uint8), how)
    if not all(np.array_equal(getattr(grown, f), getattr(expected, f)) for f in Grown._fields):
        raise WrongAnswer("the card grew other trees than the CPU")
    seconds, launches = kernels.timed(cupy, task, size.rounds)
    costs = {"grow": cost.grow(grown, how), "gather_trees": cost.gather_trees(grown)}
    for name, spent in seconds.items():
        yield Row(
            section="training",
            case=name,
            engine=name,
            data=data,
            seconds=spent,
            items=len(rows) / 1e3,
            unit="krow",
            cost=costs.get(name, Cost()),
            launches=launches[name],
            note=f"{len(grown.feature)} nodes, the CPU's",
        )
