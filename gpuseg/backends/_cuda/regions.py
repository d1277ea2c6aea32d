"""Region sums on the device: a pass over the pixels for each kind, the answers on the host."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import _reference_regions as reference
from gpuseg.backends._cuda.device import download
from gpuseg.backends._kernels import Kernels

THREADS, BLOCKS, RUN = 256, 4096, 16  # RUN pixels a thread, as in regions.cu
WHOLE = 16  # columns of integers: count, box (6), center (3), scatter (6)
POWERS = 25  # products of three and of four coordinates
NONE = np.iinfo(np.int64).max
LEAST, MOST = 0x7FFFFFFF, -0x7FFFFFFF  # beyond all ordered integers


class Regions:
    """Labelled pixels on the device, and what is known about them."""

    def __init__(self, xp: Any, kernels: Kernels, labels: Any, count: int, values: Any) -> None:
        self.xp, self.kernels, self.n, self.shape = xp, kernels, count, labels.shape
        self.labels = xp.ascontiguousarray(labels)
        self.channels = 0 if values is None else len(values)
        self.values = None if values is None else xp.ascontiguousarray(values, np.float32)
        self.whole = xp.zeros((count, WHOLE), np.int64)
        self.whole[:, 1:7:2], self.whole[:, 2:7:2] = NONE, -1
        self.launch("region_whole", self.whole)

    def launch(self, name: str, *given: Any) -> None:
        """Start a kernel over all pixels."""
        size, (ny, nx) = int(np.prod(self.shape)), self.shape[1:]
        if not size or not self.n:
            return
        grid = max(1, min(BLOCKS, -(-size // (THREADS * RUN))))
        image = self.labels, np.int64(size), np.int32(ny), np.int32(nx)
        self.kernels.launch(name, (grid,), (THREADS,), (*image, *given))

    def of_values(self, name: str, *given: Any) -> None:
        """Start a kernel that reads the values too."""
        self.launch(name, self.values, np.int32(self.channels), *given)

    def table(self, name: str, *given: Any, shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
        """What a kernel adds up for each object and channel."""
        made = self.xp.zeros((self.n, self.channels, *shape), dtype)
        self.of_values(name, *given, made)
        return download(self.xp, made)

    def means(self, sums: Any) -> Any:
        """Sums over pixels, on the device."""
        return sums / self.xp.maximum(self.whole[:, :1], 1)


def region_sums(
    xp: Any,
    kernels: Kernels,
    labels: Any,
    count: int,
    values: Any,
    wants: Collection[str],
    ranges: NDArray[Any] | None,
) -> dict[str, NDArray[Any]]:
    """`Backend.region_sums`."""
    reference.check(labels, count, values, wants, ranges)
    if labels.size:
        reference.check_ids(int(labels.max()), count)
    regions = Regions(xp, kernels, labels, count, values if set(wants) - set(reference.OF_SHAPE) else None)
    found = _whole(regions)
    if {"third", "fourth"} & set(wants):
        table = xp.zeros((count, POWERS), np.float64)
        regions.launch("region_central", regions.means(regions.whole[:, 7:10]), table)
        powers = download(xp, table)
        found |= {"third": powers[:, :10], "fourth": powers[:, 10:]}
    if regions.values is not None:
        found |= _of_values(regions, found["count"], wants, ranges)
    return {w: found[w] for w in wants}


def _whole(regions: Regions) -> dict[str, NDArray[Any]]:
    whole = download(regions.xp, regions.whole)
    whole[whole[:, 0] == 0] = 0
    return {
        "count": whole[:, 0],
        "box": whole[:, 1:7].reshape(-1, 3, 2),
        "center": whole[:, 7:10],
        "scatter": whole[:, 10:],
    }


def _of_values(
    regions: Regions, n: NDArray[np.int64], wants: Collection[str], ranges: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    xp, c = regions.xp, regions.channels
    total = xp.zeros((regions.n, c), np.float64)
    keys = xp.empty((regions.n, c, 2), np.int32)
    keys[..., 0], keys[..., 1] = LEAST, MOST
    regions.of_values("region_values", total, keys)
    extremes = _floats(download(xp, keys))
    extremes[n == 0] = 0
    found: dict[str, NDArray[Any]] = {"sum": download(xp, total), "extremes": extremes}
    if "extreme_places" in wants:
        places = xp.full((regions.n, c, 2), NONE, np.int64)
        regions.of_values("region_places", keys, places)
        at = download(xp, places)
        found["extreme_places"] = np.stack(np.unravel_index(np.where(at == NONE, 0, at), regions.shape), -1)
    if "moments" in wants:
        found["moments"] = regions.table("region_moments", regions.means(total), shape=(3,))
    if "covariance" in wants:
        found["covariance"] = regions.table("region_covariance", regions.means(total), shape=(c,))
    if "weighted" in wants:
        found["weighted"] = regions.table("region_weighted", shape=(9,))
    if "histogram" in wants:
        edges = reference.bins(reference.label_ranges(extremes, n) if ranges is None else ranges)
        given, shape = (xp.asarray(edges), np.int32(len(edges) > 1)), (reference.BINS,)
        found["histogram"] = regions.table("region_histogram", *given, shape=shape, dtype=np.int64)
    return found


def _floats(keys: NDArray[np.int32]) -> NDArray[np.float32]:
    """What `ordered` of regions.cu made integers of; infinities where no value came."""
    bits = np.where(keys >= 0, keys, keys ^ np.int32(0x7FFFFFFF)).astype(np.int32)
    values = bits.view(np.float32)
    for key, none in ((LEAST, np.inf), (MOST, -np.inf)):
        values[keys == key] = none
    return values
