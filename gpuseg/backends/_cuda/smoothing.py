"""Pre-smoothing on the device: pass after pass, all scales in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import taps
from gpuseg.backends._kernels import Kernels
from gpuseg.backends.base import Sigmas

LANES, WARPS, RUN = 32, 8, 8  # as in smooth.cu
MOST = 11264  # floats of shared memory that a block takes: wider kernels read from device memory


@dataclass(frozen=True, slots=True)
class Kernel:
    """One axis of a separable kernel for every step, on the device."""

    taps: Any  # float32, half kernels one after the other, centre first
    begin: Any  # int32 (steps + 1,)
    side: int  # 1 if even, -1 if odd
    radius: int  # of the widest

    @classmethod
    def of(cls, xp: Any, halves: Sequence[NDArray[np.float32]], side: int = 1) -> "Kernel":
        begin = np.cumsum([0, *map(len, halves)]).astype(np.int32)
        return cls(xp.asarray(np.concatenate(halves)), xp.asarray(begin), side, max(map(len, halves)) - 1)


def across(
    xp: Any,
    kernels: Kernels,
    source: Any,
    which: Any,
    stride: int,
    kernel: Kernel,
    sizes: tuple[int, int, int],
    places: slice,
) -> Any:
    """Filter the middle one of three axes: (steps, outer, places, inner).

    Step s takes the array of `sizes` (outer, axis, inner) at which[s] * stride in `source`.
    """
    outer, size, inner = sizes
    count = places.stop - places.start
    out = xp.empty((len(which), outer, count, inner), np.float32)
    room = (WARPS * RUN + 2 * kernel.radius) * LANES
    room = room if room <= MOST else 0
    kernels.launch(
        "smooth_across",
        (-(-inner // LANES) * outer, -(-count // (WARPS * RUN)), len(which)),
        (LANES, WARPS),
        (
            *(source, which, np.int64(stride), out, kernel.taps, kernel.begin),
            *(np.float32(kernel.side), np.int32(outer), np.int32(size), np.int64(inner)),
            *(np.int32(places.start), np.int32(count), np.int32(room)),
        ),
        shared=4 * room,
    )
    return out


def along(
    xp: Any,
    kernels: Kernels,
    source: Any,
    which: Any,
    stride: int,
    kernel: Kernel,
    sizes: tuple[int, int],
    places: slice,
) -> Any:
    """Filter along rows: (steps, rows, places). sizes: rows, axis; else as `across`."""
    rows, size = sizes
    count = places.stop - places.start
    out = xp.empty((len(which), rows, count), np.float32)
    length = LANES * RUN + 2 * kernel.radius
    length = length if WARPS * (length + length // 32 + 1) <= MOST else LANES * RUN  # answers pass through it
    room = length + length // 32 + 1
    kernels.launch(
        "smooth_along",
        (-(-count // (LANES * RUN)) * -(-rows // WARPS), 1, len(which)),
        (LANES, WARPS),
        (
            *(source, which, np.int64(stride), out, kernel.taps, kernel.begin),
            *(np.float32(kernel.side), np.int32(rows), np.int32(size)),
            *(np.int32(places.start), np.int32(count), np.int32(room)),
        ),
        shared=4 * WARPS * room,
    )
    return out


def gaussian(
    xp: Any, kernels: Kernels, image: Any, sigma: Sigmas, order: Sequence[int], window: float
) -> Any:
    """Derivative of the given order per axis of one smoothed plane or volume."""
    own = xp.zeros(1, np.int32)
    out = xp.ascontiguousarray(image, np.float32)
    for axis in range(out.ndim):
        n = order[axis] if order else 0
        kernel = Kernel.of(xp, [taps.half(sigma[axis], n, window)], -1 if n == 1 else 1)
        size, everywhere = out.shape[axis], slice(0, out.shape[axis])
        if axis == out.ndim - 1:
            rows = out.size // size
            done = along(xp, kernels, out, own, 0, kernel, (rows, size), everywhere)
        else:
            sizes = (prod(out.shape[:axis]), size, prod(out.shape[axis + 1 :]))
            done = across(xp, kernels, out, own, 0, kernel, sizes, everywhere)
        out = done.reshape(out.shape)
    return out
