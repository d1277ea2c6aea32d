"""Where the objects of an image come from: pixel classes, probabilities, a segmentation, or labels."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, sizes
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import FULL, why
from gpuseg.export import Sink
from gpuseg.io.base import Image
from gpuseg.model import PixelModel
from gpuseg.objects.blocks import Tiled, segment_tiles
from gpuseg.objects.pixels import Pixels, numbered
from gpuseg.objects.settings import Settings
from gpuseg.objects.sizes import picked
from gpuseg.objects.thresholds import objects, see
from gpuseg.run.held import Labels, Planes, Space
from gpuseg.run.steps import Steps
from gpuseg.run.stream import Tap, stream
from gpuseg.tiles import Region, Tile, tile_size, tiles

log = logging.getLogger(__name__)
FLOATS = 8  # that a pixel takes on the way from one probability to its label


@dataclass(frozen=True, slots=True)
class Found:
    """Objects 1 to n of a time point."""

    ids: NDArray[np.int64]  # (n,) their values in the image they come from
    shared: bool = False  # several objects may have one id
    channels: NDArray[np.int64] | None = None  # (n,) of probabilities, where objects are made of several

    @property
    def names(self) -> NDArray[np.int64]:
        """(n,) what each object may be called by, ascending: its id, or its number."""
        return np.arange(1, len(self.ids) + 1) if self.shared else self.ids


class Labeller(Protocol):
    """Finds the objects of one time point after the other."""

    @property
    def shape(self) -> Space: ...
    @property
    def times(self) -> int: ...
    @property
    def layers(self) -> int: ...  # numbers of four bytes that a pixel takes on the way
    @property
    def halo(self) -> tuple[int, ...]: ...  # pixels around a tile that it must see

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        """Labels go to `into`, in one piece or in tiles as it says. Takes `stages` stages."""

    def stages(self) -> int:
        """How many stages `label` has."""


@dataclass(slots=True)
class OfPixels:
    """Of a raw image: a pixel classifier, then thresholds. Fills the sinks of pixel results on the way."""

    backends: Sequence[Backend]
    image: Image
    model: PixelModel
    settings: Settings
    sinks: Sequence[Sink] = ()

    @property
    def shape(self) -> Space:
        return _space(self.image)

    @property
    def times(self) -> int:
        return sizes(self.image.axes, self.image.shape)["t"]

    @property
    def channels(self) -> list[int]:
        return self.settings.channels(len(self.model.classes))

    @property
    def layers(self) -> int:
        return len(self.channels)

    @property
    def halo(self) -> tuple[int, ...]:
        return self.settings.halo(self.shape)

    def stages(self) -> int:
        return 2

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        b = self.backends[0]
        planes = Planes(b, self.channels, self.shape, whole=into.tile is None)
        steps.stage(1)
        stream(
            self.backends,
            self.image,
            self.model,
            self.sinks,
            times=range(t, t + 1),
            tap=Tap(planes.make, planes.put),
            block=into.tile,
            progress=steps.reach,
            cancel=steps.cancel,
        )
        return _thresholded(b, planes.read, self.settings, into, steps)


class Map(Protocol):
    """Probabilities in a file."""

    def read(self, b: Backend, t: int, region: Region) -> Array: ...


@dataclass(slots=True)
class OfProbabilities:
    """Of a probability map: thresholds."""

    b: Backend
    map: Map
    shape: Space
    times: int
    settings: Settings
    layers: int

    @property
    def halo(self) -> tuple[int, ...]:
        return self.settings.halo(self.shape)

    def stages(self) -> int:
        return 1

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        return _thresholded(self.b, lambda b, region: self.map.read(b, t, region), self.settings, into, steps)


Read = Callable[[Backend, Region], Array]  # probabilities of a region, on a backend


def _thresholded(b: Backend, read: Read, settings: Settings, into: Labels, steps: Steps) -> Found:
    def attempt(b: Backend) -> Found:
        here = partial(read, b)
        if into.tile is None:
            everything = tuple(slice(0, n) for n in into.shape)
            seen = see(b, here(everything), settings, settings.smoothing(into.shape))
            found = objects(b, seen, settings)
            into.hold(found.labels)
            return Found(np.arange(1, found.count + 1), channels=found.classes)
        tiled = Tiled(b, here, into.shape, tuple(into.tile), settings)
        steps.grow(2 * prod(tiled.counts))
        tally = segment_tiles(tiled, into.write, steps)
        return Found(np.arange(1, tally.count + 1), channels=tally.classes)

    return laddered(b, attempt, into, settings.halo(into.shape), steps)


def laddered(
    b: Backend, attempt: Callable[[Backend], Found], into: Labels, halo: Sequence[int], steps: Steps
) -> Found:
    """In one piece if that is wanted, in tiles where memory does not do, in small tiles, and on the CPU."""
    steps.stage(1)
    steps.step()
    cpu, smaller = get_backend("cpu"), tile_size(into.shape, halo, max(1, b.room(FLOATS) // 4))
    if into.tile is not None:
        smaller = tuple(map(min, smaller, into.tile))
    ways = [(b, into.tile), (b, smaller)] + ([(cpu, smaller)] if b.name != "cpu" else [])
    while True:
        backend, into.tile = ways.pop(0)
        try:
            return attempt(backend)
        except FULL as error:
            if into.begun:
                ways = [(cpu, into.tile)] if backend.name != "cpu" else []
            if not ways:
                raise
            b.release()
            log.warning("%s; %s", why(error), "the CPU does the rest" if into.begun else "going on in tiles")


@dataclass(slots=True)
class OfImage:
    """Of an image whose values are objects: what does not depend on how."""

    b: Backend
    pixels: Pixels
    layers: int = 1
    halo: tuple[int, ...] = (0, 0, 0)
    told: bool = False  # of a mask in place of labels

    @property
    def shape(self) -> Space:
        return _space(self.pixels)

    @property
    def times(self) -> int:
        return self.pixels.sizes["t"]

    def stages(self) -> int:
        return 1

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        return laddered(self.b, lambda b: self._label(b, t, into, steps), into, self.halo, steps)

    def _label(self, b: Backend, t: int, into: Labels, steps: Steps) -> Found:
        raise NotImplementedError

    def _among(self, t: int, known: NDArray[np.int64], region: Region) -> NDArray[np.int32]:
        """(1, z, y, x) the place of each value among all of them, from 1; 0 for 0.

        Values may be too large to be compared as they are.
        """
        labels, ids = numbered(self.pixels.integers(t, region))
        return np.concatenate([[0], np.searchsorted(known, ids) + 1]).astype(np.int32)[labels][None]


class OfSegmentation(OfImage):
    """Of a binary or multi-valued image: connected pixels of equal value (SPEC 5.1)."""

    def _label(self, b: Backend, t: int, into: Labels, steps: Steps) -> Found:
        if into.tile is None:
            values, known = numbered(self.pixels.integers(t, self.pixels.whole))
            there = b.asarray(values)
            labels, count = b.components(there)
            into.hold(labels)
            return Found(known[picked(b, labels, count, there) - 1], shared=True)
        known = _union(self.pixels, t, tiles(self.shape, into.tile, (0, 0, 0)))

        values_in = partial(self._among, t, known)
        tiled = _Values(b, values_in, self.shape, tuple(into.tile), _EVERYTHING)
        steps.grow(2 * prod(tiled.counts))
        values_of: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def write(region: Region, labels: NDArray[np.int32]) -> None:
            into.write(region, labels)
            numbers, first = np.unique(labels, return_index=True)
            values_of.append((numbers, values_in(region).ravel()[first]))

        count = segment_tiles(tiled, write, steps).count
        ids = np.zeros(count + 1, np.int64)
        for numbers, places in values_of:
            ids[numbers] = np.concatenate([[0], known])[places]
        return Found(ids[1:], shared=True)


def _union(pixels: Pixels, t: int, parts: Iterable[Tile]) -> NDArray[np.int64]:
    """All values of an image but 0, ascending."""
    there: NDArray[np.int64] = np.zeros(0, np.int64)
    for part in parts:
        there = np.union1d(there, numbered(pixels.integers(t, part.core))[1])
    return there


_EVERYTHING = Settings(sigma=(0.0, 0.0, 0.0), min_size=1, max_size=2**62)


class _Values(Tiled):
    """Tiles of an image whose values are compared, not thresholded."""

    def see(self, region: Region) -> Any:
        return _Flat(self.read(region)[0])


@dataclass(frozen=True, slots=True)
class _Flat:
    values: NDArray[np.int32]
    winner: None = None

    def image(self, s: Settings) -> NDArray[np.int32]:
        return self.values


class OfLabels(OfImage):
    """Of a label image: its ids, numbered consecutively at each time point (SPEC 5.1)."""

    def _label(self, b: Backend, t: int, into: Labels, steps: Steps) -> Found:
        if into.tile is None:
            labels, ids = numbered(self.pixels.integers(t, self.pixels.whole))
            there = b.asarray(labels)
            if len(ids) == 1 and not self.told:
                self._doubt(ids[0], b.components(there)[1])
            into.hold(there)
            return Found(ids)
        parts = list(tiles(self.shape, into.tile, (0, 0, 0)))
        known = _union(self.pixels, t, parts)
        if len(known) == 1 and not self.told:
            tiled = _Values(b, partial(self._among, t, known), self.shape, tuple(into.tile), _EVERYTHING)
            steps.grow(2 * prod(tiled.counts))
            self._doubt(known[0], segment_tiles(tiled, lambda region, labels: None, steps).count)
        steps.grow(len(parts))
        for part in parts:
            steps.step()
            into.write(part.core, self._among(t, known, part.core)[0])
        return Found(known)

    def _doubt(self, label: int, pieces: int) -> None:
        """Warn once of one label in several parts: a mask may be meant."""
        if pieces > 1:
            self.told = True
            log.warning(
                "%s: has one label, %d, in %d parts: they are one object; as a segmentation each is one",
                *(self.pixels.name, label, pieces),
            )


def _space(image: Any) -> Space:
    n = sizes(image.axes, image.shape)
    z, y, x = (n[a] for a in SPACE)
    return z, y, x
