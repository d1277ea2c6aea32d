"""Objects seen from their middle: the mean along rays, after the box is stretched to a cube (SPEC 5.7)."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.threads import spread

SIDE = 80  # of the square or cube
STEP = 0.003  # along a ray, at most a little more; a cell between two steps is not seen
BATCH = 32  # objects of a flat image that a thread takes at a time


@inline
def _step(direction):
    """Distance of the points on a ray: they divide its way to the border of a cube of twice the size."""
    far = np.inf
    for d in direction:
        if d > 1e-6:
            far = min(far, (SIDE - 0.4) / d)
        elif d < -1e-6:
            far = min(far, SIDE / -d)
    return far / (int(far / STEP) - 1)


@inline
def _leaves(cell, d):
    """Number of the first point whose coordinate lies in another cell; d: from one point to the next."""
    if d > 0:
        return np.ceil((cell + 1 - SIDE // 2) / d)
    return np.floor((SIDE // 2 - cell) / -d) + 1 if d < 0 else np.inf


@inline
def _cell(point, d):
    """The cell in which a point's coordinate lies."""
    return np.int64(np.floor(SIDE // 2 + point * d))


@apart
def _follow(direction, flat, cells, count):
    """Write the cells of a ray to `cells` (unless it is empty) and say how many there are then."""
    h, point, before = _step(direction), 0.0, -1
    dx, dy, dz = direction[0] * h, direction[1] * h, direction[2] * h
    x = y = z = _cell(0.0, dx)
    while min(x, y, z) >= 0 and max(x, y, z) < SIDE:
        place = y * SIDE + x + (0 if flat else z * SIDE * SIDE)
        if place != before:
            if cells.size:
                cells[count] = place
            count += 1
            before = place
        # At least one further: rounding may leave the next point in the same cell.
        point = max(point + 1, min(_leaves(x, dx), _leaves(y, dy), _leaves(z, dz)))
        x, y, z = _cell(point, dx), _cell(point, dy), _cell(point, dz)
    return count


@kernel
def _follow_all(directions, flat, starts, cells):
    count = 0
    for i in range(len(directions)):
        starts[i] = count
        count = _follow(directions[i], flat, cells, count)
    starts[len(directions)] = count


def rays(directions: NDArray[np.float64], flat: bool) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Cells along rays from the middle of the cube: those of ray i are `cells[starts[i]:starts[i + 1]]`.

    directions: (n, 3) x, y, z. flat: cells of one slice (y, x), for directions within it; else (z, y, x).
    """
    # sin(2 pi) is -2e-16: taken as it is, the ray along x would run in the row below.
    directions = np.where(np.abs(directions) < 1e-12, 0.0, directions)
    starts, none = np.empty(len(directions) + 1, np.int64), np.empty(0, np.int32)
    _follow_all(directions, flat, starts, none)
    cells = np.empty(starts[-1], np.int32)
    _follow_all(directions, flat, starts, cells)
    return cells, starts


@inline
def _position(i, n):
    """Where sample i of SIDE lies among n, mirrored at the first and the last of them."""
    p = abs((i + 0.5) * n / SIDE - 0.5)
    return max(0.0, min(p, 2 * (n - 1) - p))


@apart
def _samples(box, before, share, nearest):
    """Where SIDE samples along each axis lie: the pixel before, how far past that, the nearest pixel."""
    for axis in range(3):
        for i in range(SIDE):
            p = _position(i, box[axis, 1] - box[axis, 0] + 1)
            before[axis, i], share[axis, i], nearest[axis, i] = int(p), p - int(p), int(p + 0.5)


@apart
def _widen(values, z, before, share, out):
    """Interpolate each row of a slice linearly to SIDE cells."""
    _, height, width = values.shape
    for y in range(height):
        for k in range(SIDE):
            x, w = before[2, k], share[2, k]
            out[z % 2, y, k] = (1 - w) * values[z, y, x] + w * values[z, y, min(x + 1, width - 1)]


@apart
def _stretch(values, labels, label, box, out):
    """Interpolate linearly to SIDE cells along each axis; NaN where the nearest pixel is not the object's.

    values: of its box. out: (1 or SIDE, SIDE, SIDE), one slice for images of one slice.
    """
    depth, height, _ = values.shape
    before, share = np.empty((3, SIDE), np.int64), np.empty((3, SIDE))
    nearest, wide = np.empty((3, SIDE), np.int64), np.empty((2, height, SIDE))
    _samples(box, before, share, nearest)
    even = odd = -1  # slices that are in `wide`: two are needed at a time, and often again
    for i in range(len(out)):
        z0, wz = before[0, i], share[0, i]
        z1 = min(z0 + 1, depth - 1)
        for z in range(z0, z1 + 1):
            if z != (odd if z % 2 else even):
                _widen(values, z, before, share, wide)
            even, odd = (even, z) if z % 2 else (z, odd)
        front, back = wide[z0 % 2], wide[z1 % 2]
        for j in range(SIDE):
            y0, wy = before[1, j], share[1, j]
            y1 = min(y0 + 1, height - 1)
            for k in range(SIDE):
                near = (1 - wy) * front[y0, k] + wy * front[y1, k]
                far = (1 - wy) * back[y0, k] + wy * back[y1, k]
                out[i, j, k] = (1 - wz) * near + wz * far
            z, y = box[0, 0] + nearest[0, i], box[1, 0] + nearest[1, j]
            for k in range(SIDE):
                if labels[z, y, box[2, 0] + nearest[2, k]] != label:
                    out[i, j, k] = np.nan


@apart
def _average(flat, cells, starts, out):
    """Mean along each ray, to where it first leaves the object."""
    for i in range(out.size):
        middle = flat[cells[starts[i]]]
        total = -1.0 if np.isnan(middle) else np.float64(middle)  # -1 where the middle is not the object's
        n = 1
        for p in range(starts[i] + 1, starts[i + 1]):
            value = flat[cells[p]]
            if np.isnan(value):
                break
            total += value
            n += 1
        out[i] = total / n


@apart
def _cut(values, box):
    """The box of an object."""
    low = box[:, 0]
    out = np.empty((box[0, 1] - low[0] + 1, box[1, 1] - low[1] + 1, box[2, 1] - low[2] + 1))
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                out[z, y, x] = values[low[0] + z, low[1] + y, low[2] + x]
    return out


@kernel
def _project(labels, values, smoothed, boxes, which, rows, cells, starts, cube, out):
    for row in rows:
        box = boxes[which[row]]
        part = smoothed if smoothed.size else _cut(values, box)
        _stretch(part, labels, which[row] + 1, box, cube)
        _average(cube.reshape(-1), cells, starts, out[row])


def projections(
    labels: NDArray[np.int32],
    values: NDArray[np.float32],
    boxes: NDArray[np.int64],
    which: NDArray[np.intp],
    cells: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Mean from the middle of each object's box to where a ray first leaves it: (objects, rays).

    labels, values: (z, y, x). boxes: (n, 3, 2) least and largest z, y, x. which: rows of `boxes`, the objects
    that are asked for. cells, starts: of `rays`, along a flat image if that has one slice.
    """
    out = np.empty((len(which), len(starts) - 1))
    shape = (1 if labels.shape[0] == 1 else SIDE, SIDE, SIDE)
    labels, values = np.ascontiguousarray(labels), np.ascontiguousarray(values)  # compiled for no other
    boxes = np.ascontiguousarray(boxes, np.int64)
    batch = BATCH if shape[0] == 1 else 1
    sizes = boxes[which, :, 1] - boxes[which, :, 0] + 1
    shrunk = (sizes > SIDE).any(1)
    large, small = np.flatnonzero(shrunk), np.flatnonzero(~shrunk)
    none = np.empty((0, 0, 0))

    def work(i: int, cube: NDArray[np.float64]) -> None:
        smoothed, rows = none, small[(i - len(large)) * batch :][:batch]
        if i < len(large):
            rows = large[i : i + 1]
            box = boxes[which[rows[0]]].tolist()
            smoothed = _smoothed(values[tuple(slice(low, high + 1) for low, high in box)])
        _project(labels, values, smoothed, boxes, which, rows, cells, starts, cube, out)

    spread(len(large) - (-len(small) // batch), work, lambda: np.empty(shape))
    return out


def _smoothed(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """As float64, smoothed along axes that will shrink: by half of what a cell is larger than a pixel."""
    sigmas = [max(0.0, (n / SIDE - 1) / 2) for n in values.shape]
    found = np.ascontiguousarray(values, np.float64)
    smoothed: NDArray[np.float64] = ndimage.gaussian_filter(found, sigmas, mode="mirror")
    return smoothed
