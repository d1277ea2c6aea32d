"""Sums over the rings around objects, wherever the objects are.

No primitive of the contract: a backend that has a way of its own has a method `_ring_sums`, which answers
None where it would not be the faster one; then the CPU computes them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend


def ring_sums(
    b: Backend, labels: Array, raw: Array, boxes: NDArray[np.int64], margin: tuple[int, int, int]
) -> dict[str, NDArray[Any]]:
    """Sums over rings and over rings with their objects, on the host, by the names of `SUMS`: (2, n, ...).

    labels: int32 (z, y, x); raw: float32 (c, z, y, x); boxes: (n, 3, 2), least and largest coordinate of
    each object; margin: pixels along z, y, x, one of them 2 at least (SPEC 5.4). Histograms, int32 and of
    images of one channel only, range from the least to the largest value of each region.
    """
    own = getattr(b, "_ring_sums", None)
    found: dict[str, NDArray[Any]] | None = own(labels, raw, boxes, margin) if own else None
    if found is None:
        from gpuseg.backends._numba import rings  # late: it takes a second to import

        labels, raw = (np.ascontiguousarray(b.to_numpy(a)) for a in (labels, raw))
        found = rings.sums(labels, raw, boxes, margin)
    return found
