"""The border of each object: how often lines enter it, its Euler number, the hull of its pixel squares."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.threads import spread

BATCH = 64  # objects that a thread takes at a time


class Outlines(NamedTuple):
    """One row for each object."""

    entries: NDArray[np.int64]  # (n, directions) pixels whose predecessor in a direction is not the object's
    euler: NDArray[np.int64]  # (n,) parts less holes (plus cavities), neighbours sharing a face
    hull: NDArray[np.float64]  # (n, 3) area, largest and smallest width of the hull; NaN in volumes


@apart
def _cut(labels, label, box, rim):
    """The object in its box, 0 in the `rim` (pixels along z, y, x) around it."""
    low = box[:, 0]
    depth, height, width = box[0, 1] - low[0] + 1, box[1, 1] - low[1] + 1, box[2, 1] - low[2] + 1
    mask = np.zeros((depth + 2 * rim[0], height + 2 * rim[1], width + 2 * rim[2]), np.uint8)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = labels[low[0] + z, low[1] + y, low[2] + x] == label
                mask[rim[0] + z, rim[1] + y, rim[2] + x] = here
    return mask


@apart
def _enter(mask, steps, entries):
    """Count pixels of the object whose predecessor is not the object's, for each direction."""
    flat, (_, height, width) = mask.reshape(-1), mask.shape
    for k in range(len(steps)):
        back = (steps[k, 0] * height + steps[k, 1]) * width + steps[k, 2]
        count = 0
        for p in range(back, flat.size):
            count += flat[p] & (1 - flat[p - back])
        entries[k] = count


@apart
def _euler(mask):
    """Pixels less pairs of neighbours plus squares of four less cubes of eight."""
    flat, (depth, height, width) = mask.reshape(-1), mask.shape
    count = 0
    for p in range(flat.size - width - 1):
        if flat[p]:
            x, y, xy = flat[p + 1], flat[p + width], flat[p + 1] & flat[p + width] & flat[p + width + 1]
            count += 1 - np.int64(x) - y + xy
            if depth > 1:
                q = p + height * width
                z, xz, yz = flat[q], flat[q] & flat[q + 1] & x, flat[q] & flat[q + width] & y
                count += np.int64(xz) + yz - z - (xy & xz & yz & flat[q + width + 1])
    return count


@inline
def _turn(a, b, c):
    """Twice the area of a triangle, positive if it turns from x towards y."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@apart
def _side(mask, right, points, count):
    """Append the corners (x, y) of the hull on one side, downwards on the right, upwards on the left."""
    first, height = count, mask.shape[0]
    for level in range(height + 1):
        y = level if right else height - level
        edge, found = (-1 if right else mask.shape[1] + 1), False
        for row in range(max(y - 1, 0), min(y + 1, height)):
            for x in range(mask.shape[1]):
                if mask[row, x]:
                    edge, found = (max(edge, x + 1) if right else min(edge, x)), True
        if not found:
            continue
        points[count] = edge, y
        while count >= first + 2 and _turn(points[count - 2], points[count - 1], points[count]) <= 0:
            points[count - 1] = points[count]
            count -= 1
        count += 1
    return count


@apart
def _hull(mask, pixel, out):
    """Area, largest and smallest width of the convex hull of the squares; pixel: their size along y and x."""
    corners = np.empty((2 * mask.shape[0] + 3, 2), np.int64)
    count = _side(mask, False, corners, _side(mask, True, corners, 0))
    points = np.empty((count, 2))
    for i in range(count):
        points[i] = corners[i, 0] * pixel[1], corners[i, 1] * pixel[0]
    area, largest, smallest = 0.0, 0.0, np.inf
    for i in range(count):
        a, b = points[i], points[(i + 1) % count]
        area += a[0] * b[1] - a[1] * b[0]
        length, width = np.hypot(b[0] - a[0], b[1] - a[1]), 0.0
        for j in range(count):
            c = points[j]
            largest = max(largest, np.hypot(c[0] - a[0], c[1] - a[1]))
            width = max(width, _turn(a, b, c))
        smallest = min(smallest, width / length)
    out[0], out[1], out[2] = area / 2, largest, smallest


@kernel
def _outlines(labels, boxes, steps, pixel, first, last, entries, euler, hull):
    flat = labels.shape[0] == 1
    rim = (0 if flat else 1, 1, 1)
    for i in range(first, last):
        box = boxes[i]
        if box[0, 1] < box[0, 0]:
            continue
        mask = _cut(labels, i + 1, box, rim)
        _enter(mask, steps, entries[i])
        euler[i] = _euler(mask)
        if flat:
            _hull(mask[0], pixel, hull[i])


def outlines(
    labels: NDArray[np.int32],
    boxes: NDArray[np.int64],
    steps: NDArray[np.int64],
    pixel: tuple[float, float] = (1.0, 1.0),
) -> Outlines:
    """Of objects 1 to n in labels (z, y, x); where the image ends, so do they.

    boxes: (n, 3, 2) least and largest z, y, x. steps: (directions, 3) from a pixel to the next along z, y, x,
    at most 1. pixel: its size along y and x, for hulls.
    """
    n, size = len(boxes), (float(pixel[0]), float(pixel[1]))
    found = Outlines(np.zeros((n, len(steps)), np.int64), np.zeros(n, np.int64), np.full((n, 3), np.nan))
    boxes, steps = np.ascontiguousarray(boxes, np.int64), np.ascontiguousarray(steps, np.int64)

    def work(i: int, _: Any) -> None:
        _outlines(labels, boxes, steps, size, i * BATCH, min((i + 1) * BATCH, n), *found)

    spread(-(-n // BATCH), work, lambda: None)
    return found
