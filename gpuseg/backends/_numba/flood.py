"""Flooding as by one queue for the whole image, yet basin by basin: by several threads, in near memory.

basin   pixels joined by faces whose cost is within the limit. Nothing else is ever popped from the queue,
        so the order of a basin's pixels among themselves does not depend on other basins.
shore   other pixels beside a basin: labelled when the first of their neighbours is popped. Which that is
        priorities tell; of equal ones the ages, by who pushed them, and so on back to the seeds.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.components import components
from gpuseg.backends._numba.levels import PLACE, Queue, least, push, queue, take
from gpuseg.backends._numba.simd import inline, kernel
from gpuseg.backends._numba.threads import spread
from gpuseg.errors import ShapeError

PART = 2**18  # pixels that one thread takes at a time
PIECES = 256  # of the list of basins, for threads to take
MOST = PLACE  # cells: a queue numbers them in 31 bits
LEAST, OUTSIDE = -(2**31), 2**31 - 1  # of keys; the one around the image, beyond any limit
KEY, LABEL = range(2)  # what a pixel's cell holds
SEED = 6  # who pushed it: a seed nobody, else neighbour 0 to 5 in scan order
NONE = -1  # no pixel


@kernel
def _key(bits):
    """An int32 for the float32 of these bits that orders as it does; what is not a number is infinite."""
    size = bits & 0x7FFFFFFF
    if size > 0x7F800000:
        return np.int32(0x7F800000)
    return np.int32(size) if bits >= 0 else np.int32(-size)


@kernel
def _prepare(row, end, cost, seeds, limit, cells, who, within):
    """Rows into cells: keys and seeds; which pixels are `within` the limit."""
    height, width = cost.shape[1:]
    for r in range(row, end):
        z, y = r // height, r % height
        for x in range(width):
            k = _key(cost[z, y, x])
            cells[z, y, x, KEY] = k
            cells[z, y, x, LABEL] = seeds[z, y, x]
            who[z, y, x] = SEED
            within[z, y, x] = k <= limit


@kernel
def _line_up(basin, origin, limit, steps, cells, place, which, ends):
    """Seeds that may grow, in scan order: how many, `place` and basin of each; how many before a basin's."""
    depth, height, width = basin.shape
    count = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                p = origin[0] + z * origin[1] + y * origin[2] + x
                if basin[z, y, x] == 0 or cells[p, LABEL] == 0:
                    continue
                for step in steps:
                    if cells[p + step, LABEL] == 0 and cells[p + step, KEY] <= limit:
                        place[count], which[count] = p, basin[z, y, x]
                        ends[basin[z, y, x] + 1] += 1
                        count += 1
                        break
    for b in range(1, len(ends)):
        ends[b] += ends[b - 1]
    return count


@kernel
def _sort(place, which, ends, out):
    """Seeds by basins; ends: where those of each basin end, then."""
    for i in range(len(place)):
        out[ends[which[i]]] = place[i]
        ends[which[i]] += 1


@inline
def _entry(p, key):
    return (np.int64(key) - LEAST) << 31 | np.int64(p)


@kernel
def _grow(begin, end, seeds, ends, limit, steps, cells, who, q):
    """Flood the basins behind `begin`, up to `end`; q: empty."""
    for b in range(begin, end):
        now = np.int64(0)
        for p in seeds[ends[b] : ends[b + 1]]:
            push(_entry(p, cells[p, KEY]), now, q)
        at, now = least(now, q)
        while at >= 0:
            p = take(at, q) & PLACE
            key, label = cells[p, KEY], cells[p, LABEL]
            for i in range(len(steps)):
                n = p + steps[i]
                if cells[n, LABEL] == 0 and cells[n, KEY] <= limit:
                    cells[n, LABEL] = label
                    cells[n, KEY] = max(cells[n, KEY], key)
                    who[n] = len(steps) - 1 - i
                    push(_entry(n, cells[n, KEY]), now, q)
            at, now = least(now, q)


@inline
def _before(p, q, steps, cells, who):
    """Whether p was popped before q; False where one pixel pushed both: they have its label."""
    while p != q and cells[p, KEY] == cells[q, KEY]:
        by_p, by_q = who[p], who[q]
        if by_p == SEED or by_q == SEED:
            return by_p == SEED and (by_q != SEED or p < q)
        p, q = p + steps[by_p], q + steps[by_q]
    return cells[p, KEY] < cells[q, KEY]


