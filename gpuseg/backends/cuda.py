"""CUDA through CuPy: kernels of our own for what gpuseg is about, launched by name.

Every primitive has finished on the device when it returns: arrays may go from thread to thread, and each
thread has a stream of its own, so that one tile is copied while another is computed.
"""

from collections.abc import Collection, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gpuseg.backends import plan, taps
from gpuseg.backends._cuda import answers, components, device, eigen, flat, flood, grow, regions, rings
from gpuseg.backends._cuda.bank import Bank
from gpuseg.backends._cuda.forest import Packed, pack, walk_planes
from gpuseg.backends._cuda.memory import Memory
from gpuseg.backends._cuda.smoothing import gaussian
from gpuseg.backends._kernels import Kernels
from gpuseg.backends._reference_objects import check_components, check_flood
from gpuseg.backends.base import Array, ForestArrays, Grown, Growth, Job, Sigmas
from gpuseg.errors import ModelMismatchError, ShapeError
from gpuseg.tiles import Region, pieces, within

SCRATCH = 2**33  # bytes of intermediate planes at most: no faster with more
TILE, TILE_BYTES = 2**26, 2**31  # pixels of a tile, and bytes of it that the host keeps, at most
BANKS = 8  # selections whose tables are kept
BLOCKS = 8  # blocks of walking kernels on a multiprocessor at once, at most


