"""Skeletons of objects, each in its own box: which pixels, how they hang together, how long they are.

The method is SPEC 5.6's, step by step. An object is seen through a window: its box and one pixel around it,
`width` pixels a row; pixels there go by one number, the eight neighbours by `_STEPS` in scan order.
"""

from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.skeleton_tree import measure_tree
from gpuseg.backends._numba.threads import spread

BATCH = 64  # objects that a thread takes at a time
NUMBERS = 12  # per object, in the order of `skeletons`
FAR = np.int64(2**30)  # steps where a whole row is the object: more than any image has
QUEUED = 30  # bits of a key of the queue that count what came before; those above are the squared distance


def _removable(around: int) -> bool:
    """Whether thinning may take a pixel with these neighbours (bits in scan order, the first the highest).

    It must be simple (Yokoi's number is 1), not the end of a line, and not lie between two neighbours that
    face each other: that is a line already, with at most a side branch.
    """
    nw, n, ne, w, e, sw, s, se = (around >> (7 - k) & 1 for k in range(8))
    ring = [n, ne, e, se, s, sw, w, nw, n]
    gaps = sum(not ring[k] and (ring[k + 1] or ring[k + 2]) for k in range(0, 7, 2))
    end = sum(ring[:8]) < 3 and n + e + s + w < 2
    return gaps == 1 and not end and not (n and s) and not (e and w)


_REMOVABLE = np.array([_removable(around) for around in range(256)])


@apart
def _look(labels, label, box, mask, width):
    """Fill `mask` (1 on the object, 2 beyond the image) of the window around `box` (rows, then columns)."""
    height = mask.size // width
    for y in range(height):
        row = box[0, 0] - 1 + y
        for x in range(width):
            column = box[1, 0] - 1 + x
            if row < 0 or row >= labels.shape[0] or column < 0 or column >= labels.shape[1]:
                mask[y * width + x] = 2
            else:
                mask[y * width + x] = labels[row, column] == label


@apart
def _along_rows(mask, width, across):
    """Steps from each pixel of the object to the nearest other pixel of its row, the right of two; or FAR."""
    for start in range(0, mask.size, width):
        left = FAR
        for p in range(start, start + width):
            left = FAR if mask[p] == 2 else np.int64(0) if mask[p] == 0 else min(left + 1, FAR)
            across[p] = left
        right = FAR
        for p in range(start + width - 1, start - 1, -1):
            right = FAR if mask[p] == 2 else np.int64(0) if mask[p] == 0 else min(right + 1, FAR)
            across[p] = right if right <= across[p] else -across[p]


