"""Labels of tiles that become those of the whole image: what shares a pixel is one object."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.tiles import Region, Tile

Place = tuple[int, ...]  # number of a tile along z, y, x
NEXT = [d for d in product((0, 1), repeat=3) if any(d)]  # tiles that begin where one ends


def overlapping(tile: Tile, shape: Sequence[int]) -> Region:
    """The core of a tile and one pixel more where the next tiles begin.

    Any two pixels next to each other, also across a corner, are then together in one of these.
    """
    return tuple(slice(c.start, min(c.stop + 1, n)) for c, n in zip(tile.core, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Whole:
    """Components of the whole image, in scan order of their first pixels, and the parts they came in."""

    of_part: NDArray[np.int64]  # component of each part
    sizes: NDArray[np.int64]  # pixels of each component
    box: NDArray[np.int64]  # (n, 2, 3): first and last place along z, y, x
    first: NDArray[np.int64]  # place of the first pixel in the image, counted in scan order


class Seams:
    """Takes labels of overlapping tiles in scan order; keeps only what the next tiles are compared with."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._parts = 0
        self._waiting: dict[Place, list[tuple[Place, NDArray[np.int64]]]] = {}
        self._pairs: list[NDArray[np.int64]] = []
        self._sizes: list[NDArray[np.int64]] = []
        self._boxes: list[NDArray[np.int64]] = []
        self._firsts: list[NDArray[np.int64]] = []
        self.begin: dict[Place, int] = {}  # parts of the tiles before

    def add(self, place: Place, core: Region, labels: NDArray[np.int32], count: int) -> None:
        """labels: of `overlapping`, 1 to `count`."""
        from gpuseg.backends._numba import lookup

        size = tuple(c.stop - c.start for c in core)
        origin = np.array([c.start for c in core])
        begin = self.begin[place] = self._parts
        self._parts += count
        pixels, box = lookup.tally(labels, count, size)
        self._sizes.append(pixels)
        self._boxes.append(box + origin)
        self._firsts.append(in_image(lookup.firsts(labels, count), labels.shape, origin, self._shape))
        for step, theirs in self._waiting.pop(place, []):
            mine = labels[tuple(slice(0, 1) if d else slice(0, n) for d, n in zip(step, size, strict=True))]
            self._join(theirs, _numbered(mine, begin))
        for step in NEXT:
            where = tuple(slice(n, None) if d else slice(0, n) for d, n in zip(step, size, strict=True))
            if (beyond := labels[where]).size:
                there = tuple(p + d for p, d in zip(place, step, strict=True))
                self._waiting.setdefault(there, []).append((step, _numbered(beyond, begin)))

    def _join(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """The same pixels in two tiles: their parts are one."""
        pairs = np.stack([a.ravel(), b.ravel()])
        pairs = pairs[:, pairs[0] >= 0]
        if pairs.shape[1]:
            changes = np.flatnonzero((pairs[:, 1:] != pairs[:, :-1]).any(axis=0)) + 1
            self._pairs.append(pairs[:, np.concatenate([[0], changes])])

    def finish(self) -> Whole:
        """All tiles are in: which parts are one component."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        n = self._parts
        pairs = np.concatenate([np.empty((2, 0), np.int64), *self._pairs], axis=1)
        graph = coo_matrix((np.ones(pairs.shape[1], np.bool_), tuple(pairs)), (n, n))
        count, found = connected_components(graph, directed=False) if n else (0, np.empty(0, np.int64))
        first = np.full(count, prod(self._shape), np.int64)
        np.minimum.at(first, found, np.concatenate([np.empty(0, np.int64), *self._firsts]))
        order = np.argsort(first)
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        of_part = rank[found]
        sizes, box = np.zeros(count, np.int64), np.zeros((count, 2, 3), np.int64)
        np.add.at(sizes, of_part, np.concatenate([np.empty(0, np.int64), *self._sizes]))
        box[:, 0] = np.iinfo(np.int64).max
        boxes = np.concatenate([np.empty((0, 2, 3), np.int64), *self._boxes])
        np.minimum.at(box[:, 0], of_part, boxes[:, 0])
        np.maximum.at(box[:, 1], of_part, boxes[:, 1])
        return Whole(of_part, sizes, box, first[order])


def in_image(
    places: NDArray[np.int64], shape: tuple[int, ...], origin: NDArray[Any], image: tuple[int, ...]
) -> NDArray[np.int64]:
    """Places in a part of an image, counted in scan order, as places in the image."""
    within = np.unravel_index(places, shape)
    moved = tuple(w + o for w, o in zip(within, origin, strict=True))
    return np.asarray(np.ravel_multi_index(moved, image), np.int64)


def _numbered(labels: NDArray[np.int32], begin: int) -> NDArray[np.int64]:
    """Numbers of parts, -1 for background."""
    return np.where(labels > 0, labels.astype(np.int64) + (begin - 1), -1)
