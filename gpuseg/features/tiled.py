"""A tile that does not fit on the device: in halves, and at last on the CPU."""

import logging
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend, ForestArrays
from gpuseg.errors import FULL, why
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.tiles import Region, grown, within

log = logging.getLogger(__name__)
LEAST = 2**14  # pixels: less than this on the device, and the CPU is as fast
# Of a backend, probabilities (z, y, x, classes) and planes (features, z, y, x), each None unless asked for;
# what it makes has the axes z, y, x in front, and stays on the backend.
Make = Callable[[Backend, Any, Any], Array]
PROBABILITIES: Sequence[Make] = (lambda b, proba, planes: proba,)


class TileRunner:
    """Computes tile after tile on one backend. What did not fit once is not tried again."""

    def __init__(
        self,
        b: Backend,
        selection: Selection,
        forest: ForestArrays,
        makes: Sequence[Make] = PROBABILITIES,
        *,
        proba: bool = True,
        planes: bool = False,
    ) -> None:
        """makes: what is wanted of a tile; proba, planes: from which of the two, or both, it is made."""
        self.backend = b
        self._selection, self._forest, self._makes = selection, forest, makes
        self._proba, self._planes = proba, planes
        self._most: int | None = None  # pixels that fit

    def upload(self, pixels: NDArray[Any]) -> list[Array]:
        """The tile (c, z, y, x) on the backend, as float32, in a list: empty if it does not fit whole."""
        try:
            return [] if self._most else [self.backend.asarray(pixels, np.float32)]
        except FULL:
            return []

    def run(self, pixels: NDArray[Any], uploaded: list[Array], core: Region) -> list[Array]:
        """What is wanted of `core`, on the backend, or on the host where it did not fit there.

        pixels: the tile on the host, any real type; uploaded: by `upload`, and emptied: memory is scarce.
        """
        if uploaded:
            try:
                return self._answers(self.backend, uploaded.pop(), core)
            except FULL:
                self.backend.release()  # somebody else may have held it for a moment: once more
        return self._parts(pixels, core)

    def _parts(self, pixels: NDArray[Any], core: Region) -> list[Array]:
        """`core` on the host, in one piece or in two halves, each with its own halo."""
        if self._most is None or _size(core) <= self._most:
            try:
                return self._on_host(self.backend, pixels, core)
            except FULL as e:
                self._smaller(core, e)
        if _size(core) <= LEAST:
            log.warning("%d pixels do not fit on the GPU: computing them on the CPU", _size(core))
            return self._on_host(get_backend("cpu"), pixels, core)
        halo = self._selection.halo(pixels.shape[1])
        axis = max(range(3), key=lambda a: core[a].stop - core[a].start)
        middle = (core[axis].start + core[axis].stop) // 2
        found = []
        for half in (slice(core[axis].start, middle), slice(middle, core[axis].stop)):
            part = tuple(half if a == axis else core[a] for a in range(3))
            read = grown(part, halo, pixels.shape[1:])
            found.append(self._parts(pixels[(slice(None), *read)], within(part, read)))
        return [np.concatenate(parts, axis) for parts in zip(*found, strict=True)]

    def _smaller(self, core: Region, error: Exception) -> None:
        self.backend.release()
        self._most = max(1, _size(core) // 2)
        log.warning("%s; going on in smaller tiles", why(error))

    def _on_host(self, b: Backend, pixels: NDArray[Any], core: Region) -> list[Array]:
        image = b.asarray(np.ascontiguousarray(pixels), np.float32)
        return [b.to_numpy(made) for made in self._answers(b, image, core)]

    def _answers(self, b: Backend, image: Array, core: Region) -> list[Array]:
        proba = planes = None
        if self._planes:
            planes = feature_stack(b, image, self._selection, core)
            proba = b.forest_proba(planes, self._forest) if self._proba else None
        else:
            proba = probabilities(b, image, self._selection, self._forest, core)
        return [make(b, proba, planes) for make in self._makes]


def _size(region: Region) -> int:
    return prod(s.stop - s.start for s in region)