@kernel
def _finish(row, end, origin, limit, steps, cells, who, out):
    """Rows of the answer: basins as they grew, and their shores."""
    height, width = out.shape[1:]
    for r in range(row, end):
        z, y = r // height, r % height
        for x in range(width):
            p = origin[0] + z * origin[1] + y * origin[2] + x
            out[z, y, x] = cells[p, LABEL]
            if cells[p, LABEL] != 0 or cells[p, KEY] <= limit:
                continue
            earliest = NONE
            for step in steps:
                q = p + step
                if cells[q, LABEL] == 0 or cells[q, KEY] > limit:
                    continue
                if earliest == NONE or _before(q, earliest, steps, cells, who):
                    earliest = q
            if earliest != NONE:
                out[z, y, x] = cells[earliest, LABEL]


class _Field(NamedTuple):
    """Pixels with a ring around them that stops what comes there; along axes of one pixel there is none."""

    cells: NDArray[np.int32]  # (n, 2)
    who: NDArray[np.uint8]  # (n,)
    origin: tuple[int, int, int]  # the first pixel's place; from slice to slice, from row to row
    steps: NDArray[np.int64]  # to neighbours, in scan order
    inside: tuple[slice, ...]
    shape: tuple[int, ...]  # with the ring


def flood(cost: NDArray[Any], seeds: NDArray[Any], limit: float) -> NDArray[np.int32]:
    """`Backend.flood`."""
    cost, seeds = np.ascontiguousarray(cost, np.float32), np.ascontiguousarray(seeds, np.int32)
    out, within = np.empty(cost.shape, np.int32), np.empty(cost.shape, bool)
    if not out.size:
        return out
    most, f = _key(np.float32(limit).view(np.int32)), _field(cost.shape)
    inside = f.cells.reshape(*f.shape, 2)[f.inside], f.who.reshape(f.shape)[f.inside]
    _by_rows(_prepare, out.shape, cost.view(np.int32), seeds, most, *inside, within)
    basin, count = components(within, 1)
    place, which = np.empty(out.size, np.int32), np.empty(out.size, np.int32)
    ends = np.zeros(count + 2, np.int64)
    found = _line_up(basin, f.origin, most, f.steps, f.cells, place, which, ends)
    lined = np.empty(found, np.int32)
    _sort(place[:found], which[:found], ends, lined)
    some = max(1, -(-count // PIECES))

    def work(i: int, q: Queue) -> None:
        _grow(i * some, min(count, (i + 1) * some), lined, ends, most, f.steps, f.cells, f.who, q)

    spread(-(-count // some), work, lambda: queue(out.size))
    _by_rows(_finish, out.shape, f.origin, most, f.steps, f.cells, f.who, out)
    return out


def _field(shape: tuple[int, ...]) -> _Field:
    """Room for an image, and the ring around it."""
    ring = [int(n > 1) for n in shape]
    padded = tuple(n + 2 * r for n, r in zip(shape, ring, strict=True))
    if prod(padded) > MOST:
        raise ShapeError(
            f"flooding {shape[0]} x {shape[1]} x {shape[2]} pixels, {MOST} can be flooded at once",
            hint="flood in blocks, or merge objects that touch",
        )
    cells, who = np.empty((*padded, 2), np.int32), np.empty(padded, np.uint8)
    for axis in (axis for axis in range(3) if ring[axis]):
        for end in (0, -1):
            cells[(slice(None),) * axis + (end,)] = OUTSIDE, 0
    inside = tuple(slice(r, r + n) for n, r in zip(shape, ring, strict=True))
    strides = np.array([padded[1] * padded[2], padded[2], 1], np.int64)
    along = strides[np.array(ring) > 0]
    origin = int(strides @ ring), int(strides[0]), int(strides[1])
    steps = np.concatenate([-along, along[::-1]])
    return _Field(cells.reshape(-1, 2), who.reshape(-1), origin, steps, inside, padded)


def _by_rows(work: Any, shape: tuple[int, ...], *arguments: Any) -> None:
    """Call a kernel for all rows of an image, some at a time."""
    rows, some = shape[0] * shape[1], max(1, PART // shape[2])
    spread(-(-rows // some), lambda i, _: work(i * some, min(rows, (i + 1) * some), *arguments), lambda: None)
