"""How grey levels of neighbouring pixels go together inside each object (Haralick, 1973)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import apart, kernel
from gpuseg.backends._numba.threads import spread

BATCH = 64  # objects that a thread takes at a time
LEVELS = 16  # grey levels between an object's least and largest value
NUMBERS = 5  # contrast, correlation, energy, homogeneity, entropy


@apart
def _levels(labels, values, label, box):
    """Level of each pixel of the object in its box, LEVELS on other pixels."""
    z0, y0, x0 = box[:, 0]
    out = np.full((box[0, 1] - z0 + 1, box[1, 1] - y0 + 1, box[2, 1] - x0 + 1), LEVELS, np.uint8)
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for z, y, x in np.ndindex(out.shape):
        if labels[z0 + z, y0 + y, x0 + x] == label:
            low = min(low, values[z0 + z, y0 + y, x0 + x])
            high = max(high, values[z0 + z, y0 + y, x0 + x])
    scale = LEVELS / (np.float64(high) - low) if high > low else 0.0
    for z, y, x in np.ndindex(out.shape):
        if labels[z0 + z, y0 + y, x0 + x] == label:
            out[z, y, x] = min(int((np.float64(values[z0 + z, y0 + y, x0 + x]) - low) * scale), LEVELS - 1)
    return out


@apart
def _pairs(levels, steps, counts):
    """Add each pair of neighbours inside the object to `counts`, once each way; say how many."""
    depth, height, width = levels.shape
    counts[:] = 0
    for k in range(len(steps)):
        dz, dy, dx = steps[k]
        for z in range(max(0, -dz), depth - max(0, dz)):
            for y in range(max(0, -dy), height - max(0, dy)):
                for x in range(max(0, -dx), width - max(0, dx)):
                    counts[levels[z, y, x], levels[z + dz, y + dy, x + dx]] += 1
    total = 0
    for a in range(LEVELS):
        for b in range(a + 1):
            both = counts[a, b] + counts[b, a]  # twice the diagonal: each way there too
            counts[a, b] = counts[b, a] = both
            total += both if a == b else 2 * both
    return total


@apart
def _numbers(counts, total, out):
    """The five numbers of a symmetric table of pairs; correlation is NaN where all levels are equal."""
    mean, square, product = 0.0, 0.0, 0.0
    contrast, energy, homogeneity, entropy = 0.0, 0.0, 0.0, 0.0
    for a in range(LEVELS):
        for b in range(LEVELS):
            if counts[a, b]:
                p, d = counts[a, b] / total, (a - b) * (a - b)
                mean += p * a
                square += p * a * a
                product += p * a * b
                contrast += p * d
                energy += p * p
                homogeneity += p / (1 + d)
                entropy -= p * np.log2(p)
    variance = square - mean * mean
    correlation = (product - mean * mean) / variance if variance > 1e-12 else np.nan
    out[0], out[1], out[2], out[3], out[4] = contrast, correlation, energy, homogeneity, max(entropy, 0.0)


@kernel
def _cooccurrences(labels, values, boxes, steps, first, last, out):
    counts = np.empty(
        (LEVELS + 1, LEVELS + 1), np.int64
    )  # the last row and column: pairs that leave the object
    for i in range(first, last):
        if boxes[i, 0, 1] < boxes[i, 0, 0]:
            continue
        total = _pairs(_levels(labels, values, i + 1, boxes[i]), steps, counts)
        if total:
            _numbers(counts, total, out[i])


def cooccurrences(
    labels: NDArray[np.int32],
    values: NDArray[np.float32],
    boxes: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(n, NUMBERS) of pairs in all directions together; NaN for an object without pairs.

    labels, values: (z, y, x). boxes: (n, 3, 2) least and largest z, y, x. steps: (directions, 3) from a pixel
    to its neighbour along z, y, x, at most 1.
    """
    n = len(boxes)
    out = np.full((n, NUMBERS), np.nan)
    boxes, steps = np.ascontiguousarray(boxes, np.int64), np.ascontiguousarray(steps, np.int64)

    def work(i: int, _: Any) -> None:
        _cooccurrences(labels, values, boxes, steps, i * BATCH, min((i + 1) * BATCH, n), out)

    spread(-(-n // BATCH), work, lambda: None)
    return out
