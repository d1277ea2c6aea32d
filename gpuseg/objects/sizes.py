"""How large objects are, which to keep, and their new numbers: on whatever backend the labels are.

Labels are int32 (z, y, x). On the host compiled loops look each pixel up; elsewhere array indexing does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend


def sizes(b: Backend, labels: Array, count: int) -> NDArray[np.int64]:
    """Pixels of each of the objects 1 to `count`."""
    if isinstance(labels, np.ndarray):
        from gpuseg.backends._numba import lookup

        return lookup.sizes(labels, count)
    return b.region_sums(labels, count, None, ["count"])["count"]


def touched(
    b: Backend, labels: Array, count: int, marks: Array, good: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the objects 1 to `count` have a pixel of a mark that is good; good[0] is that of no mark."""
    if isinstance(labels, np.ndarray):
        from gpuseg.backends._numba import lookup

        return lookup.touched(labels, count, marks, good)
    found = b.asarray(np.zeros(count + 1, np.bool_))
    found[labels[b.asarray(good)[marks]]] = True
    return b.to_numpy(found)[1:]


def picked(b: Backend, labels: Array, count: int, values: Array) -> NDArray[Any]:
    """The value of each of the objects 1 to `count`, where all pixels of one have the same."""
    if isinstance(labels, np.ndarray):
        from gpuseg.backends._numba import lookup

        return lookup.picked(labels, count, values)
    found = b.asarray(np.zeros(count + 1, values.dtype))
    found[labels] = values
    return b.to_numpy(found)[1:]


def renamed(b: Backend, labels: Array, table: NDArray[Any]) -> Array:
    """`table[labels]`; on the host in the place of `labels`, if it has their type."""
    if isinstance(labels, np.ndarray):
        from gpuseg.backends._numba import lookup

        return lookup.renamed(labels, table)
    return b.asarray(table)[labels]


def firsts(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Place in memory of the first pixel of each of the objects 1 to `count`, on the host."""
    from gpuseg.backends._numba import lookup

    return lookup.firsts(labels, count)


def numbering(kept: NDArray[np.bool_], order: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
    """Old number -> new number of objects: 1, 2, ... for those kept, by `order` or as they come; else 0."""
    table = np.zeros(len(kept) + 1, np.int32)
    chosen = np.flatnonzero(kept)
    if order is not None:
        chosen = chosen[np.argsort(order[chosen], kind="stable")]
    table[chosen + 1] = np.arange(1, len(chosen) + 1, dtype=np.int32)
    return table


def at_border(b: Backend, labels: Array, count: int) -> NDArray[np.bool_]:
    """Which objects touch the border of the image: any face of a volume, any edge of a plane."""
    found = np.zeros(count + 1, np.bool_)
    for axis, size in enumerate(labels.shape):
        if axis == 0 and size == 1:
            continue
        for end in (0, size - 1):
            face = labels[(slice(None),) * axis + (end,)]
            found[np.unique(b.to_numpy(face))] = True
    return found[1:]
