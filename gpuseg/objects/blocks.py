"""Objects of an image larger than memory, tile by tile: the same labels as of the image in one piece.

Tiles are read twice. First their components are found and joined across tiles, so that every object's size
is known, and whether it has a core; then each tile is labelled again and written under the final numbers.
Objects that are parted by a watershed are first computed whole, each in its own box.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.objects import sizes
from gpuseg.objects.settings import Settings
from gpuseg.objects.thresholds import Seen, right_size, see
from gpuseg.objects.unions import Place, Seams, Whole, overlapping
from gpuseg.tiles import Region, Tile, grown, tile_at, within

Read = Callable[[Region], Array]  # float32 (channels, z, y, x) of 0..1 on the backend
Write = Callable[[Region, NDArray[np.int32]], None]


@dataclass(frozen=True, slots=True)
class Tiled:
    """One time point in tiles. `read` is asked for the channels that the settings name."""

    backend: Backend
    read: Read
    shape: tuple[int, ...]
    size: tuple[int, ...]  # of a tile
    settings: Settings

    def places(self) -> Iterator[tuple[Place, Tile]]:
        """Tiles in scan order, by their number along each axis."""
        for place in np.ndindex(*self.counts):
            yield place, tile_at(place, self.shape, self.size, (0, 0, 0))

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(-(-n // s) for n, s in zip(self.shape, self.size, strict=True))

    def see(self, region: Region) -> Seen:
        """What thresholds are applied to in a region, as it is in the whole image."""
        s = self.settings
        read = grown(region, s.halo(self.shape), self.shape)
        smooth = see(self.backend, self.read(read), s, s.smoothing(self.shape))
        return smooth.cut(within(region, read))

    def components(self, image: Array, connectivity: int) -> tuple[NDArray[np.int32], int]:
        labels, count = self.backend.components(self.backend.asarray(image), connectivity)
        return self.backend.to_numpy(labels), count


class Steps(Protocol):
    """Is told of every step."""

    def step(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Objects of a time point: how many, and the class of each if there are classes."""

    count: int
    classes: NDArray[np.int64] | None = None


def segment_tiles(tiled: Tiled, write: Write, steps: Steps) -> Found:
    """Label a time point tile by tile, as `thresholds.objects` does in one piece."""
    if tiled.settings.whole:
        from gpuseg.objects.whole import segment_whole_objects

        return segment_whole_objects(tiled, write, steps)
    survey = _Survey(tiled)
    for place, tile in tiled.places():
        steps.step()
        survey.add(place, tile)
    table, found = survey.finish()
    for place, tile in tiled.places():
        steps.step()
        region = overlapping(tile, tiled.shape)
        labels, count = tiled.components(tiled.see(region).image(tiled.settings), tiled.settings.connectivity)
        begin = survey.seams.begin[place]
        own = np.concatenate([np.zeros(1, np.int32), table[begin : begin + count]])
        core = within(tile.core, region)
        write(tile.core, np.ascontiguousarray(sizes.renamed(tiled.backend, labels, own)[core]))
    return found


class _Survey:
    """The first pass: components of all tiles, and which of them belong together or have a core."""

    def __init__(self, tiled: Tiled) -> None:
        self._tiled = tiled
        self.seams = Seams(tiled.shape)
        self._cores = Seams(tiled.shape) if tiled.settings.method == "hysteresis" else None
        self._within: list[NDArray[np.int64]] = [np.empty((2, 0), np.int64)]  # pairs: final part, core part
        self._classes: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]

    def add(self, place: Place, tile: Tile) -> None:
        t, s = self._tiled, self._tiled.settings
        seen = t.see(overlapping(tile, t.shape))
        labels, count = t.components(seen.image(s), s.connectivity)
        self.seams.add(place, tile.core, labels, count)
        if seen.winner is not None:
            self._classes.append(sizes.picked(t.backend, labels, count, t.backend.to_numpy(seen.winner)))
        if self._cores is not None:
            cores, n = t.components(seen.cores(s), s.connectivity)
            self._cores.add(place, tile.core, cores, n)
            both = (labels > 0) & (cores > 0)
            found = np.unique(labels[both].astype(np.int64) << 32 | cores[both])
            begins = np.array([[self.seams.begin[place] - 1], [self._cores.begin[place] - 1]])
            self._within.append(np.stack([found >> 32, found & 0xFFFFFFFF]) + begins)

    def finish(self) -> tuple[NDArray[np.int32], Found]:
        """The object each part is, 0 for none, and what there is in all."""
        s, whole = self._tiled.settings, self.seams.finish()
        kept = right_size(whole.sizes, s)
        if self._cores is not None:
            cores = self._cores.finish()
            good = right_size(cores.sizes, s)[cores.of_part]
            parts, core_parts = np.concatenate(self._within, axis=1)
            with_core = np.zeros(len(kept), np.bool_)
            with_core[whole.of_part[parts[good[core_parts]]]] = True
            kept &= with_core
        if s.drop_border:
            kept &= ~touch_border(whole, self._tiled.shape)
        numbers = sizes.numbering(kept)[1:]
        classes = None
        if s.classes:
            classes = np.zeros(len(kept), np.int64)
            classes[whole.of_part] = np.concatenate(self._classes)
            classes = classes[kept] - 1
        return numbers[whole.of_part], Found(int(kept.sum()), classes)


def touch_border(whole: Whole, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which components touch the border of the image, by their boxes."""
    axes = [axis for axis in range(3) if axis or shape[0] > 1]
    low = (whole.box[:, 0, axes] == 0).any(axis=1)
    high = (whole.box[:, 1, axes] == np.array(shape)[axes] - 1).any(axis=1)
    return np.asarray(low | high)


def pixels(region: Any) -> int:
    return prod(s.stop - s.start for s in region)
