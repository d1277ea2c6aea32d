"""Where the objects of an image come from: pixel classes, probabilities, a segmentation, or labels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, sizes
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import LabelError
from gpuseg.export import Sink
from gpuseg.io.base import Image
from gpuseg.model import PixelModel
from gpuseg.objects.blocks import Read, Tiled, segment_tiles
from gpuseg.objects.pixels import Pixels, numbered
from gpuseg.objects.settings import Settings
from gpuseg.objects.sizes import picked
from gpuseg.objects.thresholds import objects, see
from gpuseg.run.held import FULL, Labels, Planes, Space
from gpuseg.run.steps import Steps
from gpuseg.run.stream import Tap, stream
from gpuseg.tiles import Region, tile_size, tiles

log = logging.getLogger(__name__)
FLOATS = 8  # that a pixel takes on the way from one probability to its label
WIDEST = 2**31 - 1  # value of a segmentation that components can compare


@dataclass(frozen=True, slots=True)
class Found:
    """Objects 1 to n of a time point."""

    ids: NDArray[np.int64]  # (n,) their values in the image they come from
    classes: NDArray[np.int64] | None = None  # (n,) channel of each, where several are segmented in one go
    shared: bool = False  # several objects may have one id

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
        read = partial(self.map.read, self.b, t)
        return _thresholded(self.b, read, self.settings, into, steps)


def _thresholded(b: Backend, read: Read, settings: Settings, into: Labels, steps: Steps) -> Found:
    """Objects of probabilities; in tiles too where the device has not enough memory for one piece."""
    if into.tile is None:
        steps.stage(1)
        steps.step()
        everything = tuple(slice(0, n) for n in into.shape)
        try:
            seen = see(b, read(everything), settings, settings.smoothing(into.shape))
            found = objects(b, seen, settings)
        except FULL as error:
            b.release()
            log.warning("%s; going on in tiles", error)
            into.tile = tile_size(into.shape, settings.halo(into.shape), b.room(FLOATS) // 2)
        else:
            into.hold(found.labels)
            count, classes = _count(found)
            return Found(np.arange(1, count + 1), classes)
    else:
        steps.stage(1)
    tiled = Tiled(b, read, into.shape, tuple(into.tile), settings)
    steps.stage_grows(2 * prod(tiled.counts))
    count, classes = _count(segment_tiles(tiled, into.write, steps))
    return Found(np.arange(1, count + 1), classes)


def _count(found: Any) -> tuple[int, NDArray[np.int64] | None]:
    return int(found.count), found.classes


@dataclass(slots=True)
class OfSegmentation:
    """Of a binary or multi-valued image: connected pixels of equal value (SPEC 5.1)."""

    b: Backend
    pixels: Pixels
    layers: int = 1
    halo: tuple[int, ...] = (0, 0, 0)

    @property
    def shape(self) -> Space:
        return _space(self.pixels)

    @property
    def times(self) -> int:
        return self.pixels.sizes["t"]

    def stages(self) -> int:
        return 1

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        if into.tile is None:
            steps.stage(1)
            steps.step()
            values, known = numbered(self.pixels.integers(t, self.pixels.whole))
            there = self.b.asarray(values)
            labels, count = self.b.components(there)
            into.hold(labels)
            return Found(known[picked(self.b, labels, count, there) - 1], shared=True)
        tiled = _Values(self.b, partial(self._values, t), self.shape, tuple(into.tile), _EVERYTHING)
        steps.stage(2 * prod(tiled.counts))
        values_of: list[tuple[NDArray[Any], NDArray[Any]]] = []

        def write(region: Region, labels: NDArray[np.int32]) -> None:
            into.write(region, labels)
            numbers, first = np.unique(labels, return_index=True)
            values_of.append((numbers, self._values(t, region)[0].ravel()[first]))

        count = segment_tiles(tiled, write, steps).count
        ids = np.zeros(count + 1, np.int64)
        for numbers, values in values_of:
            ids[numbers] = values
        return Found(ids[1:], shared=True)

    def _values(self, t: int, region: Region) -> NDArray[np.int32]:
        """As components compare them, with an axis of channels in front."""
        found = self.pixels.integers(t, region)
        if (most := int(found.max(initial=0))) > WIDEST:
            raise LabelError(
                f"{self.pixels.name}: value {most} of a segmentation; in tiles at most {WIDEST} is possible",
                hint="are these labels? give them as a label image",
            )
        return found.astype(np.int32)[None]


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


@dataclass(slots=True)
class OfLabels:
    """Of a label image: its ids, numbered consecutively at each time point (SPEC 5.1)."""

    b: Backend
    pixels: Pixels
    layers: int = 1
    halo: tuple[int, ...] = (0, 0, 0)

    @property
    def shape(self) -> Space:
        return _space(self.pixels)

    @property
    def times(self) -> int:
        return self.pixels.sizes["t"]

    def stages(self) -> int:
        return 1

    def label(self, t: int, into: Labels, steps: Steps) -> Found:
        if into.tile is None:
            steps.stage(1)
            steps.step()
            labels, ids = numbered(self.pixels.integers(t, self.pixels.whole))
            into.hold(self.b.asarray(labels))
            return Found(ids)
        parts = list(tiles(self.shape, into.tile, (0, 0, 0)))
        steps.stage(2 * len(parts))
        there: NDArray[np.int64] = np.zeros(0, np.int64)
        for part in parts:
            steps.step()
            there = np.union1d(there, numbered(self.pixels.integers(t, part.core))[1])
        for part in parts:
            steps.step()
            labels, ids = numbered(self.pixels.integers(t, part.core))
            table = np.concatenate([[0], np.searchsorted(there, ids) + 1]).astype(np.int32)
            into.write(part.core, table[labels])
        return Found(there)


def _space(image: Any) -> Space:
    n = sizes(image.axes, image.shape)
    z, y, x = (n[a] for a in SPACE)
    return z, y, x