@apart
def _envelope(mask, width, across, x, rows, starts):
    """The lowest of the parabolas that stand on the rows of column x: how many, which, and from where on."""
    top = -1
    for y in range(mask.size // width):
        a = np.int64(across[y * width + x])
        if a == FAR:
            continue
        start = -1.0
        while top >= 0:
            b, d = np.int64(across[rows[top] * width + x]), y - rows[top]
            start = y + (a * a - b * b - d * d) / (2.0 * d)
            if start >= starts[top]:
                break
            start = -1.0
            top -= 1
        top += 1
        rows[top], starts[top] = y, start
    return top + 1


@apart
def _down_columns(mask, width, across, tip, distance):
    """Squared distance of the object's pixels to the nearest other pixel, and which; of equals the lowest.

    False if there is no other pixel: the object fills the image.
    """
    height = mask.size // width
    rows, starts = np.empty(height, np.int64), np.empty(height)
    for x in range(1, width - 1):
        count, k = _envelope(mask, width, across, x, rows, starts), 0
        if count == 0:
            return False
        for y in range(1, height - 1):
            p = y * width + x
            if mask[p] == 1:
                while k + 1 < count and starts[k + 1] <= y:
                    k += 1
                q = rows[k] * width + x
                tip[p] = q + across[q]
                distance[p] = (rows[k] - y) ** 2 + np.int64(across[q]) ** 2
    return True


@inline
def _apart(p, q, width):
    """How many steps of a king from p to q."""
    return max(abs(p // width - q // width), abs(p % width - q % width))


@inline
def _crosses(p, q, tip, width):
    """Which of two neighbours of one object is on the skeleton: p, q, or neither (-1)."""
    if _apart(tip[p], tip[q], width) <= 1:
        return -1
    dy, dx = q // width - p // width, q % width - p % width
    vy, vx = tip[q] // width - tip[p] // width, tip[q] % width - tip[p] % width
    both_y = tip[p] // width + tip[q] // width - p // width - q // width
    both_x = tip[p] % width + tip[q] % width - p % width - q % width
    along, aside = vy * dy + vx * dx, vy * both_y + vx * both_x
    return p if along * aside <= 0 else q


@inline
def _neighbours(p, width):
    """The eight around p in scan order."""
    above, below = p - width, p + width
    return above - 1, above, above + 1, p - 1, p + 1, below - 1, below, below + 1


@apart
def _mark(mask, width, tip, distance, marked):
    """Mark the pixels of the object whose neighbour has its nearest border somewhere else."""
    ends = [0 for _ in range(0)]
    for p in range(width, mask.size):
        for q in (p - width, p - 1):
            if mask[p] == 1 and mask[q] == 1:
                on = _crosses(p, q, tip, width)
                if on >= 0:
                    marked[on] = 1
                    if distance[on] == 4:
                        ends.append(on)
            elif mask[p] == 1 and mask[q] == 0 and _apart(tip[p], q, width) > 1:
                marked[p] = 1
            elif mask[q] == 1 and mask[p] == 0 and _apart(tip[q], p, width) > 1:
                marked[q] = 1
    for p in ends:  # a line that stops two pixels short of the border goes on to it
        near = 0
        for q in _neighbours(p, width):
            near += marked[q] == 1 and distance[q] < 4
        if near == 0:
            y, x = (p // width + tip[p] // width) // 2, (p % width + tip[p] % width) // 2
            marked[y * width + x] = 1


@inline
def _around(marked, p, width):
    """The eight neighbours of p as bits."""
    above, here, below = p - width, p, p + width
    bits = marked[above - 1] << 7 | marked[above] << 6 | marked[above + 1] << 5 | marked[here - 1] << 4
    return bits | marked[here + 1] << 3 | marked[below - 1] << 2 | marked[below] << 1 | marked[below + 1]


@inline
def _at_edge(mask, p, width):
    """Whether p lies at the border of the image."""
    return mask[p - width] == 2 or mask[p + width] == 2 or mask[p - 1] == 2 or mask[p + 1] == 2


@apart
def _thin(mask, width, distance, marked):
    """Unmark pixels that lines do not need, those next to the border first, in the order they came up."""
    places = [0 for _ in range(0)]
    queue = [np.int64(0) for _ in range(0)]
    for p in range(width, mask.size - width):
        if marked[p] and not _at_edge(mask, p, width) and _REMOVABLE[_around(marked, p, width)]:
            queue.append(distance[p] << QUEUED | len(places))
            places.append(p)
    heapify(queue)
    while queue:
        p = places[heappop(queue) & ((1 << QUEUED) - 1)]
        if not marked[p] or not _REMOVABLE[_around(marked, p, width)]:
            continue
        marked[p] = 0
        for q in _neighbours(p, width):
            if marked[q] and not _at_edge(mask, q, width) and _REMOVABLE[_around(marked, q, width)]:
                heappush(queue, distance[q] << QUEUED | len(places))
                places.append(q)


@apart
def _skeleton(labels, label, box, width, size, pixel, threshold, out):
    mask, marked = np.empty(size, np.uint8), np.zeros(size, np.uint8)
    across, tip, distance = np.empty(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int64)
    _look(labels, label, box, mask, width)
    _along_rows(mask, width, across)
    if not _down_columns(mask, width, across, tip, distance):
        return
    _mark(mask, width, tip, distance, marked)
    _thin(mask, width, distance, marked)
    out[:6] = 0.0
    if not np.any(marked):
        return  # a pixel or two
    measure_tree(mask, width, pixel, distance, marked, threshold, out)
    for k in range(6, 12, 2):
        out[k] += box[1, 0] - 1
        out[k + 1] += box[0, 0] - 1


@kernel
def _skeletons(labels, boxes, pixel, first, last, threshold, out):
    for i in range(first, last):
        box = boxes[i]
        width = box[1, 1] - box[1, 0] + 3
        size = (box[0, 1] - box[0, 0] + 3) * width
        if size < 9 or width < 3:
            continue
        _skeleton(labels, i + 1, box, width, size, pixel, threshold, out[i])


def skeletons(
    labels: NDArray[np.int32],
    boxes: NDArray[np.int64],
    pixel: tuple[float, float] = (1.0, 1.0),
    threshold: float = 0.2,
) -> NDArray[np.float64]:
    """What the skeleton of each object is like: (n, 12); places are NaN where there is none.

    branches, holes, diameter, straight diameter, total length, mean length of branches; x and y of centre,
    one end and the other, in pixels. boxes: (n, 2, 2) least and largest row, then column. pixel: its size
    along y and x, for lengths. threshold: part of the main branch's salience that others need to stay.
    All is NaN of an object that fills the image: it has no border.
    """
    out = np.full((len(boxes), NUMBERS), np.nan)
    boxes, pixel = np.ascontiguousarray(boxes, np.int64), (float(pixel[0]), float(pixel[1]))

    def work(i: int, _: Any) -> None:
        _skeletons(labels, boxes, pixel, i * BATCH, min((i + 1) * BATCH, len(boxes)), threshold, out)

    spread(-(-len(boxes) // BATCH), work, lambda: None)
    return out
