"""What is computed of one time point and needed again: on the backend whole, or in a temporary file."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.errors import FULL, why
from gpuseg.objects.scratch import Scratch
from gpuseg.tiles import Region

log = logging.getLogger(__name__)
Space = tuple[int, int, int]  # z, y, x
Put = Callable[[Region, NDArray[np.int32]], None]


class Planes:
    """Probabilities that objects are made of: written tile by tile, read by region."""

    def __init__(self, b: Backend, channels: Sequence[int], shape: Space, *, whole: bool) -> None:
        self._b, self._shape = b, (len(channels), *shape)
        one = len(channels) == 1
        self._channels = slice(channels[0], channels[0] + 1) if one else list(channels)
        self._array: Array | None = None
        self._scratch = None if whole else Scratch(self._shape, np.float32, "probabilities")

    def make(self, b: Backend, proba: Array, planes: Any) -> Array:
        """The channels that are kept, of the probabilities (z, y, x, classes) of a tile."""
        made = proba[..., self._channels]
        return (
            made if self._scratch is None else made.copy()
        )  # else it would be copied on its way to the host

    def put(self, region: Region, made: Array, b: Backend) -> None:
        """What `make` made of a region, on the backend `b` or on the host."""
        everywhere = (slice(None), *region)
        if self._scratch is not None:
            self._scratch[everywhere] = b.to_numpy(made).transpose(3, 0, 1, 2)
            return
        if b is not self._b:  # devices do not read each other's memory
            made = b.to_numpy(made)
        try:
            made = self._b.asarray(made)
            if self._array is None:
                self._array = np.empty_like(made, shape=self._shape)  # of the arrays' own library
        except FULL as error:
            if self._array is not None:
                raise
            self._b.release()
            log.warning("%s; probabilities go to a temporary file", why(error))
            self._scratch = Scratch(self._shape, np.float32, "probabilities")
            self.put(region, made, b)
            return
        self._array[everywhere] = made.transpose(3, 0, 1, 2)

    def read(self, b: Backend, region: Region) -> Array:
        """float32 (channels, z, y, x) on a backend."""
        everywhere = (slice(None), *region)
        if self._scratch is not None:
            return b.asarray(self._scratch[everywhere])
        assert self._array is not None
        here = self._array[everywhere]
        return here if b is self._b else b.asarray(self._b.to_numpy(here))


class Labels:
    """Objects of one time point, numbered from 1: int32 (z, y, x). In one piece, or in tiles of some size."""

    def __init__(self, b: Backend, shape: Space, tile: Sequence[int] | None) -> None:
        self._b, self.shape, self.tile = b, shape, tile
        self.array: Array | None = None  # all of them, where they are in memory
        self.begun = False  # what is written cannot be written in other tiles
        self._scratch: Scratch | None = None

    def hold(self, labels: Array) -> None:
        self.array = labels

    def write(self, region: Region, labels: NDArray[np.int32]) -> None:
        if self._scratch is None:
            self._scratch = Scratch(self.shape, np.int32, "labels")
        self.array = None  # of an attempt that failed
        self._scratch[region] = labels

    def read(self, region: Region) -> NDArray[np.int32]:
        """On the host."""
        if self._scratch is not None:
            return self._scratch[region]
        assert self.array is not None
        return self._b.to_numpy(self.array[region])

    def looked_up(self, region: Region, table: NDArray[Any]) -> NDArray[Any]:
        """`table[labels]` there, on the host: (z, y, x, ...)."""
        if self.array is not None and not isinstance(self.array, np.ndarray):
            with suppress(*FULL):
                return self._b.to_numpy(self._b.asarray(table)[self.array[region]])
        return table.take(self.read(region), axis=0)


class Passed(Labels):
    """Labels that go on as they are made, in whatever tiles, each once; they are not kept."""

    def __init__(self, b: Backend, shape: Space, tile: Sequence[int] | None, put: Put) -> None:
        super().__init__(b, shape, tile)
        self._put, self._done = put, set[tuple[int, ...]]()

    def hold(self, labels: Array) -> None:
        self.write(tuple(slice(0, n) for n in self.shape), self._b.to_numpy(labels))

    def write(self, region: Region, labels: NDArray[np.int32]) -> None:
        self.begun, place = True, tuple(s.start for s in region)
        if place not in self._done:
            self._put(region, labels)
            self._done.add(place)
