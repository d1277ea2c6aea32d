"""From an image and a selection to feature planes, to probabilities, or to rows for training."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend, ForestArrays, Job
from gpuseg.backends.taps import SMOOTH_WINDOW
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Selection
from gpuseg.tiles import Region, Tile, tile_at

TRAIN_TILES = (64, 128, 256, 512)  # pixels along y and x of a tile around scribbles
TILE_COST = 60_000  # pixels that take as long as the start of one more tile


def whole(image: Array) -> Region:
    """The region of all pixels of a (c, z, y, x) image."""
    return tuple(slice(0, n) for n in image.shape[1:])


def feature_stack(
    b: Backend, image: Array, selection: Selection, core: Region | None = None, out: Array | None = None
) -> Array:
    """Feature planes: float32 (features, z, y, x) at the pixels of `core`, by default everywhere.

    image: float32 (c, z, y, x), of one time point. Pixels outside `core` are its halo. Planes are in the
    order of `selection.names`; `out` is filled and returned if given.
    """
    core = whole(image) if core is None else core
    jobs = selection.jobs(*image.shape[:2])
    planes = b.bank(image, jobs, core, out)
    return formulas(b, image, jobs, core, out) if planes is None else planes


def formulas(b: Backend, image: Array, jobs: Sequence[Job], core: Region, out: Array | None = None) -> Array:
    """The planes as THE TABLE defines them, plane by plane: what every `bank` must equal."""
    count = sum(FILTERS[f].planes(len(j.sigma)) for j in jobs for f, _ in j.planes)
    if out is None:
        out = b.asarray(np.empty((count, *(s.stop - s.start for s in core)), np.float32))
    for job in jobs:
        volume = image[job.channel]
        for z in range(core[0].start, core[0].stop) if job.flat else [slice(None)]:
            smooth = b.gaussian(volume[z], job.smooth, window=SMOOTH_WINDOW)
            here, inside = (z - core[0].start, core[1:]) if job.flat else (slice(None), core)
            for name, first in job.planes:
                for k, plane in enumerate(FILTERS[name].formula(b, smooth, job.sigma)):
                    out[first + k][here] = plane[inside]
    return out


def probabilities(
    b: Backend, image: Array, selection: Selection, forest: ForestArrays, core: Region | None = None
) -> Array:
    """Class probabilities: float32 (z, y, x, classes) at the pixels of `core`."""
    core = whole(image) if core is None else core
    jobs = selection.jobs(*image.shape[:2])
    proba = b.image_proba(image, jobs, core, forest)
    return b.forest_proba(feature_stack(b, image, selection, core), forest) if proba is None else proba


def features_at(
    b: Backend, image: NDArray[Any], selection: Selection, where: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Feature rows of single pixels: float32 (n, features), from tiles around them only.

    image: any real dtype, (c, z, y, x). where: (n, 3) pixel coordinates z, y, x.
    """
    depth = image.shape[1]
    rows = np.empty((len(where), selection.count(image.shape[0], depth)), np.float32)
    for tile, chosen in _occupied(image.shape[1:], selection.halo(depth), where):
        part = b.asarray(np.ascontiguousarray(image[(slice(None), *tile.read)], np.float32))
        stack = feature_stack(b, part, selection, tile.inside)
        rows[chosen] = b.rows(stack, where[chosen] - [s.start for s in tile.core])
    return rows


def _occupied(
    shape: Sequence[int], halo: Sequence[int], where: NDArray[np.intp]
) -> list[tuple[Tile, NDArray[np.intp]]]:
    """Tiles that hold at least one of the pixels, with the indices of those pixels.

    Of the size that costs least: small ones compute little that nobody painted, but more of halo.
    """

    def cost(found: list[tuple[Tile, NDArray[np.intp]]]) -> int:
        return sum(TILE_COST + prod(s.stop - s.start for s in tile.read) for tile, _ in found)

    return min((_tiles_with(shape, halo, where, side) for side in TRAIN_TILES), key=cost)


def _tiles_with(
    shape: Sequence[int], halo: Sequence[int], where: NDArray[np.intp], side: int
) -> list[tuple[Tile, NDArray[np.intp]]]:
    size = (min(1 if halo[0] == 0 else TRAIN_TILES[0], shape[0]), side, side)
    counts = [-(-n // s) for n, s in zip(shape, size, strict=True)]
    block = np.ravel_multi_index(tuple((where // size).T), counts)
    order = np.argsort(block, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    return [
        (tile_at([int(i) for i in np.unravel_index(block[group[0]], counts)], shape, size, halo), group)
        for group in groups
        if len(group)
    ]
