"""Trees grown on the device: as many at a time as memory allows, each by one block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._cuda.device import download, download_all
from gpuseg.backends._kernels import Kernels
from gpuseg.backends._reference_grow import joined, mix
from gpuseg.backends.base import Grown, Growth

THREADS, PLANE = 256, 288  # as in grow.cu
SHARED = 46 * 1024  # bytes of counts in shared memory: every device has 48 KiB without asking for more
BATCH = 2**31  # bytes that trees in the making may take


def grow(
    xp: Any, kernels: Kernels, codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth
) -> Grown:
    """`Backend.grow`."""
    n = len(target)
    here = xp.asarray(np.ascontiguousarray(codes)), xp.asarray(np.ascontiguousarray(target))
    each = n * (16 + 16 + 8 + 2 * (4 + 1 + 4 + 4 * how.classes) + 4)
    batch = max(1, min(how.trees, BATCH // each))
    starts = range(0, how.trees, batch)
    return joined([_some(xp, kernels, *here, how, first, min(batch, how.trees - first)) for first in starts])


def slots(classes: int) -> tuple[int, bool]:
    """Features that a block counts at a time, and whether their counts fit into shared memory."""
    fit = next((s for s in (8, 4, 2, 1) if 4 * s * classes * PLANE <= SHARED), 0)
    return fit or 1, fit > 0


def _some(xp: Any, kernels: Kernels, codes: Any, target: Any, how: Growth, first: int, trees: int) -> Grown:
    """Trees `first` to `first + trees`."""
    n, room, (count, in_shared) = len(target), 2 * len(target), slots(how.classes)
    words = count * how.classes * PLANE
    feature, left = (xp.empty((trees, room), np.int32) for _ in range(2))
    code, counts = xp.empty((trees, room), np.uint8), xp.empty((trees, room, how.classes), np.uint32)
    sizes, leaf = xp.empty(trees, np.int32), xp.zeros((trees, n), np.int32)
    kernels.launch(
        "grow",
        (trees,),
        (THREADS,),
        (
            *(codes, target, np.int64(n), np.int32(len(codes)), np.int32(how.classes), np.int32(how.tried)),
            *(np.uint32(mix(how.seed)), np.int32(first), np.int32(count), np.int32(in_shared)),
            *(xp.empty((trees, room), np.uint64), xp.empty((trees, 2, room), np.int32)),
            *(xp.empty((trees, room), np.uint32), xp.empty((trees, 0 if in_shared else words), np.uint32)),
            *(feature, code, left, counts, sizes, leaf),
        ),
        shared=4 * words if in_shared else 0,
    )
    size = download(xp, sizes)
    used = _gathered(xp, kernels, np.cumsum(size, dtype=np.int64), (feature, code, left, counts))
    *parts, leaf = download_all(xp, [*used, leaf])
    return Grown(parts[0], parts[1], parts[2], parts[3], size, leaf)


def _gathered(xp: Any, kernels: Kernels, ends: NDArray[np.int64], parts: tuple[Any, ...]) -> list[Any]:
    """The used part of each tree's nodes, one after the other."""
    trees, room, classes = parts[-1].shape
    out = [xp.empty((int(ends[-1]), *p.shape[2:]), p.dtype) for p in parts]
    start = xp.asarray(np.concatenate([np.zeros(1, np.int64), ends]))
    sizes = np.int64(room), np.int32(classes)
    kernels.launch("gather_trees", (trees,), (THREADS,), (start, *sizes, *parts, *out))
    return out
