"""What components and flooding mean, in NumPy and SciPy: pixel by pixel."""

from heapq import heappop, heappush
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array
from gpuseg.errors import ShapeError


def neighbours(connectivity: int) -> list[tuple[int, ...]]:
    """Steps to the neighbours of a pixel, in scan order."""
    steps = product((-1, 0, 1), repeat=3)
    return [s for s in steps if 0 < sum(map(abs, s)) <= connectivity]


def components(image: Array, connectivity: int) -> tuple[NDArray[np.int32], int]:
    """`Backend.components`: a graph of equal neighbours, its parts numbered by their first pixels."""
    from scipy import sparse

    places = np.arange(image.size).reshape(image.shape)
    pairs = []
    for step in neighbours(connectivity)[: len(neighbours(connectivity)) // 2]:
        here, there = _shifted(image.shape, step)
        joined = (image[here] == image[there]) & (image[here] != 0)
        pairs.append((places[here][joined], places[there][joined]))
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = sparse.coo_array((np.ones(len(a), bool), (a, b)), shape=(image.size, image.size))
    part = sparse.csgraph.connected_components(graph, directed=False)[1]
    foreground = image.reshape(-1) != 0
    _, first, which = np.unique(part[foreground], return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first)) + 1
    labels = np.zeros(image.size, np.int32)
    labels[foreground] = number[which]
    return labels.reshape(image.shape), len(first)


def flood(cost: Array, seeds: Array, limit: float) -> NDArray[np.int32]:
    """`Backend.flood`: a queue by priority, and by age among equals."""
    labels: NDArray[np.int32] = seeds.astype(np.int32)
    limit = float(np.float32(limit))
    cost = np.where(np.isnan(cost), np.float32(np.inf), cost)
    queue: list[tuple[float, int, tuple[int, ...]]] = []
    for at in zip(*np.nonzero(labels), strict=True):
        heappush(queue, (float(cost[at]), len(queue), at))
    age = len(queue)
    while queue:
        priority, _, at = heappop(queue)
        if priority > limit:
            break
        for step in neighbours(1):
            to = tuple(int(i) + d for i, d in zip(at, step, strict=True))
            inside = all(0 <= i < n for i, n in zip(to, labels.shape, strict=True))
            if inside and not labels[to]:
                labels[to] = labels[at]
                heappush(queue, (max(float(cost[to]), priority), age, to))
                age += 1
    return labels


def check_components(image: Array, connectivity: int) -> None:
    """ShapeError for what is not a volume of integers or bools, or no connectivity."""
    if image.ndim != 3 or image.dtype.kind not in "biu":
        raise ShapeError(
            f"components of an array of {image.dtype} with {image.ndim} axes",
            hint="bools or integers with the axes z, y, x are needed; threshold probabilities first",
        )
    if connectivity not in (1, 2, 3):
        raise ShapeError(
            f"connectivity {connectivity}",
            hint="1: neighbours share a face, 2: also an edge, 3: also a corner",
        )


def check_flood(cost: Array, seeds: Array) -> None:
    """ShapeError where costs and seeds do not lie on one another."""
    if cost.ndim != 3 or cost.shape != seeds.shape or seeds.dtype.kind not in "iu":
        raise ShapeError(
            f"flooding costs of shape {cost.shape} from seeds of {seeds.dtype}, shape {seeds.shape}",
            hint="seeds are integers in the shape of the costs, (z, y, x)",
        )


def _shifted(shape: tuple[int, ...], step: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where pixels are that have a neighbour at this step, and where those neighbours are."""
    here = tuple(slice(max(0, -d), n - max(0, d)) for n, d in zip(shape, step, strict=True))
    there = tuple(slice(max(0, d), n - max(0, -d)) for n, d in zip(shape, step, strict=True))
    return here, there
