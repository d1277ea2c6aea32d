"""Bands of rows of an image, each worked on by one core, and tables with rows for objects that cross them.

An object inside one band has its row in the answer, which nobody else writes to. An object that crosses
bands has one more row for each of them behind the answer; these are brought together in the order of bands.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import inline
from gpuseg.backends._numba.threads import spread

BAND = 2**20  # pixels: 16 bands of 4096 x 4096, where one object of ten crosses
ROOM = 2**28  # bytes for rows of objects that cross bands; with more, bands are larger
ALONE = -(2**62)  # in place of a row: the object is inside one band
FOLD = 4096  # objects whose rows one thread brings together at a time


def band_height(columns: int) -> int:
    """Rows of an image of so many columns that make a band."""
    return max(1, BAND // max(1, columns))


@dataclass(frozen=True, slots=True)
class Bands:
    """Which rows of a table an object's pixels go to."""

    height: int  # rows of the image in a band
    count: int
    base: NDArray[np.int64]  # (n,) row in the table less the band, or ALONE
    crossing: NDArray[np.int64]  # (k,) objects that cross bands
    begin: NDArray[np.int64]  # (k + 1,) where their rows begin in the table

    @classmethod
    def of(cls, spans: NDArray[np.int32], rows: int, height: int) -> "Bands":
        """spans: (n, 2) rows until the end from the first pixel on, 0 without pixels; rows up to the last."""
        first, last = (rows - spans[:, 0]) // height, (spans[:, 1] - 1) // height
        crossing = np.flatnonzero((last > first) & (spans[:, 1] > 0))
        begin = np.full(len(crossing) + 1, len(spans), np.int64)
        begin[1:] += np.cumsum(last[crossing] - first[crossing] + 1)
        base = np.full(len(spans), ALONE, np.int64)
        base[crossing] = begin[:-1] - first[crossing]
        return cls(height, -(-rows // height), base, crossing, begin)

    @classmethod
    def fitting(cls, spans: NDArray[np.int32], rows: int, height: int, width: int) -> "Bands":
        """Bands of this height, or twice, four times, ... for tables of so many bytes a row to have room."""
        bands = cls.of(spans, rows, height)
        while bands.count > 1 and (bands.begin[-1] - len(spans)) * width > ROOM:
            height *= 2
            bands = cls.of(spans, rows, height)
        return bands

    def table(self, *shape: int, dtype: Any) -> NDArray[Any]:
        """Rows of zeros, those of the answer first."""
        return np.zeros((int(self.begin[-1]), *shape), dtype)

    def fold(self, fold: Any) -> None:
        """Call `fold(crossing, begin)` for some objects at a time: bring their rows together."""

        def work(i: int, _: None) -> None:
            part = slice(i * FOLD, (i + 1) * FOLD)
            fold(self.crossing[part], self.begin[i * FOLD : (i + 1) * FOLD + 1])

        spread(-(-len(self.crossing) // FOLD), work, lambda: None)


@inline
def row_of(base, label, band):
    """Row of the table for an object's pixels in a band."""
    row = base[label - 1]
    return np.int64(label) - 1 if row == ALONE else row + band
