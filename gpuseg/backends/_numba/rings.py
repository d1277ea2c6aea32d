"""Neighbourhoods of all objects, each in its own box, on all cores.

A pixel is near an object if it is less than M from a pixel of it, weighted by the pitch of each axis. Squares
of weighted distances are integers, so nothing is rounded. An object is a list of runs; a run covers part of
every row nearby, the more the closer it is. What all runs cover of a row is its part of the neighbourhood:
for compact objects one span, whose values are copied in one piece. All sums run over these copies.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import WIDTH, apart, inline, kernel, lane, larger, load, splat
from gpuseg.backends._numba.threads import spread

RING, BOTH = 0, 1  # first index of the answers: the ring; the ring and its object
PIECE = 2**18  # pixels of boxes that one thread takes at a time: about a millisecond of work
BINS = 64

Margin = tuple[int, int, int]  # along z, y, x


def sums(
    labels: NDArray[np.int32], raw: NDArray[np.float32], boxes: NDArray[np.int64], margin: Margin
) -> dict[str, NDArray[Any]]:
    """Sums over rings and over rings with their objects, by the names of `backends.base.SUMS`: (2, n, ...).

    boxes: int64 (n, 3, 2), least and largest coordinate of each object. Histograms, int32 and of images of
    one channel only, range from the least to the largest value of each region.
    """
    n, c = len(boxes), len(raw)
    out: dict[str, NDArray[Any]] = {
        "count": np.zeros((2, n), np.int64),
        "sum": np.zeros((2, n, c)),
        "extremes": np.empty((2, n, c, 2), np.float32),
        "moments": np.zeros((2, n, c, 3)),
        "covariance": np.zeros((2, n, c, c) if c > 1 else (2, n, 0, 0)),
        "histogram": np.zeros((2, n, 1, BINS) if c == 1 else (2, n, 0, 0), np.int32),
    }
    out["extremes"][...] = np.inf, -np.inf

    def work(first: int, last: int, *metric: NDArray[Any]) -> None:
        _sums(labels, raw, boxes, first, last, *metric, *out.values())

    _in_pieces(labels.shape, boxes, margin, work)
    out["extremes"][out["count"] == 0] = np.nan
    return out


def _covers(margin: Margin, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Pixels to both sides that a pixel covers so many slices, so many rows away; in front, in how many rows.

    A step along an axis without margin is as long as M: neighbours have the same coordinate.
    """
    most = max(margin)
    pitch = [most // m if m else most for m in margin]
    z, y = (np.arange(min(-(-most // p), n)) * p for p, n in zip(pitch[:2], shape, strict=False))
    rest = most**2 - 1 - (z[:, None] ** 2 + y**2)
    reaches = np.sqrt(np.maximum(rest, 0)) // pitch[2]
    return np.concatenate([(rest >= 0).sum(1, keepdims=True), reaches], 1).astype(np.int32)


def _in_pieces(
    shape: tuple[int, ...], boxes: NDArray[np.int64], margin: Margin, work: Callable[..., None]
) -> None:
    """Call `work` for runs of objects whose crops hold about `PIECE` pixels together."""
    low = np.maximum(boxes[..., 0] - margin, 0)
    high = np.minimum(boxes[..., 1] + margin + 1, shape)
    pixels = np.maximum(high - low, 1).prod(axis=1)
    starts = np.unique((np.cumsum(pixels) - pixels) // PIECE, return_index=True)[1]
    parts = list(zip(starts.tolist(), [*starts[1:].tolist(), len(boxes)], strict=False))
    metric = np.array(margin), _covers(margin, shape)
    spread(len(parts), lambda i, _: work(*parts[i], *metric), lambda: None)


@kernel
def _sums(
    labels, raw, boxes, first, last, margin, table, count, total, extremes, moments, covariance, histogram
):
    around, inside, runs, rows, marks = _scratch(labels, raw, boxes, first, last, margin)
    spare, products = np.empty(3), np.empty((len(raw), len(raw)))
    for i in range(first, last):
        ring, own = _gather(labels, raw, boxes, i, margin, table, around, inside, runs, rows, marks)
        count[RING, i], count[BOTH, i] = ring, ring + own
        for k in range(len(raw)):
            a, b = around[k, :ring], inside[k, :own]
            total[RING, i, k] = _total(a)
            total[BOTH, i, k] = total[RING, i, k] + _total(b)
            _extend(a, extremes[RING, i, k])
            extremes[BOTH, i, k] = extremes[RING, i, k]
            _extend(b, extremes[BOTH, i, k])
            mean = total[BOTH, i, k] / (ring + own)
            _add_powers(a, mean, moments[RING, i, k], moments[BOTH, i, k])
            _add_powers(b, mean, spare, moments[BOTH, i, k])
        if len(raw) > 1:
            mean = total[BOTH, i] / (ring + own)
            _add_products(around[:, :ring], mean, covariance[RING, i], covariance[BOTH, i])
            _add_products(inside[:, :own], mean, products, covariance[BOTH, i])
        else:
            _count_bins(around[0, :ring], inside[0, :own], extremes[:, i, 0], histogram[:, i, 0])


@inline
def _count_bins(ring, own, extremes, bins):
    """Histograms of both regions."""
    near, both = extremes[RING], extremes[BOTH]
    _bin(ring, near, bins[RING])
    if near[0] == both[0] and near[1] == both[1]:  # as a rule: the ring has many more pixels
        bins[BOTH] = bins[RING]
    else:
        _bin(ring, both, bins[BOTH])
    _bin(own, both, bins[BOTH])


@inline
def _scratch(labels, raw, boxes, first, last, margin):
    """Room for the largest of these objects: values of the ring, of the object; runs, rows, marks."""
    crop = box = rows = wide = 1
    for i in range(first, last):
        z0, z1 = _ends(boxes, i, 0, margin, labels.shape)
        y0, y1 = _ends(boxes, i, 1, margin, labels.shape)
        x0, x1 = _ends(boxes, i, 2, margin, labels.shape)
        crop, wide = max(crop, (z1 - z0) * (y1 - y0) * (x1 - x0)), max(wide, x1 - x0)
        lines = (boxes[i, 0, 1] + 1 - boxes[i, 0, 0]) * (boxes[i, 1, 1] + 1 - boxes[i, 1, 0])
        rows, box = max(rows, lines), max(box, lines * (boxes[i, 2, 1] + 1 - boxes[i, 2, 0]))
    around, inside = np.empty((len(raw), crop), np.float32), np.empty((len(raw), box), np.float32)
    runs = np.empty((3, box // 2 + rows), np.int32)
    return around, inside, runs, np.empty(rows + 1, np.int64), np.zeros(wide + 1, np.int32)


@inline
def _ends(boxes, i, axis, margin, shape):
    """Where the crop of an object begins and ends: its box and the margin, inside the image."""
    low = max(boxes[i, axis, 0] - margin[axis], 0)
    return low, max(min(boxes[i, axis, 1] + margin[axis] + 1, shape[axis]), low)


@apart
def _gather(labels, raw, boxes, i, margin, table, around, inside, runs, rows, marks):
    """Put the values of ring and object in the first places of `around` and `inside`; how many they are."""
    z0, z1 = _ends(boxes, i, 0, margin, labels.shape)
    y0, y1 = _ends(boxes, i, 1, margin, labels.shape)
    x0, x1 = _ends(boxes, i, 2, margin, labels.shape)
    _find_runs(labels, boxes[i], i + 1, x0, runs, rows)
    ring = own = 0
    for z in range(z0, z1):
        for y in range(y0, y1):
            row = raw[:, z, y, x0:x1]
            low, high, gaps = _cover(boxes[i], z, y, x1 - x0, table, runs, rows)
            first = last = 0  # runs of the object in this row
            if boxes[i, 0, 0] <= z <= boxes[i, 0, 1] and boxes[i, 1, 0] <= y <= boxes[i, 1, 1]:
                at = (z - boxes[i, 0, 0]) * (boxes[i, 1, 1] + 1 - boxes[i, 1, 0]) + y - boxes[i, 1, 0]
                first, last = rows[at], rows[at + 1]
            if gaps:
                _mark(boxes[i], z, y, x1 - x0, table, runs, rows, marks)
                ring = _take_spans(row, low, high, marks, runs[:, first:last], around, ring)
                marks[low : high + 1] = 0
            else:
                ring = _take_span(row, low, high, runs[:, first:last], around, ring)
            for r in range(first, last):
                own = _copy(row, runs[0, r], runs[1, r], inside, own)
    return ring, own


@inline
def _find_runs(labels, box, label, x0, runs, rows):
    """First pixel of each run and the one after its last, counted from x0; the first run of each row."""
    n = row = 0
    for z in range(box[0, 0], box[0, 1] + 1):
        for y in range(box[1, 0], box[1, 1] + 1):
            rows[row], row, before = n, row + 1, False
            for x in range(box[2, 0], box[2, 1] + 1):
                mine = labels[z, y, x] == label
                if mine and not before:
                    runs[0, n], runs[2, n] = x - x0, y
                elif before and not mine:
                    runs[1, n], n = x - x0, n + 1
                before = mine
            if before:
                runs[1, n], n = box[2, 1] + 1 - x0, n + 1
    rows[row] = n


@inline
def _cover(box, z, y, w, table, runs, rows):
    """Begin and end of what the object covers of a row, and whether there may be gaps in it.

    Without a pixel that all of its runs cover, there may be gaps.
    """
    low, high, latest, earliest = w, 0, 0, w
    for near in range(max(z + 1 - len(table), box[0, 0]), min(z + len(table), box[0, 1] + 1)):
        first, last = _runs_near(box, near, y, table[abs(near - z), 0], rows)
        for r in range(first, last):
            reach = table[abs(near - z), abs(runs[2, r] - y) + 1]
            a, e = runs[0, r] - reach, runs[1, r] + reach
            low, high, latest, earliest = min(low, a), max(high, e), max(latest, a), min(earliest, e)
    return max(low, 0), max(min(high, w), low), latest >= earliest


@inline
def _runs_near(box, z, y, tall, rows):
    """First run of a slice less than `tall` rows away, and the one after the last."""
    start = (z - box[0, 0]) * (box[1, 1] + 1 - box[1, 0]) - box[1, 0]
    return (
        rows[start + min(max(y + 1 - tall, box[1, 0]), box[1, 1] + 1)],
        rows[start + max(min(y + tall, box[1, 1] + 1), box[1, 0])],
    )


@inline
def _mark(box, z, y, w, table, runs, rows, marks):
    """Add 1 where a run begins to cover a row, and take 1 where it ends to."""
    for near in range(max(z + 1 - len(table), box[0, 0]), min(z + len(table), box[0, 1] + 1)):
        first, last = _runs_near(box, near, y, table[abs(near - z), 0], rows)
        for r in range(first, last):
            reach = table[abs(near - z), abs(runs[2, r] - y) + 1]
            marks[max(runs[0, r] - reach, 0)] += 1
            marks[min(runs[1, r] + reach, w)] -= 1


@inline
def _take_spans(row, low, high, marks, own, around, ring):
    """Append a row's ring: what is marked, but for the runs of the object itself."""
    covering, begin = 0, low
    for x in range(low, high + 1):
        before = covering
        covering += marks[x]
        if covering and not before:
            begin = x
        elif before and not covering:
            ring = _take_span(row, begin, x, own, around, ring)
    return ring


@inline
def _take_span(row, low, high, own, around, ring):
    """Append a span of a row, but for the runs of the object itself."""
    for r in range(own.shape[1]):
        if own[0, r] >= low and own[1, r] <= high:
            ring = _copy(row, low, own[0, r], around, ring)
            low = own[1, r]
    return _copy(row, low, high, around, ring)


@inline
def _copy(row, low, high, values, n):
    for k in range(len(row)):
        for x in range(low, high):
            values[k, n + x - low] = row[k, x]
    return n + max(high - low, 0)


@inline
def _total(values):
    """Sum in float64, by four sums that do not wait for each other."""
    a = b = c = d = 0.0
    whole = values.size // 4 * 4
    for i in range(0, whole, 4):
        a, b = a + values[i], b + values[i + 1]
        c, d = c + values[i + 2], d + values[i + 3]
    for i in range(whole, values.size):
        a += values[i]
    return (a + b) + (c + d)


@inline
def _extend(values, extremes):
    """Take the values into account in the extremes; they are finite."""
    low, high = extremes[0], extremes[1]
    whole = values.size // WIDTH * WIDTH
    if whole:
        nothing = splat(np.float32(0))
        top, bottom = load(values, 0), nothing - load(values, 0)
        for i in range(WIDTH, whole, WIDTH):
            top, bottom = larger(top, load(values, i)), larger(bottom, nothing - load(values, i))
        for j in range(WIDTH):
            low, high = min(low, -lane(bottom, j)), max(high, lane(top, j))
    for i in range(whole, values.size):
        low, high = min(low, values[i]), max(high, values[i])
    extremes[0], extremes[1] = low, high


@inline
def _add_powers(values, center, own, moments):
    """Central moments, put into `own`; about `center`, added to `moments`."""
    n, mean = values.size, _total(values) / values.size
    s = t = u = 0.0
    for i in range(n):
        away = values[i] - mean
        square = away * away
        s, t, u = s + square, t + square * away, u + square * square
    own[0], own[1], own[2] = s, t, u
    if n:
        d = mean - center
        moments[0] += s + n * d**2
        moments[1] += t + 3 * d * s + n * d**3
        moments[2] += u + 4 * d * t + 6 * d**2 * s + n * d**4


@inline
def _add_products(values, center, own, covariance):
    """Sums of products of two channels about their means, put into `own`; about `center`, added."""
    n = values.shape[1]
    for a in range(len(values)):
        mean_a = _total(values[a]) / n
        for b in range(a + 1):
            mean_b, product = _total(values[b]) / n, 0.0
            for i in range(n):
                product += (values[a, i] - mean_a) * (values[b, i] - mean_b)
            own[a, b] = own[b, a] = product
            if n:
                covariance[a, b] += product + n * (mean_a - center[a]) * (mean_b - center[b])
                covariance[b, a] = covariance[a, b]


@inline
def _bin(values, extremes, bins):
    low = np.float64(extremes[0])
    width = extremes[1] - low
    scale = BINS / width if width > 0 else 0.0
    for i in range(values.size):
        bins[max(min(np.int64((values[i] - low) * scale), BINS - 1), 0)] += np.int32(1)
