"""Quantiles of each object from its histogram, as vigra's: along a line through the counts below each bin."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import kernel
from gpuseg.backends._numba.threads import spread

PART = 1024  # histograms that one thread takes at a time


def quantiles(
    histogram: NDArray[np.int64],
    extremes: NDArray[np.float32],
    low: float,
    per: float,
    wanted: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Values below which a part of the pixels lies: (n, wanted) of histograms (n, bins) and extremes (n, 2).

    low: where the first bin begins; per: bins per unit of value; wanted: ascending. NaN without pixels.
    """
    out = np.full((len(histogram), len(wanted)), np.nan)

    def part(i: int, _: None) -> None:
        some = slice(i * PART, (i + 1) * PART)
        _quantiles(histogram[some], extremes[some], low, per, wanted, out[some])

    spread(-(-len(histogram) // PART), part, lambda: None)
    return out


@kernel
def _quantiles(histogram, extremes, low, per, wanted, out):
    """Straight within a bin; from the least value on in the first, up to the largest in the last."""
    bins = histogram.shape[1]
    for n in range(histogram.shape[0]):
        total = np.int64(0)
        for k in range(bins):
            total += histogram[n, k]
        if not total:
            continue
        least, most = np.float64(extremes[n, 0]), np.float64(extremes[n, 1])
        first, last = per * (least - low), per * (most - low)
        below, k = np.int64(0), 0  # pixels below bin k
        for i in range(wanted.size):
            if wanted[i] <= 0 or wanted[i] >= 1:
                out[n, i] = least if wanted[i] <= 0 else most
                continue
            goal = wanted[i] * total
            while below + histogram[n, k] < goal:
                below += histogram[n, k]
                k += 1
            begin = first if below == 0 else np.float64(k)
            end = last if below + histogram[n, k] == total else np.float64(k + 1)
            out[n, i] = low + (begin + (goal - below) / histogram[n, k] * (end - begin)) / per
