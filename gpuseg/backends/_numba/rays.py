"""Objects seen from their middle: the mean along rays, after the box is stretched to a cube (SPEC 5.7)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.threads import spread

SIDE = 80  # of the square or cube
STEP = 0.003  # along a ray, at most a little more; a cell between two steps is not seen


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
def _stretch(values, mask, out):
    """Interpolate linearly to SIDE cells along each axis; NaN where the nearest pixel is not in `mask`.

    out: (1 or SIDE, SIDE, SIDE), one slice for images of one slice.
    """
    depth, height, width = values.shape
    for i in range(len(out)):
        z = _position(i, depth) if len(out) > 1 else 0.0
        z0 = int(z)
        z1, wz = min(z0 + 1, depth - 1), z - z0
        for j in range(SIDE):
            y = _position(j, height)
            y0 = int(y)
            y1, wy = min(y0 + 1, height - 1), y - y0
            for k in range(SIDE):
                x = _position(k, width)
                x0 = int(x)
                x1, wx = min(x0 + 1, width - 1), x - x0
                if not mask[int(z + 0.5), int(y + 0.5), int(x + 0.5)]:
                    out[i, j, k] = np.nan
                    continue
                a = (1 - wx) * values[z0, y0, x0] + wx * values[z0, y0, x1]
                b = (1 - wx) * values[z0, y1, x0] + wx * values[z0, y1, x1]
                c = (1 - wx) * values[z1, y0, x0] + wx * values[z1, y0, x1]
                d = (1 - wx) * values[z1, y1, x0] + wx * values[z1, y1, x1]
                out[i, j, k] = (1 - wz) * ((1 - wy) * a + wy * b) + wz * ((1 - wy) * c + wy * d)


@kernel
def _project(values, mask, cells, starts, cube, out):
    _stretch(values, mask, cube)
    flat = cube.reshape(-1)
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

    def work(i: int, cube: NDArray[np.float64]) -> None:
        region = tuple(slice(low, high + 1) for low, high in boxes[which[i]].tolist())
        mask = labels[region] == which[i] + 1
        _project(_blurred(values[region]), mask, cells, starts, cube, out[i])

    spread(len(which), work, lambda: np.empty(shape))
    return out


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """As float64, smoothed along axes that will shrink: by half of what a cell is larger than a pixel."""
    sigmas = [max(0.0, (n / SIDE - 1) / 2) for n in values.shape]
    found: NDArray[Any] = np.ascontiguousarray(values, np.float64)
    return ndimage.gaussian_filter(found, sigmas, mode="mirror") if any(sigmas) else found
