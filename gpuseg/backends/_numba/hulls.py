"""Convex hulls of all objects, and what lies between hull and object, on all cores.

A hull is that of pixel centres, and exact: coordinates count from the box, products of them are integers.
It is found as the part of each row that lies inside. In a slice, two chains of row ends give it; in a volume,
half spaces of facets, of a hull that the corners of the chains of all slices span. What is in it and not of
the object are runs of pixels, joined where they touch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.threads import spread
from gpuseg.backends._numba.unions import find

PIECE = 2**18  # pixels of boxes that one thread takes at a time
GOLDEN = 0.618034  # part of the points to go on by: each is far from those before it


def hulls(
    labels: NDArray[np.int32],
    boxes: NDArray[np.int64],
    counts: NDArray[np.int64],
    centers: NDArray[np.int64],
    spacing: tuple[float, float, float],
) -> dict[str, NDArray[Any]]:
    """Numbers of the hulls of n objects, and of the defects: what is missing in them, by components.

    boxes, counts, centers: as in `backends.base.SUMS`. Of the answers, `hull` is int64 (n, 4), pixels and
    sums of their coordinates; `defects` int64 (n,), how many; `sizes` float64 (n, 3), sums of the powers 2,
    3, 4 of their sizes less the mean; `away` float64 (n,), sum of size times distance from the object.
    """
    n = len(boxes)
    out = {
        "hull": np.zeros((n, 4), np.int64),
        "defects": np.zeros(n, np.int64),
        "sizes": np.zeros((n, 3)),
        "away": np.zeros(n),
    }
    pixels = (boxes[..., 1] - boxes[..., 0] + 1).prod(axis=1)
    starts = np.unique((np.cumsum(pixels) - pixels) // PIECE, return_index=True)[1]
    parts = list(zip(starts.tolist(), [*starts[1:].tolist(), n], strict=False))
    given = labels, boxes, counts, centers, np.array(spacing)
    spread(len(parts), lambda i, _: _hulls(*given, *parts[i], *out.values()), lambda: None)
    return out


@kernel
def _hulls(labels, boxes, counts, centers, spacing, first, last, hull, defects, sizes, away):
    for i in range(first, last):
        if not counts[i]:
            continue
        box = boxes[i]
        deep, high, wide = box[0, 1] - box[0, 0] + 1, box[1, 1] - box[1, 0] + 1, box[2, 1] - box[2, 0] + 1
        here = labels[box[0, 0] : box[0, 1] + 1, box[1, 0] : box[1, 1] + 1, box[2, 0] : box[2, 1] + 1]
        begin, end = np.empty((deep, high), np.int64), np.empty((deep, high), np.int64)
        _extents(here, i + 1, begin, end)
        if deep == 1:
            _fill_slice(begin[0], end[0])
        else:
            _fill_volume(begin, end, wide)
        _sum_rows(box, begin, end, hull[i])
        if hull[i, 0] > counts[i]:
            center = np.empty(3)
            for axis in range(3):
                center[axis] = (centers[i, axis] - counts[i] * box[axis, 0]) / counts[i]
            missing = hull[i, 0] - counts[i]
            defects[i], away[i] = _defects(here, i + 1, begin, end, missing, center, spacing, sizes[i])


@inline
def _extents(here, label, begin, end):
    """First and last pixel of each row; begin after end where there is none."""
    deep, high, wide = here.shape
    for z in range(deep):
        for y in range(high):
            a, b = wide, -1
            for x in range(wide):
                if here[z, y, x] == label:
                    a, b = min(a, x), x
            begin[z, y], end[z, y] = a, b


@inline
def _sum_rows(box, begin, end, hull):
    """Pixels in all rows, and sums of their coordinates."""
    for z in range(begin.shape[0]):
        for y in range(begin.shape[1]):
            n = max(end[z, y] + 1 - begin[z, y], 0)
            hull[0] += n
            hull[1] += n * (z + box[0, 0])
            hull[2] += n * (y + box[1, 0])
            hull[3] += n * (begin[z, y] + end[z, y]) // 2 + n * box[2, 0]


@inline
def _chain(begin, end, side, rows):
    """Rows at which the hull of a slice has corners, on one side (1: begin, -1: end); how many."""
    at, n = begin if side > 0 else end, 0
    for c in range(begin.size):
        if begin[c] > end[c]:
            continue
        while n > 1:
            a, b = rows[n - 2], rows[n - 1]
            if side * ((at[b] - at[a]) * (c - a) - (at[c] - at[a]) * (b - a)) < 0:
                break
            n -= 1
        rows[n], n = c, n + 1
    return n


@apart
def _fill_slice(begin, end):
    """Make rows reach from one side of the hull to the other; both are corners in the first and last."""
    left, right = np.empty(begin.size, np.int64), np.empty(begin.size, np.int64)
    n, m = _chain(begin, end, 1, left), _chain(begin, end, -1, right)
    _draw(begin, 1, left[:n])
    _draw(end, -1, right[:m])


@inline
def _draw(at, side, rows):
    """Straight lines between corners, rounded into the hull."""
    for i in range(rows.size - 1):
        a, b = rows[i], rows[i + 1]
        step, start = side * (at[b] - at[a]), side * at[a]
        for y in range(a + 1, b):
            at[y] = side * (start - (-step * (y - a)) // (b - a))


@apart
def _fill_volume(begin, end, wide):
    """Make rows reach from one side of the hull to the other."""
    deep, high = begin.shape
    points = np.empty((2 * begin.size + 3, 3), np.int64)
    n = _corners(begin, end, points)
    planes, m = _polytope(points, n)
    begin[...], end[...] = 0, wide - 1
    for f in range(m):
        a, b, c, d = planes[f, 0], planes[f, 1], planes[f, 2], planes[f, 3]
        for z in range(deep):
            for y in range(high):
                rest = d - a * z - b * y  # the hull has c * x <= rest
                if c > 0:
                    if c * end[z, y] > rest:
                        end[z, y] = rest // c
                elif c < 0:
                    if c * begin[z, y] > rest:
                        begin[z, y] = -(rest // -c)
                elif rest < 0:
                    end[z, y] = -1


@inline
def _corners(begin, end, points):
    """Corners of the hulls of all slices."""
    n, rows = 0, np.empty(begin.shape[1], np.int64)
    for z in range(begin.shape[0]):
        for side in (1, -1):
            for i in range(_chain(begin[z], end[z], side, rows)):
                y = rows[i]
                points[n, 0], points[n, 1] = z, y
                points[n, 2], n = begin[z, y] if side > 0 else end[z, y], n + 1
    return n


@apart
def _polytope(points, n):
    """Planes a * z + b * y + c * x <= d that enclose the hull of the first n points; how many.

    It grows from a tetrahedron. A point that sees facets replaces them by the cone over their rim. Points in
    one plane or on one line lack corners of the tetrahedron: those are made up, and planes through the true
    ones added, on which the hull lies. Some two of the points are different.
    """
    corner = np.empty(4, np.int64)
    rank = _tetrahedron(points, n, corner)
    most = 2 * (n + 4) + 6
    facets, planes = np.empty((most, 3), np.int64), np.empty((most, 4), np.int64)
    for f in range(4):
        a, b, c = corner[f], corner[(f + 1) & 3], corner[(f + 2) & 3]
        _facet(points, a, b, c, facets[f], planes[f])
        if _height(planes[f], points[corner[(f + 3) & 3]]) > 0:
            _facet(points, b, a, c, facets[f], planes[f])
    m, seen, rim = 4, np.empty(most, np.int64), np.empty((most, 2), np.int64)
    step = _stride(n)
    for j in range(n):
        m = _insert(points, j * step % n, facets, planes, m, seen, rim)
    for k in range(2, 5 - rank):
        _facet(points, corner[0], corner[1], corner[k], facets[m], planes[m])
        planes[m + 1] = -planes[m]
        m += 2
    return planes, m


@inline
def _tetrahedron(points, n, corner):
    """Corners, made up and put after the n points where those are in a plane; how many are true, less 1."""
    corner[:], rank, made = 0, 0, n
    u = normal = (np.int64(0), np.int64(0), np.int64(0))
    for k in range(1, 4):
        best = 0
        for i in range(1, n):
            leads = _spanned(_away(points, 0, i), u, normal, k)
            if leads > best:
                best, corner[k] = leads, i
        if best:
            rank += 1
        else:
            axis = 0
            for i in range(1, 3):
                better = abs(u[i]) < abs(u[axis]) if k == 2 else abs(normal[i]) > abs(normal[axis])
                axis = i if better else axis
            points[made] = points[0]
            points[made, axis] += 1
            corner[k], made = made, made + 1
        if k == 1:
            u = _away(points, 0, corner[1])
        elif k == 2:
            normal = _cross(u, _away(points, 0, corner[2]))
    return rank


@inline
def _spanned(v, u, normal, k):
    """How far v leads out of what the k corners before span; 0 if it does not."""
    if k == 3:
        return abs(v[0] * normal[0] + v[1] * normal[1] + v[2] * normal[2])
    w = _cross(u, v) if k == 2 else v
    return abs(w[0]) + abs(w[1]) + abs(w[2])


@inline
def _away(points, a, b):
    """From point a to point b: a tuple, for arrays would take most of the time."""
    return points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]


@inline
def _cross(u, v):
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


@inline
def _facet(points, a, b, c, facet, plane):
    """Triangle a, b, c, and the plane through it."""
    facet[0], facet[1], facet[2] = a, b, c
    z, y, x = _cross(_away(points, a, b), _away(points, a, c))
    plane[0], plane[1], plane[2] = z, y, x
    plane[3] = z * points[a, 0] + y * points[a, 1] + x * points[a, 2]


@inline
def _height(plane, point):
    return plane[0] * point[0] + plane[1] * point[1] + plane[2] * point[2] - plane[3]


@inline
def _stride(n):
    """About 0.618 n, without a common divisor."""
    step = max(int(n * GOLDEN), 1)
    while np.gcd(step, n) > 1:
        step += 1
    return step


@inline
def _insert(points, i, facets, planes, m, seen, rim):
    """Take a point into the hull of m facets; how many it has then."""
    n = edges = 0
    for f in range(m):
        if _height(planes[f], points[i]) > 0:
            seen[n], n = f, n + 1
    for k in range(n):
        for e in range(3):
            a, b = facets[seen[k], e], facets[seen[k], (e + 1) % 3]
            if not _has_edge(facets, seen, n, b, a):
                rim[edges, 0], rim[edges, 1], edges = a, b, edges + 1
    for k in range(edges):
        if k < n:
            f = seen[k]
        else:
            f, m = m, m + 1
        _facet(points, rim[k, 0], rim[k, 1], i, facets[f], planes[f])
    for k in range(n - 1, edges - 1, -1):  # from the last: the one that takes its place is not to go
        m -= 1
        facets[seen[k]], planes[seen[k]] = facets[m], planes[m]
    return m


@inline
def _has_edge(facets, seen, n, a, b):
    for k in range(n):
        f = seen[k]
        for e in range(3):
            if facets[f, e] == a and facets[f, (e + 1) % 3] == b:
                return True
    return False


@apart
def _defects(here, label, begin, end, missing, center, spacing, sizes):
    """Number of components that are missing, and their size times distance; powers of sizes into `sizes`."""
    runs, rows = _find_runs(here, label, begin, end)
    parent = np.arange(len(runs))
    deep, high = begin.shape
    for z in range(deep):
        for y in range(high):
            row = z * high + y
            if y:
                _join(runs, rows, row, row - 1, parent)
            if z:
                _join(runs, rows, row, row - high, parent)
    parts = np.zeros((len(runs), 4), np.int64)
    for row in range(deep * high):
        for r in range(rows[row], rows[row + 1]):
            p, n = parts[find(parent, r)], runs[r, 1] - runs[r, 0]
            p[0] += n
            p[1] += n * (row // high)
            p[2] += n * (row % high)
            p[3] += n * (runs[r, 0] + runs[r, 1] - 1) // 2
    count, away = 0, 0.0
    for r in range(len(runs)):
        if parent[r] == r:
            n, square = parts[r, 0], 0.0
            for axis in range(3):
                square += ((parts[r, axis + 1] / n - center[axis]) * spacing[axis]) ** 2
            count, away = count + 1, away + n * np.sqrt(square)
    for r in range(len(runs)):
        if parent[r] == r:
            more = parts[r, 0] - missing / count
            sizes[0] += more**2
            sizes[1] += more**3
            sizes[2] += more**4
    return count, away


@inline
def _find_runs(here, label, begin, end):
    """Runs of pixels of the hull that are not of the object, and the first run of each row."""
    deep, high = begin.shape
    rows = np.zeros(deep * high + 1, np.int64)
    runs = np.empty((0, 2), np.int32)
    for storing in range(2):
        n = 0
        for row in range(deep * high):
            z, y, before = row // high, row % high, False
            rows[row] = n
            for x in range(begin[z, y], end[z, y] + 1):
                free = here[z, y, x] != label
                if free and not before:
                    if storing:
                        runs[n, 0] = x
                    n += 1
                if free and storing:
                    runs[n - 1, 1] = x + 1
                before = free
        rows[-1] = n
        if not storing:
            runs = np.empty((n, 2), np.int32)
    return runs, rows


@inline
def _join(runs, rows, one, other, parent):
    """Join the runs of two rows where they touch."""
    i, j = rows[one], rows[other]
    while i < rows[one + 1] and j < rows[other + 1]:
        if runs[i, 0] < runs[j, 1] and runs[j, 0] < runs[i, 1]:
            a, b = find(parent, i), find(parent, j)
            parent[max(a, b)] = min(a, b)
        if runs[i, 1] < runs[j, 1]:
            i += 1
        else:
            j += 1
