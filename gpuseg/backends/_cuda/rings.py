"""Sums over rings on the device: a block for each object at a time, those with the largest crops first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._cuda.device import download
from gpuseg.backends._kernels import Kernels

THREADS, BLOCKS, BINS = 128, 6, 64  # as in rings.cu; BLOCKS at once on a multiprocessor
LARGEST = 2**22  # pixels of a crop: for a larger one a single block would keep all others waiting
WIDEST = 2**15  # margins below it have squares of 30 bits
ROOM = 2**31  # bytes of distances, at most

Margin = tuple[int, int, int]  # along z, y, x


def ring_sums(
    xp: Any,
    kernels: Kernels,
    labels: Any,
    raw: Any,
    boxes: NDArray[np.int64],
    margin: Margin,
    processors: int,
    free: int,
) -> dict[str, NDArray[Any]] | None:
    """`backends.rings.ring_sums` on so many multiprocessors, in half of the `free` bytes; None: not here."""
    n, c = len(boxes), len(raw)
    words, crops = _words(boxes, margin, labels.shape)
    order = np.argsort(-words, kind="stable").astype(np.int32)
    ends = np.cumsum(words[order[: BLOCKS * processors]])
    grid = int(np.searchsorted(ends, min(ROOM, free // 2) // 4, side="right"))
    if max(margin) >= WIDEST or crops.max(initial=0) > LARGEST or (n and not grid):
        return None
    out = {
        "count": xp.zeros((2, n), np.int64),
        "sum": xp.empty((2, n, c), np.float64),
        "extremes": xp.empty((2, n, c, 2), np.float32),
        "moments": xp.empty((2, n, c, 3), np.float64),
        "covariance": xp.empty((2, n, c, c) if c > 1 else (2, n, 0, 0), np.float64),
        "histogram": xp.empty((2, n, 1, BINS) if c == 1 else (2, n, 0, 0), np.int32),
    }
    if n:
        starts = np.concatenate([np.zeros(1, np.int64), ends[: grid - 1]])
        image = xp.ascontiguousarray(labels), *map(np.int32, labels.shape)
        values = xp.ascontiguousarray(raw, np.float32), np.int32(c)
        objects = xp.asarray(boxes), *map(np.int32, margin), xp.asarray(order), np.int32(n)
        room = xp.asarray(starts), xp.empty(int(ends[grid - 1]), np.int32)
        given = *image, *values, *objects, *room, *out.values()
        kernels.launch("ring_sums", (grid,), (THREADS,), given)
    found = {name: download(xp, sums) for name, sums in out.items()}
    found["extremes"][found["count"] == 0] = np.nan
    return found


def _words(
    boxes: NDArray[np.int64], margin: Margin, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Room that each object takes, in words of 4 bytes: two kinds of distances and roles; pixels of crops."""
    box = boxes[..., 1] + 1 - boxes[..., 0]
    low = np.maximum(boxes[..., 0] - margin, 0)
    crop = np.minimum(boxes[..., 1] + margin + 1, shape) - low
    pixels = crop.prod(axis=1)
    along_x, along_y = box[:, 0] * box[:, 1] * crop[:, 2], box[:, 0] * crop[:, 1] * crop[:, 2]
    return along_x + along_y + -(-pixels // 4), pixels
