"""Connected components: runs of a row joined with those of the rows before, then numbered in scan order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.runs import count_runs, find_runs
from gpuseg.backends._numba.simd import inline, kernel
from gpuseg.backends._numba.threads import spread
from gpuseg.backends._numba.unions import find
from gpuseg.errors import ShapeError

PART = 2**18  # pixels that one thread takes at a time
STRIPS = 16  # runs are joined within them at once, then across their borders
MOST = 2**31 - 1  # runs and components: they are numbered in 32 bits


@inline
def _join_rows(pixels, width, upper, row, reach, first, start, stop, parent):
    """Join equal runs of two rows that overlap, or with `reach` 1 only touch at a corner."""
    i, last = first[upper], first[upper + 1]
    for j in range(first[row], first[row + 1]):
        value = pixels[row * width + start[j]]
        while i < last and stop[i] + reach <= start[j]:
            i += 1
        k, root = i, find(parent, j)
        while k < last and start[k] < stop[j] + reach:
            if pixels[upper * width + start[k]] == value:
                other = find(parent, k)
                if other < root:
                    parent[root] = other
                    root = other
                else:
                    parent[other] = root
            k += 1


@kernel
def _join(pixels, shape, box, size, across, connectivity, first, start, stop, parent):
    """Join the rows of a box (z from, to, y from, to) with earlier ones of their strip, or those `across`.

    size: of strips along z and y.
    """
    height, width = shape[1:]
    for z in range(box[0], box[1]):
        for y in range(box[2], box[3]):
            for dz, dy in ((-1, -1), (-1, 0), (-1, 1), (0, -1)):
                upper_z, upper_y, apart = z + dz, y + dy, abs(dz) + abs(dy)
                if apart > connectivity or upper_z < 0 or not 0 <= upper_y < height:
                    continue
                same = upper_z // size[0] == z // size[0] and upper_y // size[1] == y // size[1]
                if same != across:
                    row, upper = z * height + y, upper_z * height + upper_y
                    reach = 1 if connectivity > apart else 0
                    _join_rows(pixels, width, upper, row, reach, first, start, stop, parent)


@kernel
def _number(parent, label):
    """Number the first runs of components, give others the number; how many components."""
    count = 0
    for i in range(len(parent)):
        if parent[i] == i:
            count += 1
            label[i] = count
        else:
            label[i] = label[parent[i]]
    return count


@kernel
def _fill(width, begin, end, first, start, stop, label, out):
    for row in range(begin, end):
        line = out[row * width : (row + 1) * width]
        line[:] = 0
        for i in range(first[row], first[row + 1]):
            for x in range(start[i], stop[i]):
                line[x] = label[i]


def components(image: NDArray[Any], connectivity: int) -> tuple[NDArray[np.int32], int]:
    """`Backend.components`."""
    pixels = (
        np.ascontiguousarray(image).reshape(-1).view(f"u{image.itemsize}")
    )  # equal or not is all that counts
    out = np.empty(image.shape, np.int32)
    width, rows = image.shape[2], image.shape[0] * image.shape[1]
    if not image.size:
        return out, 0
    first = np.zeros(rows + 1, np.int64)
    _by_rows(count_runs, pixels, width, rows, first[1:])
    np.cumsum(first, out=first)
    if first[-1] > MOST:
        raise ShapeError(
            f"{first[-1]} runs of equal pixels, {MOST} can be numbered at once", hint="segment in blocks"
        )
    start, stop = np.empty(first[-1], np.int32), np.empty(first[-1], np.int32)
    _by_rows(find_runs, pixels, width, rows, first, start, stop)
    parent = np.arange(first[-1], dtype=np.int32)
    _join_all(pixels, image.shape, connectivity, first, start, stop, parent)
    label = np.empty_like(parent)
    count = _number(parent, label)
    _by_rows(_fill, None, width, rows, first, start, stop, label, out.reshape(-1))
    return out, count


def _by_rows(work: Any, pixels: NDArray[Any] | None, width: int, rows: int, *arguments: Any) -> None:
    """Call a kernel for all rows, some at a time."""
    some = max(1, PART // width)
    before = () if pixels is None else (pixels,)
    spread(
        -(-rows // some),
        lambda i, _: work(*before, width, i * some, min(rows, (i + 1) * some), *arguments),
        lambda: None,
    )


def _join_all(pixels: NDArray[Any], shape: tuple[int, ...], connectivity: int, *runs: NDArray[Any]) -> None:
    """Join runs within strips of the longer of z and y, all at once, then those on both sides of a cut."""
    axis = 0 if shape[0] > shape[1] else 1
    size = list(shape[:2])
    size[axis] = max(1, -(-shape[axis] // STRIPS))
    whole = [0, shape[0], 0, shape[1]]

    def join(begin: int, end: int, across: bool) -> None:
        box = whole.copy()
        box[2 * axis : 2 * axis + 2] = begin, min(end, shape[axis])
        _join(pixels, shape, tuple(box), tuple(size), across, connectivity, *runs)

    cuts = range(size[axis], shape[axis], size[axis])
    spread(len(cuts) + 1, lambda i, _: join(i * size[axis], (i + 1) * size[axis], False), lambda: None)
    for cut in cuts:
        join(cut - 1, cut + 1, True)
