"""Region sums on all cores: bands of rows, each summed by one of them.

Along a row, pixels of equal label are summed in registers. Bands depend on the image alone: so do the last
bits of the sums.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import _reference_regions as reference
from gpuseg.backends._numba.bands import Bands, band_height, row_of
from gpuseg.backends._numba.runs import lowest, step, words
from gpuseg.backends._numba.simd import inline, kernel
from gpuseg.backends._numba.threads import spread

WHOLE = 16  # columns of integers: count, box (6), center (3), scatter (6)
EXPONENTS = np.array(
    [[axes.count(a) for a in range(3)] for axes in (*reference.TRIPLES, *reference.FOURS)], np.int64
)


class Regions:
    """Labelled pixels as runs of equal label along the rows, and what is known about them."""

    def __init__(self, labels: NDArray[np.int32], count: int, values: NDArray[np.float32] | None) -> None:
        self.ny, self.nx = labels.shape[1:]
        self.rows = labels.shape[0] * self.ny
        shape = (0 if values is None else len(values), self.rows, self.nx)
        pixels = np.empty(shape, np.float32) if values is None else values
        self.values = np.ascontiguousarray(pixels, np.float32).reshape(shape)
        self.strip = band_height(self.nx)
        self.runs: list[NDArray[np.int32]] = [np.empty((0, 4), np.int32)] * -(-self.rows // self.strip)
        self.count, self.spans = self._find(np.ascontiguousarray(labels).reshape(-1), count)

    @property
    def channels(self) -> int:
        return len(self.values)

    def bands(self, width: int) -> Bands:
        """Bands for tables of so many bytes a row."""
        return Bands.fitting(self.spans, self.rows, self.strip, width)

    def each_band(self, bands: Bands, function: Any, *given: Any) -> None:
        """Call a kernel for all runs of every band."""
        strips = bands.height // self.strip

        def work(i: int, _: None) -> None:
            for runs in self.runs[i * strips : (i + 1) * strips]:
                function(runs, self.values, bands.base, i, self.ny, *given)

        spread(bands.count, work, lambda: None)

    def summed(self, function: Any, *given: Any, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
        """What a kernel adds up in a table whose rows have this shape: (n, *shape)."""
        bands = self.bands(8 * int(np.prod(shape)))
        table = bands.table(*shape, dtype=dtype)
        self.each_band(bands, function, *given, table)
        flat = table.reshape(len(table), int(np.prod(shape)))
        bands.fold(lambda *part: _fold(*part, flat))
        return table[: len(self.count)]

    def _find(self, labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Pixels of each object; rows until the end from its first, and up to its last. Notes all runs."""
        found: list[tuple[NDArray[Any], ...]] = []

        def scratch() -> tuple[NDArray[Any], ...]:
            room = np.empty((self.strip * self.nx, 4), np.int32)  # of which no more is touched than there is
            found.append((np.zeros(count + 1, np.int64), np.zeros((count + 1, 2), np.int32), room))
            return found[-1]

        def work(i: int, mine: Any) -> None:
            last = min(self.rows, (i + 1) * self.strip)
            size, beyond = _runs(labels, self.nx, i * self.strip, last, *mine)
            reference.check_ids(beyond, count)
            self.runs[i] = mine[2][:size].copy()

        spread(len(self.runs), work, scratch)
        n, spans, _ = found[0] if found else scratch()
        for other_n, other_spans, _ in found[1:]:
            n += other_n
            np.maximum(spans, other_spans, out=spans)
        return n[1:], spans[1:]


def region_sums(
    labels: NDArray[np.int32],
    count: int,
    values: NDArray[np.float32] | None,
    wants: Collection[str],
    ranges: NDArray[Any] | None = None,
) -> dict[str, NDArray[Any]]:
    """`Backend.region_sums`."""
    reference.check(labels, count, values, wants, ranges)
    regions = Regions(labels, count, values if set(wants) - set(reference.OF_SHAPE) else None)
    found: dict[str, NDArray[Any]] = {"count": regions.count}
    if set(wants) - set(found):
        found |= _first(regions)
    c = regions.channels
    if "third" in wants or "fourth" in wants:
        centroid = reference.means(found["center"], regions.count)
        powers = regions.summed(_central, centroid, EXPONENTS, shape=(len(EXPONENTS),))
        found |= {"third": powers[:, :10], "fourth": powers[:, 10:]}
    if "extreme_places" in wants:
        at = found["extreme_places"]
        _locate(regions.values.reshape(c, -1), regions.nx, regions.count, found["extremes"], at)
        found["extreme_places"] = np.stack(np.unravel_index(at, labels.shape), -1)
    if "moments" in wants:
        found["moments"] = regions.summed(
            _moments, reference.means(found["sum"], regions.count), shape=(c, 3)
        )
    if "covariance" in wants:
        mean = reference.means(found["sum"], regions.count)
        found["covariance"] = regions.summed(_covariance, mean, shape=(c, c))
    if "weighted" in wants:
        found["weighted"] = regions.summed(_weighted, shape=(c, 9))
    if "histogram" in wants:
        given = reference.label_ranges(found["extremes"], regions.count) if ranges is None else ranges
        edges, shape = reference.bins(given), (c, reference.BINS)
        found["histogram"] = regions.summed(_histogram, edges, shape=shape, dtype=np.int64)
    return {w: found[w] for w in wants}


