"""What region sums are, in plain NumPy: all other ways to compute them are compared with these."""

from collections.abc import Collection
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import SUMS
from gpuseg.errors import InputError, ShapeError

BINS = 64
OF_SHAPE = ("count", "box", "center", "scatter", "third", "fourth")  # need no values
PAIRS, TRIPLES, FOURS = (tuple(combinations_with_replacement(range(3), k)) for k in (2, 3, 4))


def check(
    labels: Any, count: int, values: Any, wants: Collection[str], ranges: NDArray[Any] | None = None
) -> None:
    """Refuse sums that do not exist, and arrays that do not fit each other."""
    if unknown := [w for w in wants if w not in SUMS]:
        raise InputError(f"region sums {unknown}: there are none of this name", hint=f"one of {list(SUMS)}")
    if labels.ndim != 3 or labels.dtype != np.int32:
        raise ShapeError(f"labels are {labels.ndim}-D {labels.dtype}, 3-D int32 (z, y, x) is needed")
    if values is None and (missing := [w for w in wants if w not in OF_SHAPE]):
        raise InputError(f"region sums {missing} need an image, there is none", hint="give the raw image")
    if values is not None and tuple(values.shape[1:]) != tuple(labels.shape):
        raise ShapeError(
            f"labels have the shape {tuple(labels.shape)}, values {tuple(values.shape)}",
            hint="values are (c, z, y, x), labels (z, y, x), of the same pixels",
        )
    if ranges is not None and values is not None:
        fit = (len(values), 2), (count, len(values), 2)
        if ranges.shape not in fit:
            raise ShapeError(f"ranges of histograms have the shape {ranges.shape}, {fit[0]} or {fit[1]} fits")


def check_ids(largest: int, count: int) -> None:
    """Refuse labels beyond the last object."""
    if largest > count:
        raise InputError(f"there is a label {largest}, the objects are 1 to {count}")


def means(sums: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """`sums` over `counts`, 0 for ids without pixels."""
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float64)


def label_ranges(extremes: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Least and largest value of each channel over all labelled pixels: (c, 2)."""
    there = extremes[counts > 0]
    if not len(there):
        return np.zeros((extremes.shape[1], 2))
    return np.stack([there[..., 0].min(0), there[..., 1].max(0)], 1).astype(np.float64)


def bins(ranges: NDArray[Any]) -> NDArray[np.float64]:
    """Where histograms begin and end, and bins per unit of value: (m, c, 3), m is 1 or n."""
    low, high = np.moveaxis(np.asarray(ranges, np.float64).reshape(-1, *ranges.shape[-2:]), -1, 0)
    width = np.where(high > low, high - low, BINS * np.finfo(np.float64).eps)
    return np.stack([low, high, BINS / width], -1)


def region_sums(
    labels: NDArray[np.int32],
    count: int,
    values: NDArray[np.float32] | None,
    wants: Collection[str],
    ranges: NDArray[Any] | None = None,
) -> dict[str, NDArray[Any]]:
    """`Backend.region_sums`."""
    check(labels, count, values, wants, ranges)
    check_ids(int(labels.max(initial=0)), count)
    at = np.nonzero(labels > 0)
    index, places = labels[at] - 1, np.stack(at, 1)
    found = _of_shape(index, places, count)
    if values is not None:
        pixels = np.stack([channel[at] for channel in values], -1)
        found |= _of_values(index, places, pixels, count, ranges, found["count"])
    return {w: found[w] for w in wants}


def _of_shape(index: NDArray[Any], places: NDArray[np.int64], count: int) -> dict[str, NDArray[Any]]:
    """Sums of coordinates; places: (pixels, 3)."""
    n = np.bincount(index, minlength=count).astype(np.int64)
    box = np.zeros((count, 3, 2), np.int64)
    box[n > 0, :, 0] = np.iinfo(np.int64).max
    np.minimum.at(box[..., 0], index, places)
    np.maximum.at(box[..., 1], index, places)
    center = _added(index, places, count)
    away = places - means(center, n)[index]
    return {
        "count": n,
        "box": box,
        "center": center,
        "scatter": _added(index, _products(places, PAIRS), count),
        "third": _added(index, _products(away, TRIPLES), count),
        "fourth": _added(index, _products(away, FOURS), count),
    }


def _of_values(
    index: NDArray[Any],
    places: NDArray[np.int64],
    pixels: NDArray[np.float32],
    count: int,
    ranges: NDArray[Any] | None,
    n: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Sums of intensities; pixels: (pixels, c)."""
    extremes = np.zeros((count, pixels.shape[1], 2), np.float32)
    extremes[n > 0] = np.inf, -np.inf
    np.fmin.at(extremes[..., 0], index, pixels)
    np.fmax.at(extremes[..., 1], index, pixels)
    total = _added(index, pixels.astype(np.float64), count)
    away = pixels - means(total, n)[index]
    weights = np.concatenate([places, _products(places, PAIRS)], 1)
    ranges = label_ranges(extremes, n) if ranges is None else ranges
    return {
        "extremes": extremes,
        "extreme_places": _extreme_places(index, places, pixels, extremes),
        "sum": total,
        "moments": np.stack([_added(index, away**k, count) for k in (2, 3, 4)], -1),
        "covariance": _added(index, away[:, :, None] * away[:, None, :], count),
        "histogram": _histogram(index, pixels, bins(ranges), count),
        "weighted": _added(index, pixels[:, :, None].astype(np.float64) * weights[:, None, :], count),
    }


def _added(index: NDArray[Any], parts: NDArray[Any], count: int) -> NDArray[Any]:
    out = np.zeros((count, *parts.shape[1:]), parts.dtype)
    np.add.at(out, index, parts)
    return out


def _products(columns: NDArray[Any], which: tuple[tuple[int, ...], ...]) -> NDArray[Any]:
    return np.stack([columns[:, axes].prod(1) for axes in which], 1)


def _extreme_places(
    index: NDArray[Any],
    places: NDArray[np.int64],
    pixels: NDArray[np.float32],
    extremes: NDArray[np.float32],
) -> NDArray[np.int64]:
    out = np.zeros((*extremes.shape, 3), np.int64)
    for channel in range(extremes.shape[1]):
        for side in range(2):
            equal = np.nonzero(pixels[:, channel] == extremes[index, channel, side])[0][::-1]
            out[index[equal], channel, side] = places[equal]  # the first comes last, and stays
    return out


def _histogram(
    index: NDArray[Any], pixels: NDArray[np.float32], edges: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    out = np.zeros((count, pixels.shape[1], BINS), np.int64)
    edges = np.broadcast_to(edges, (count, *edges.shape[1:]))
    for channel, value in enumerate(pixels.T.astype(np.float64)):
        low, high, per = edges[index, channel].T
        inside = (value >= low) & (value <= high)
        which = np.minimum((per * (value - low))[inside], BINS - 1).astype(np.int64)
        np.add.at(out[:, channel], (index[inside], which), 1)
    return out
