"""Where objects of a label image are, read tile by tile: their ids, and a pixel inside each."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import InputError
from gpuseg.objects.pixels import Pixels, labelled, numbered
from gpuseg.tiles import Region, tile_size, tiles

TILE = 2**20  # pixels read at once
OUTSIDE = -1  # in place of the value of a pixel: there is none


def opened(source: Any, axes: str | None) -> Pixels:
    """A label image, as it is if it was opened before."""
    return source if isinstance(source, Pixels) else labelled(source, axes)


def check_time(pixels: Pixels, t: int) -> None:
    if not 0 <= t < pixels.sizes["t"]:
        raise InputError(f"{pixels.name}: time point {t} is not there, it has {pixels.sizes['t']}, from 0")


def numbered_tiles(pixels: Pixels, t: int) -> Iterator[tuple[Region, NDArray[np.int32], NDArray[np.int64]]]:
    """Each tile of a time point: where it is, its objects numbered from 1, and the id of each."""
    shape = tuple(s.stop for s in pixels.whole)
    for tile in tiles(shape, tile_size(shape, (0, 0, 0), TILE), (0, 0, 0)):
        yield tile.core, *numbered(pixels.integers(t, tile.core))


def ids_at(pixels: Pixels, t: int) -> NDArray[np.int64]:
    """Ids of all objects of a time point, ascending."""
    return np.unique(np.concatenate([ids for _, _, ids in numbered_tiles(pixels, t)]))


def values_at(pixels: Pixels, t: int, position: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label values (n,) of the pixels at `position` (n, 3), z y x; OUTSIDE where the image has none.

    Of a tile only the box around the pixels in it is read.
    """
    shape = np.array([s.stop for s in pixels.whole])
    found = np.full(len(position), OUTSIDE, np.int64)
    inside = np.flatnonzero(((position >= 0) & (position < shape)).all(1))
    if not len(inside):
        return found
    size = tile_size(shape.tolist(), (0, 0, 0), TILE)
    place = np.ravel_multi_index(tuple((position[inside] // size).T), tuple(-(-shape // size)))
    order = np.argsort(place, kind="stable")
    for members in np.split(inside[order], np.flatnonzero(np.diff(place[order])) + 1):
        low, high = position[members].min(0), position[members].max(0) + 1
        values = pixels.integers(t, tuple(map(slice, low.tolist(), high.tolist())))
        found[members] = values[tuple((position[members] - low).T)].astype(np.int64)
    return found


def inside(pixels: Pixels, t: int, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each object the pixel nearest to its centroid, (n, 3) z y x; -1 where there is no such object.

    So it lies in the object also where the centroid does not, as in a ring. Of equally near pixels it is
    the first in scan order.
    """
    known, back = np.unique(ids, return_inverse=True)
    shape = tuple(s.stop for s in pixels.whole)
    # Whole numbers around a whole-numbered centre stay exact in float64, so that equal distances are equal.
    count, sums = _moments(pixels, t, known)
    centre = np.rint(sums / np.maximum(count, 1))
    rest = sums - count * centre
    best, first = np.full(len(known), np.inf), np.full(len(known), -1)
    for place, which in _members(pixels, t, known):
        distance = np.zeros(len(which))
        for along, middle, off in zip(place, centre, rest, strict=True):
            away = along - middle[which]
            distance += away * (away * count[which] - 2 * off[which])
        nearer = best.copy()
        np.minimum.at(nearer, which, distance)
        first[nearer < best] = prod(shape)
        near = distance == nearer[which]
        np.minimum.at(first, which[near], np.ravel_multi_index([p[near] for p in place], shape))
        best = nearer
    found = np.column_stack(np.unravel_index(np.maximum(first, 0), shape))
    return np.where(first[:, None] < 0, -1, found)[back.reshape(-1)].astype(np.int64)


def _moments(
    pixels: Pixels, t: int, ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (n,) of each object, and their coordinates added up, (3, n)."""
    count, sums = np.zeros(len(ids)), np.zeros((3, len(ids)))
    for place, which in _members(pixels, t, ids):
        count += np.bincount(which, minlength=len(ids))
        for axis in range(3):
            sums[axis] += np.bincount(which, place[axis], minlength=len(ids))
    return count, sums


def _members(
    pixels: Pixels, t: int, ids: NDArray[np.int64]
) -> Iterator[tuple[list[NDArray[np.intp]], NDArray[np.int64]]]:
    """Pixels of these objects tile by tile: their z, y and x, and of which of `ids` (ascending) each is."""
    for region, numbers, there in numbered_tiles(pixels, t) if len(ids) else ():
        table = places(ids, there)
        if (table < 0).all():
            continue
        which = table[numbers]
        where = np.nonzero(which >= 0)
        yield [along + s.start for along, s in zip(where, region, strict=True)], which[where]


def places(known: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """By number of the object in a tile, its place in `known` (ascending); -1 if it is not in it."""
    place = np.searchsorted(known, ids)
    there = np.isin(ids, known)
    return np.concatenate([[-1], np.where(there, place, -1)])
