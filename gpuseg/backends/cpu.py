"""The meaning of every primitive, in NumPy and SciPy: slow is fine here, surprising is not.

`ReferenceBackend` is that meaning. `CpuBackend` is what runs: it takes the shortcuts of `_numba`, which
tests compare with the reference.
"""

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gpuseg.backends import _reference_grow, _reference_objects, _reference_regions, plan, taps
from gpuseg.backends.base import Array, ForestArrays, Grown, Growth, Job, Sigmas
from gpuseg.errors import ModelMismatchError, ShapeError
from gpuseg.tiles import Region

if TYPE_CHECKING:
    from gpuseg.backends._numba.walk import Packed

TILE = 2**22  # pixels of a tile at most: some 0.3 s of work on two cores, 8 % more pixels than asked for
TILE_BYTES = 2**28  # that the pixels and results of one tile may take


class ReferenceBackend:
    """NumPy arrays, one primitive at a time."""

    name = "reference"

    def asarray(self, x: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        return np.asarray(x, dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        return np.asarray(x)

    def gaussian(
        self, image: Array, sigma: Sigmas, order: Sequence[int] = (), window: float = taps.FILTER_WINDOW
    ) -> Array:
        from scipy import ndimage  # late: the fast path does without, and starts sooner

        for axis in reversed(range(image.ndim)):
            n = order[axis] if order else 0
            right = taps.half(sigma[axis], n, window)
            kernel = np.concatenate([(-1) ** n * right[:0:-1], right])
            image = ndimage.correlate1d(image, kernel, axis, mode="mirror")
        return image

    def magnitude(self, parts: Sequence[Array]) -> Array:
        return np.sqrt(sum(p * p for p in parts))

    def eigvals_sym(self, upper: Sequence[Array]) -> list[Array]:
        n = {3: 2, 6: 3}[len(upper)]
        matrix = np.empty((*upper[0].shape, n, n))
        for part, (i, j) in zip(upper, zip(*np.triu_indices(n), strict=True), strict=True):
            matrix[..., i, j] = matrix[..., j, i] = part
        return list(np.moveaxis(np.linalg.eigvalsh(matrix)[..., ::-1], -1, 0).astype(np.float32))

    def bank(self, image: Array, jobs: Sequence[Job], core: Region, out: Array | None = None) -> Array | None:
        return None

    def forest_proba(self, planes: Array, forest: ForestArrays) -> Array:
        rows = planes.reshape(len(planes), -1)
        pixels = np.arange(rows.shape[1])
        total = np.zeros((len(pixels), forest.leaves.shape[1]))
        for root in forest.roots:
            node = np.full(len(pixels), root)
            while (inner := forest.feature[node] >= 0).any():
                at = node[inner]
                left = rows[forest.feature[at], pixels[inner]] < forest.threshold[at]
                node[inner] = forest.left[at] + ~left
            total += forest.leaves[forest.left[node]]
        return (total / len(forest.roots)).astype(np.float32).reshape(*planes.shape[1:], -1)

    def image_proba(
        self, image: Array, jobs: Sequence[Job], core: Region, forest: ForestArrays
    ) -> Array | None:
        return None

    def likeliest(self, proba: Array) -> Array:
        return proba.argmax(axis=-1).astype(np.uint8)

    def doubt(self, proba: Array) -> Array:
        if proba.shape[-1] == 1:
            return np.zeros_like(proba[..., 0])
        top = np.partition(proba, -2, axis=-1)
        return 1 - (top[..., -1] - top[..., -2])

    def integers(self, values: Array, dtype: DTypeLike) -> Array:
        return np.rint(np.float32(np.iinfo(np.dtype(dtype)).max) * values).astype(dtype)

    def components(self, image: Array, connectivity: int = 1) -> tuple[Array, int]:
        _reference_objects.check_components(image, connectivity)
        return _reference_objects.components(image, connectivity)

    def flood(self, cost: Array, seeds: Array, limit: float) -> Array:
        _reference_objects.check_flood(cost, seeds)
        return _reference_objects.flood(cost, seeds, limit)

    def region_sums(
        self,
        labels: Array,
        count: int,
        values: Array | None,
        wants: Collection[str],
        ranges: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        return _reference_regions.region_sums(labels, count, values, wants, ranges)

    def rows(self, planes: Array, where: NDArray[np.intp]) -> NDArray[np.float32]:
        return np.ascontiguousarray(planes[(slice(None), *where.T)].T)

    def grow(self, codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
        return _reference_grow.grow(codes, target, how)

    def room(self, floats: int) -> int:
        return min(TILE, TILE_BYTES // (4 * floats))

    def free(self) -> int:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def release(self) -> None: ...


class CpuBackend(ReferenceBackend):
    """NumPy arrays, all cores this process may use."""

    name = "cpu"

    def __init__(self) -> None:
        self._packed: WeakKeyDictionary[ForestArrays, Packed] = WeakKeyDictionary()

    def gaussian(
        self, image: Array, sigma: Sigmas, order: Sequence[int] = (), window: float = taps.FILTER_WINDOW
    ) -> Array:
        from gpuseg.backends._numba.smooth import smooth

        if any(order) or image.dtype != np.float32:
            return super().gaussian(image, sigma, order, window)
        return smooth(image, [taps.half(s, 0, window) for s in sigma])

    def bank(self, image: Array, jobs: Sequence[Job], core: Region, out: Array | None = None) -> Array | None:
        from gpuseg.backends._numba import pipeline

        if (steps := plan.plan(jobs)) is None:
            return None
        shape = (plan.plane_count(steps), *_size(image, core))
        out = np.empty(shape, np.float32) if out is None else out
        if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ShapeError(
                f"planes go into a contiguous float32 array of shape {shape}, "
                f"`out` is {out.dtype}, shape {out.shape}"
            )
        pipeline.store_planes(np.ascontiguousarray(image, np.float32), steps, core, out)
        return out

    def components(self, image: Array, connectivity: int = 1) -> tuple[Array, int]:
        from gpuseg.backends._numba import components

        _reference_objects.check_components(image, connectivity)
        return components.components(image, connectivity)

    def flood(self, cost: Array, seeds: Array, limit: float) -> Array:
        from gpuseg.backends._numba import flood

        _reference_objects.check_flood(cost, seeds)
        return flood.flood(cost, seeds, limit)

    def forest_proba(self, planes: Array, forest: ForestArrays) -> Array:
        from gpuseg.backends._numba import pipeline

        return pipeline.classify_planes(planes, self._pack(forest, len(planes)))

    def image_proba(
        self, image: Array, jobs: Sequence[Job], core: Region, forest: ForestArrays
    ) -> Array | None:
        from gpuseg.backends._numba import pipeline

        if (steps := plan.plan(jobs)) is None:
            return None
        _size(image, core)
        packed = self._pack(forest, plan.plane_count(steps))
        return pipeline.classify(np.ascontiguousarray(image, np.float32), steps, core, packed)

    def grow(self, codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
        from gpuseg.backends._numba import grow

        return grow.grow(codes, target, how)

    def likeliest(self, proba: Array) -> Array:
        from gpuseg.backends._numba import answers

        return answers.likeliest(proba)

    def doubt(self, proba: Array) -> Array:
        from gpuseg.backends._numba import answers

        return answers.doubt(proba)

    def integers(self, values: Array, dtype: DTypeLike) -> Array:
        from gpuseg.backends._numba import answers

        return answers.integers(values, np.dtype(dtype))

    def region_sums(
        self,
        labels: Array,
        count: int,
        values: Array | None,
        wants: Collection[str],
        ranges: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        from gpuseg.backends._numba import regions

        return regions.region_sums(labels, count, values, wants, ranges)

    def _pack(self, forest: ForestArrays, planes: int) -> "Packed":
        from gpuseg.backends._numba.walk import pack

        if forest not in self._packed:
            self._packed[forest] = pack(forest)
        packed = self._packed[forest]
        if planes < packed.features:
            raise ModelMismatchError(f"the forest tests feature {packed.features - 1}, there are {planes}")
        return packed


def _size(image: Array, core: Region) -> tuple[int, ...]:
    """Size of a region that kernels may take: they do not look where they read."""
    for s, n in zip(core, image.shape[1:], strict=True):
        if not 0 <= s.start < s.stop <= n:
            raise ShapeError(f"pixels {s.start} to {s.stop} of an axis of {n}")
    return tuple(int(s.stop - s.start) for s in core)