class CudaBackend:
    """CuPy arrays on one device. `memory`: bytes it may take there, by default nearly all."""

    name = "cuda"

    def __init__(self, index: int = 0, memory: int | None = None) -> None:
        self._xp, self._index = device.open_cupy(index), index
        self._kernels = Kernels(self._xp)
        self._memory = Memory(self._xp, index, memory)
        self._scratch_bytes = 0  # not known yet
        self._packed: WeakKeyDictionary[ForestArrays, Packed] = WeakKeyDictionary()
        self._banks: dict[tuple[Job, ...], Bank] = {}

    def asarray(self, x: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        with self._memory.at_work():
            here = self._xp.asarray(x)  # as it is: integers are a quarter of what they are as float32
            return here if dtype is None else here.astype(dtype, copy=False)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        if isinstance(x, np.ndarray) and not hasattr(x, "get"):
            return x
        with self._memory.at_work():
            return device.download(self._xp, x)

    def gaussian(
        self, image: Array, sigma: Sigmas, order: Sequence[int] = (), window: float = taps.FILTER_WINDOW
    ) -> Array:
        with self._memory.at_work():
            return gaussian(self._xp, self._kernels, image, sigma, order, window)

    def magnitude(self, parts: Sequence[Array]) -> Array:
        with self._memory.at_work():
            return self._xp.sqrt(sum(p * p for p in parts))

    def eigvals_sym(self, upper: Sequence[Array]) -> list[Array]:
        with self._memory.at_work():
            return eigen.eigvals_sym(self._xp, self._kernels, upper)

    def bank(self, image: Array, jobs: Sequence[Job], core: Region, out: Array | None = None) -> Array | None:
        if (steps := plan.plan(jobs)) is None:
            return None
        shape = (plan.plane_count(steps), *_size(image, core))
        if out is not None and (out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous):
            raise ShapeError(
                f"planes go into a contiguous float32 array of shape {shape}, "
                f"`out` is {out.dtype}, shape {out.shape}"
            )
        with self._memory.at_work():
            out = self._xp.empty(shape, np.float32) if out is None else out
            self._bank(jobs).store(self._kernels, self._pixels(image), core, out, self._scratch())
            return out

    def forest_proba(self, planes: Array, forest: ForestArrays) -> Array:
        with self._memory.at_work():
            packed = self._pack(forest, len(planes))
            out = self._xp.empty((*planes.shape[1:], packed.classes), np.float32)
            self._walk(planes, packed, out)
            return out

    def image_proba(
        self, image: Array, jobs: Sequence[Job], core: Region, forest: ForestArrays
    ) -> Array | None:
        if (steps := plan.plan(jobs)) is None:
            return None
        size, count = _size(image, core), plan.plane_count(steps)
        with self._memory.at_work():
            bank, packed = self._bank(jobs), self._pack(forest, count)
            image = self._pixels(image)
            out = self._xp.empty((*size, packed.classes), np.float32)
            fused = bank.flat_only and packed.value_bytes <= packed.most
            each = 4 * (3 * len(steps) + (0 if fused else count))
            for part in pieces(core, self._scratch() // each):
                inside = within(part, core)
                if fused:
                    smooth = bank.smooth_flat(self._kernels, image, part)
                    flat.classify(self._kernels, smooth, part, packed, out[inside], self._blocks())
                else:
                    planes = self._xp.empty((count, *(s.stop - s.start for s in part)), np.float32)
                    bank.store(self._kernels, image, part, planes, self._scratch())
                    self._walk(planes, packed, out[inside])
            return out

    def likeliest(self, proba: Array) -> Array:
        with self._memory.at_work():
            return answers.of_classes(self._xp, self._kernels, "likeliest", proba, np.uint8)

    def doubt(self, proba: Array) -> Array:
        with self._memory.at_work():
            return answers.of_classes(self._xp, self._kernels, "doubt", proba, np.float32)

    def integers(self, values: Array, dtype: DTypeLike) -> Array:
        with self._memory.at_work():
            return answers.integers(self._xp, self._kernels, values, np.dtype(dtype))

    def components(self, image: Array, connectivity: int = 1) -> tuple[Array, int]:
        check_components(image, connectivity)
        with self._memory.at_work():
            return components.components(self._xp, self._kernels, image, connectivity)

    def flood(self, cost: Array, seeds: Array, limit: float) -> Array:
        """Basins at once; on the host if memory is short, or one is so large that a thread takes longer."""
        check_flood(cost, seeds)
        with self._memory.at_work():
            grown = flood.flood(self._xp, self._kernels, cost, seeds, limit, self.free())
        if grown is not None:
            return grown
        from gpuseg.backends._numba.flood import flood as on_host

        return self.asarray(on_host(self.to_numpy(cost), self.to_numpy(seeds), limit))

    def region_sums(
        self,
        labels: Array,
        count: int,
        values: Array | None,
        wants: Collection[str],
        ranges: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        with self._memory.at_work():
            return regions.region_sums(self._xp, self._kernels, labels, count, values, wants, ranges)

    def rows(self, planes: Array, where: NDArray[np.intp]) -> NDArray[np.float32]:
        with self._memory.at_work():
            at = self._xp.asarray(np.ascontiguousarray(where.T))
            picked = planes[(slice(None), *at)]
            return device.download(self._xp, self._xp.ascontiguousarray(picked.T))

    def grow(self, codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
        with self._memory.at_work():
            return grow.grow(self._xp, self._kernels, codes, target, how)

    def room(self, floats: int) -> int:
        """Of two tiles in work there are pixels as they came and as float32, with halos, and answers."""
        free = self.free() - 2 * self._scratch()
        return max(1, min(TILE, TILE_BYTES // (4 * floats), free // (16 * floats)))

    def free(self) -> int:
        return self._memory.free()

    def release(self) -> None:
        self._scratch_bytes = 0
        self._memory.release()

    def _ring_sums(
        self, labels: Array, raw: Array, boxes: NDArray[np.int64], margin: tuple[int, int, int]
    ) -> dict[str, NDArray[Any]] | None:
        """What `backends.rings` asks for."""
        with self._memory.at_work():
            room = self._blocks() // BLOCKS, self.free()
            return rings.ring_sums(self._xp, self._kernels, labels, raw, boxes, margin, *room)

    def _pixels(self, image: Array) -> Array:
        return self._xp.ascontiguousarray(image, np.float32)

    def _bank(self, jobs: Sequence[Job]) -> Bank:
        key = tuple(jobs)
        if (bank := self._banks.get(key)) is None:
            with self._memory.lasting():
                bank = Bank.of(self._xp, plan.plan(jobs) or [])
            for old in list(self._banks)[: len(self._banks) - BANKS + 1]:
                self._banks.pop(old, None)
            self._banks[key] = bank
        return bank

    def _pack(self, forest: ForestArrays, planes: int) -> Packed:
        if (packed := self._packed.get(forest)) is None:
            with self._memory.lasting():
                packed = pack(self._xp, forest, self._most_shared())
            self._packed[forest] = packed
        if planes < packed.features:
            raise ModelMismatchError(f"the forest tests feature {packed.features - 1}, there are {planes}")
        return packed

    def _walk(self, planes: Array, packed: Packed, out: Array) -> None:
        flat_planes = self._xp.ascontiguousarray(planes, np.float32).reshape(len(planes), -1)
        walk_planes(self._kernels, flat_planes, packed, out.reshape(-1, packed.classes), self._blocks())

    def _blocks(self) -> int:
        return BLOCKS * int(self._memory.device().attributes["MultiProcessorCount"])

    def _most_shared(self) -> int:
        """Bytes of dynamic shared memory that a block of classify2d can have."""
        return int(self._memory.device().attributes["MaxSharedMemoryPerBlockOptin"]) - flat.STATIC

    def _scratch(self) -> int:
        """Bytes for intermediate planes; the driver is not asked each time: small tiles are done sooner."""
        if not self._scratch_bytes:
            self._scratch_bytes = max(2**20, min(SCRATCH, self.free() // 4))
        return self._scratch_bytes


def _size(image: Array, core: Region) -> tuple[int, ...]:
    """Size of a region that kernels may take: they do not look where they read."""
    for s, n in zip(core, image.shape[1:], strict=True):
        if not 0 <= s.start < s.stop <= n:
            raise ShapeError(f"pixels {s.start} to {s.stop} of an axis of {n}")
    return tuple(int(s.stop - s.start) for s in core)
