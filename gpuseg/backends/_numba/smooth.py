"""One smoothed plane or volume: a separable Gaussian of any radius, the same bits as kernels/smooth.cu."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.rows import BLOCK, across, gather, mirror, pad_row
from gpuseg.backends._numba.simd import WIDTH, fma, kernel, load, splat, store
from gpuseg.backends._numba.threads import spread

BAND = 32  # places along the filtered axis that a thread answers for at a time


@kernel
def _across(source, origin, inner, size, first, count, taps, block, out):
    """`count` places from `first` on along an axis of `size`, of all `inner` columns; origin: of the axis."""
    r = taps.size - 1
    narrow = inner < BLOCK
    for start in range(0, inner, BLOCK):
        x = max(0, min(start, inner - BLOCK))
        if narrow:
            for i in range(count + 2 * r):
                row = origin + mirror(first - r + i, size) * inner
                for v in range(inner):
                    block[i * BLOCK + v] = source[row + v]
        else:
            gather(source, origin, inner, size, first - r, count + 2 * r, x, block)
        for i in range(count):
            to = origin + (first + i) * inner + x
            if narrow:
                across(block, i + r, taps, block, (count + 2 * r) * BLOCK)
                for v in range(inner):
                    out[to + v] = block[(count + 2 * r) * BLOCK + v]
            else:
                across(block, i + r, taps, out, to)


@kernel
def _along(source, width, first, count, taps, line, out):
    """Rows `first` to first + count, each of `width` places along the filtered axis."""
    r = taps.size - 1
    left = -(-r // WIDTH) * WIDTH
    for row in range(first, first + count):
        at = row * width
        for x in range(width):
            line[left + x] = source[at + x]
        pad_row(line, left, width, r)
        for x in range(0, width, WIDTH):
            p = left + x
            s = splat(taps[0]) * load(line, p)
            for t in range(1, r + 1):
                s = fma(splat(taps[t]), load(line, p + t) + load(line, p - t), s)
            if x + WIDTH <= width:
                store(out, at + x, s)
            else:  # the last places of a row go by way of the scratch: the next row is another thread's
                end = line.size - WIDTH
                store(line, end, s)
                for v in range(width - x):
                    out[at + x + v] = line[end + v]


def smooth(image: NDArray[np.float32], halves: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """`image` filtered along every axis, the first one first; halves: taps of each, centre first."""
    done = np.ascontiguousarray(image, np.float32)
    for axis, taps in enumerate(halves):
        out = np.empty_like(done)
        if axis < done.ndim - 1:
            _across_all(done, axis, taps, out)
        else:
            _along_all(done, taps, out)
        done = out
    return done


def _across_all(image: NDArray[Any], axis: int, taps: NDArray[Any], out: NDArray[Any]) -> None:
    size, inner = image.shape[axis], prod(image.shape[axis + 1 :])
    bands = -(-size // BAND)

    def work(i: int, block: NDArray[np.float32]) -> None:
        outer, band = divmod(i, bands)
        first = band * BAND
        count = min(BAND, size - first)
        _across(image.ravel(), outer * size * inner, inner, size, first, count, taps, block, out.ravel())

    room = (BAND + 2 * len(taps) + 1) * BLOCK
    spread(prod(image.shape[:axis]) * bands, work, lambda: np.zeros(room, np.float32))


def _along_all(image: NDArray[Any], taps: NDArray[Any], out: NDArray[Any]) -> None:
    width = image.shape[-1]
    rows = image.size // width
    reach = -(-len(taps) // WIDTH) * WIDTH

    def work(i: int, line: NDArray[np.float32]) -> None:
        first = i * BAND
        count = min(BAND, rows - first)
        _along(image.ravel(), width, first, count, taps, line, out.ravel())

    spread(-(-rows // BAND), work, lambda: np.zeros(width + 2 * reach + 3 * WIDTH, np.float32))