def _first(regions: Regions) -> dict[str, NDArray[Any]]:
    """What needs nothing but the pixels; `extreme_places` are those where a run of pixels begins."""
    n, c = len(regions.count), regions.channels
    bands = regions.bands(8 * WHOLE + 32 * c)
    whole, total = bands.table(WHOLE, dtype=np.int64), bands.table(c, dtype=np.float64)
    extremes, places = bands.table(c, 2, dtype=np.float32), bands.table(c, 2, dtype=np.int64)
    tables = whole, total, extremes, places
    regions.each_band(bands, _sum, *tables)
    bands.fold(lambda *part: _fold_first(*part, *tables))
    whole = whole[:n]
    return {
        "count": regions.count,
        "box": whole[:, 1:7].reshape(n, 3, 2),
        "center": whole[:, 7:10],
        "scatter": whole[:, 10:],
        "sum": total[:n],
        "extremes": extremes[:n],
        "extreme_places": places[:n],
    }


@kernel
def _runs(pixels, width, first, last, counts, spans, runs):
    """Runs (label, row, first pixel, end) of rows `first` to `last`: how many; a label too large, or 0."""
    size, rows = 0, np.int32(pixels.size // width)
    for r in range(first, last):
        opened = closed = size
        x = 0
        while x < width:
            n = step(x, width)
            starts, ends = words(pixels, r * width + x, x, n)
            while starts:
                runs[opened, 2] = x + lowest(starts)
                starts &= starts - np.uint64(1)
                opened += 1
            while ends:
                runs[closed, 3] = x + lowest(ends)
                ends &= ends - np.uint64(1)
                closed += 1
            x += n
        if closed < opened:
            runs[closed, 3] = width
        for at in range(size, opened):
            x, end = runs[at, 2], runs[at, 3]
            label = pixels[r * width + x]
            if label < 0:
                continue
            if label >= counts.size:
                return size, label
            runs[size, 0], runs[size, 1], runs[size, 2], runs[size, 3] = label, r, x, end
            size += 1
            counts[label] += end - x
            spans[label, 0] = max(spans[label, 0], rows - np.int32(r))
            spans[label, 1] = max(spans[label, 1], np.int32(r + 1))
    return size, np.int32(0)


@inline
def _run(runs, at):
    """Label, row, first pixel and end of a run."""
    return np.int64(runs[at, 0]), np.int64(runs[at, 1]), np.int64(runs[at, 2]), np.int64(runs[at, 3])


@kernel
def _sum(runs, values, base, band, ny, whole, total, extremes, places):
    nx = values.shape[2]
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        row = row_of(base, label, band)
        new = whole[row, 0] == 0
        for c in range(values.shape[0]):
            s, low, high = 0.0, np.float32(np.inf), np.float32(-np.inf)
            for i in range(x, end):
                v = values[c, r, i]
                s += np.float64(v)
                low = v if v < low else low
                high = v if v > high else high
            total[row, c] += s
            _extend(extremes, places, row, c, low, high, r * nx + x, r * nx + x, new)
        _grow(whole, row, r // ny, r % ny, x, end)


@inline
def _extend(extremes, places, row, c, low, high, at_low, at_high, new):
    """Take note of extremes that are beyond those known."""
    if new or low < extremes[row, c, 0]:
        extremes[row, c, 0], places[row, c, 0] = low, at_low
    if new or high > extremes[row, c, 1]:
        extremes[row, c, 1], places[row, c, 1] = high, at_high


@inline
def _grow(whole, row, z, y, x, end):
    """Add the pixels x to `end` of one row of the image."""
    n, last = end - x, end - 1
    if whole[row, 0] == 0:
        whole[row, 1] = whole[row, 2] = z
        whole[row, 3] = whole[row, 4] = y
        whole[row, 5] = whole[row, 6] = x
    whole[row, 0] += n
    whole[row, 1], whole[row, 2] = min(whole[row, 1], z), max(whole[row, 2], z)
    whole[row, 3], whole[row, 4] = min(whole[row, 3], y), max(whole[row, 4], y)
    whole[row, 5], whole[row, 6] = min(whole[row, 5], x), max(whole[row, 6], last)
    along = n * (x + last) // 2
    squares = (last * end * (2 * last + 1) - (x - 1) * x * (2 * x - 1)) // 6
    whole[row, 7] += n * z
    whole[row, 8] += n * y
    whole[row, 9] += along
    whole[row, 10] += n * z * z
    whole[row, 11] += n * z * y
    whole[row, 12] += z * along
    whole[row, 13] += n * y * y
    whole[row, 14] += y * along
    whole[row, 15] += squares


@kernel
def _fold_first(crossing, begin, whole, total, extremes, places):
    for k in range(crossing.size):
        to = crossing[k]
        for row in range(begin[k], begin[k + 1]):
            if whole[row, 0] == 0:
                continue
            new = whole[to, 0] == 0
            for c in range(total.shape[1]):
                total[to, c] += total[row, c]
                low, high = extremes[row, c, 0], extremes[row, c, 1]
                _extend(extremes, places, to, c, low, high, places[row, c, 0], places[row, c, 1], new)
            for j in range(1, 7):
                a, b = whole[to, j], whole[row, j]
                whole[to, j] = b if new else min(a, b) if j % 2 else max(a, b)
            whole[to, 0] += whole[row, 0]
            for j in range(7, WHOLE):
                whole[to, j] += whole[row, j]


@kernel
def _fold(crossing, begin, table):
    for k in range(crossing.size):
        for row in range(begin[k], begin[k + 1]):
            for j in range(table.shape[1]):
                table[crossing[k], j] += table[row, j]


@kernel
def _locate(values, nx, counts, extremes, places):
    """Move places from where a run begins to the first pixel that is as extreme."""
    for n in range(counts.size):
        for c in range(extremes.shape[1]):
            for side in range(2):
                start = places[n, c, side]
                stop = start - start % nx + nx
                at = start
                while at < stop and values[c, at] != extremes[n, c, side]:
                    at += 1
                places[n, c, side] = at if counts[n] and at < stop else start


@kernel
def _moments(runs, values, base, band, ny, mean, table):
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        row = row_of(base, label, band)
        for c in range(values.shape[0]):
            m, s2, s3, s4 = mean[label - 1, c], 0.0, 0.0, 0.0
            for i in range(x, end):
                d = values[c, r, i] - m
                s2 += d * d
                s3 += d * d * d
                s4 += d * d * (d * d)
            table[row, c, 0] += s2
            table[row, c, 1] += s3
            table[row, c, 2] += s4


@kernel
def _histogram(runs, values, base, band, ny, edges, table):
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        row = row_of(base, label, band)
        own = label - 1 if edges.shape[0] > 1 else 0
        for c in range(values.shape[0]):
            low, high, per = edges[own, c, 0], edges[own, c, 1], edges[own, c, 2]
            for i in range(x, end):
                v = np.float64(values[c, r, i])
                if low <= v <= high:
                    b = per * (v - low)
                    table[row, c, np.int64(b) if b < 63.0 else 63] += 1


@kernel
def _covariance(runs, values, base, band, ny, mean, table):
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        row = row_of(base, label, band)
        for c in range(values.shape[0]):
            for d in range(c, values.shape[0]):
                s, m, k = 0.0, mean[label - 1, c], mean[label - 1, d]
                for i in range(x, end):
                    s += (values[c, r, i] - m) * (values[d, r, i] - k)
                table[row, c, d] += s
                if d > c:
                    table[row, d, c] += s


@kernel
def _weighted(runs, values, base, band, ny, table):
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        z, y = np.float64(r // ny), np.float64(r % ny)
        row = row_of(base, label, band)
        for c in range(values.shape[0]):
            s, along, squares = 0.0, 0.0, 0.0
            for i in range(x, end):
                v = np.float64(values[c, r, i])
                s += v
                along += v * i
                squares += v * i * i
            table[row, c, 0] += s * z
            table[row, c, 1] += s * y
            table[row, c, 2] += along
            table[row, c, 3] += s * z * z
            table[row, c, 4] += s * z * y
            table[row, c, 5] += along * z
            table[row, c, 6] += s * y * y
            table[row, c, 7] += along * y
            table[row, c, 8] += squares


@kernel
def _central(runs, values, base, band, ny, centroid, exponents, table):
    """Products of three and four coordinates about the centroid."""
    powers = np.ones((3, 5))  # of z, of y; sums of powers of x
    for at in range(runs.shape[0]):
        label, r, x, end = _run(runs, at)
        z, y = r // ny, r % ny
        row = row_of(base, label, band)
        dz, dy = z - centroid[label - 1, 0], y - centroid[label - 1, 1]
        powers[2] = 0.0
        for k in range(1, 5):
            powers[0, k], powers[1, k] = powers[0, k - 1] * dz, powers[1, k - 1] * dy
        for i in range(x, end):
            power, dx = 1.0, i - centroid[label - 1, 2]
            for k in range(5):
                powers[2, k] += power
                power *= dx
        for j in range(exponents.shape[0]):
            of_z, of_y, of_x = exponents[j, 0], exponents[j, 1], exponents[j, 2]
            table[row, j] += powers[0, of_z] * powers[1, of_y] * powers[2, of_x]
