"""Peaks of a height map that stand out: seeds for splitting what touches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import kernel
from gpuseg.backends._numba.unions import find


@kernel
def _prominent(height, order, shape, least, parent, peak):
    """Flood from above: where two hills meet, the lower one ends; it counts if it stood out by `least`."""
    h, w = shape[1], shape[2]
    for i in order:
        x, y, z = i % w, i // w % h, i // (w * h)
        parent[i] = i
        peak[i] = True
        for side in range(6):
            axis, step = side // 2, 2 * (side % 2) - 1
            place = x if axis == 0 else y if axis == 1 else z
            size = w if axis == 0 else h if axis == 1 else shape[0]
            if not 0 <= place + step < size:
                continue
            j = i + step * (1 if axis == 0 else w if axis == 1 else w * h)
            if parent[j] < 0:
                continue
            a, b = find(parent, i), find(parent, j)
            if a == b:
                continue
            # The root of a hill is its highest pixel, of equals the first: `order` begins with those.
            if height[a] < height[b] or (height[a] == height[b] and a > b):
                a, b = b, a
            parent[b] = a
            if height[b] - height[i] < least:
                peak[b] = False


def prominent(height: NDArray[np.float32], least: float) -> NDArray[np.int32]:
    """1, 2, ... at peaks that stand at least `least` above the pass to a higher one, in scan order.

    height: (z, y, x), 0 where there is nothing; neighbours share a face. Every hill has one peak at least.
    """
    flat: NDArray[Any] = np.ascontiguousarray(height, np.float32).reshape(-1)
    here = np.flatnonzero(flat > 0)
    order = here[np.argsort(-flat[here], kind="stable")]
    parent, peak = np.full(flat.size, -1, np.int64), np.zeros(flat.size, np.bool_)
    _prominent(flat, order, np.array(height.shape), np.float32(least), parent, peak)
    seeds = np.zeros(flat.size, np.int32)
    seeds[peak] = np.arange(1, np.count_nonzero(peak) + 1, dtype=np.int32)
    return seeds.reshape(height.shape)
