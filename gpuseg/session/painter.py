"""From strokes to feature rows and from tiles to probabilities, nothing computed twice. For one thread."""

from collections.abc import Callable, Collection
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.errors import DeviceMemoryError
from gpuseg.features.selection import Selection
from gpuseg.features.stack import TRAIN_TILES, feature_stack, features_at
from gpuseg.features.tiled import TileRunner
from gpuseg.model import PixelModel
from gpuseg.pixel.images import Picture
from gpuseg.pixel.learning import check_features
from gpuseg.session.planes import Key, PlaneCache, key_of
from gpuseg.session.strokes import Flat, Rows, Strokes, places
from gpuseg.session.view import Frame
from gpuseg.tiles import Region, Tile

Check = Callable[[], None]  # raises Cancelled where nobody waits any more
MEMORY = (MemoryError, DeviceMemoryError)  # of the host, of a GPU
BLOCK = (1, TRAIN_TILES[0], TRAIN_TILES[-1], TRAIN_TILES[-1])  # t, z, y, x: computed between two checks


class Painter:
    """Feature rows of painted pixels and planes of shown tiles, for one selection of features at a time."""

    def __init__(self, b: Backend, cache_bytes: int) -> None:
        self.b = b
        self.cache = PlaneCache(cache_bytes)
        self._selection: Selection | None = None
        self._rows: dict[int, Rows] = {}

    def use(self, selection: Selection) -> None:
        """Compute these features from now on."""
        if selection != self._selection:
            self.forget()
            self._selection = selection

    def forget(self) -> None:
        """Give all memory back."""
        self._rows.clear()
        self._drop_planes()

    def rows(
        self, image: int, picture: Picture, strokes: Strokes, selection: Selection, check: Check
    ) -> NDArray[np.float32]:
        """Feature rows of all painted pixels of an image; only those of new ones are computed."""
        count = selection.count(picture.sizes["c"], picture.sizes["z"])

        def compute(at: Flat) -> NDArray[np.float32]:
            where = places(at, picture)
            rows = np.empty((len(at), count), np.float32)
            left = self._from_planes(image, where, rows)
            self._from_pixels(picture, selection, where, left, rows, check)
            for t in np.unique(where[:, 0]):
                check_features(picture, int(t), rows[where[:, 0] == t])
            return rows

        self._rows[image] = self._rows.get(image, Rows.none(count)).follow(strokes.at, compute)
        return self._rows[image].rows

    def _from_planes(
        self, image: int, where: NDArray[np.intp], rows: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Fill the rows of pixels in tiles whose planes are here; which pixels are left."""
        left = np.ones(len(where), bool)
        for t in np.unique(where[:, 0]):
            for region, planes in self.cache.of(image, int(t)):
                start, stop = [s.start for s in region], [s.stop for s in region]
                inside = ((where[:, 1:] >= start) & (where[:, 1:] < stop)).all(axis=1)
                here = left & inside & (where[:, 0] == t)
                if here.any():
                    rows[here] = self.b.rows(planes, where[here, 1:] - start)
                    left[here] = False
        return left

    def _from_pixels(
        self,
        picture: Picture,
        selection: Selection,
        where: NDArray[np.intp],
        left: NDArray[np.bool_],
        rows: NDArray[np.float32],
        check: Check,
    ) -> None:
        """Fill the rows of the pixels that are left, block by block of the image."""
        blocks, which = np.unique(where // BLOCK, axis=0, return_inverse=True)
        for k, block in enumerate(blocks):
            here = left & (which.reshape(-1) == k)
            if here.any():
                check()
                rows[here] = self._at(picture.pixels[block[0]], selection, where[here, 1:])

    def _at(self, pixels: NDArray[Any], selection: Selection, where: NDArray[np.intp]) -> NDArray[np.float32]:
        """`features_at`, with the memory of the planes if there is no other."""
        with np.errstate(over="ignore", invalid="ignore"):  # check_features names what is not finite
            try:
                return features_at(self.b, pixels, selection, where)
            except MEMORY:
                self._drop_planes()
                return features_at(self.b, pixels, selection, where)

    def prepare(
        self, frame: Frame, tile: Tile, selection: Selection, wanted: Collection[Key]
    ) -> Array | None:
        """The planes of a tile, kept for next time; None where other `wanted` ones fill the memory."""
        key = key_of(frame, tile.core)
        if (planes := self.cache.get(key)) is not None:
            return planes
        sizes = frame.picture.sizes
        size = 4 * prod(s.stop - s.start for s in tile.core) * selection.count(sizes["c"], sizes["z"])
        if not self.cache.make_room(size, wanted):
            return None
        part = self._part(frame, tile.read)
        try:
            planes = feature_stack(self.b, self.b.asarray(part), selection, tile.inside)
        except MEMORY:  # others took it since the limit was set; without planes it goes on, slower
            self._drop_planes()
            return None
        self.cache.put(key, planes, size)
        return planes

    def proba(
        self, frame: Frame, tile: Tile, model: PixelModel, wanted: Collection[Key]
    ) -> NDArray[np.float32]:
        """Probabilities (z, y, x, classes) of a tile; planes are made and kept of `wanted` ones only."""
        key = key_of(frame, tile.core)
        keep = key in wanted
        planes = self.prepare(frame, tile, model.selection, wanted) if keep else self.cache.get(key)
        if planes is not None:
            try:
                return self.b.to_numpy(self.b.forest_proba(planes, model.forest))
            except MEMORY:
                self._drop_planes()
        part = self._part(frame, tile.read)
        runner = TileRunner(self.b, model.selection, model.forest)
        (proba,) = runner.run(part, runner.upload(part), tile.inside)
        return self.b.to_numpy(proba)

    def _drop_planes(self) -> None:
        self.cache.clear()
        self.b.release()

    def _part(self, frame: Frame, region: Region) -> NDArray[np.float32]:
        """Pixels as float32 (c, z, y, x). InputError for NaN."""
        with np.errstate(over="ignore"):
            part = np.ascontiguousarray(frame.picture.pixels[frame.t][(slice(None), *region)], np.float32)
        frame.picture.check_finite(part)
        return part
