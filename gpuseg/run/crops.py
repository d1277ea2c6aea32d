"""Blockwise object classification as ilastik does it (SPEC 7): each block alone, with what its halo shows.

An object that blocks cut is another object in each of them, of another size and perhaps of another class. It
is here to compare with; `objects.paint` gives every object one class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.errors import FULL
from gpuseg.export import Sink
from gpuseg.model import ObjectModel
from gpuseg.objects.columns import Plan, always, columns, measured
from gpuseg.objects.pixels import Pixels
from gpuseg.run.held import Labels
from gpuseg.run.labelling import Found
from gpuseg.run.objects import Classified, Frame, classify_columns, paint
from gpuseg.run.steps import Steps
from gpuseg.tiles import Region, Tile, tiles

BLOCK, HALO = (512, 512, 512), (64, 64, 64)  # ilastik's, along z, y, x


@dataclass(frozen=True, slots=True)
class Crops:
    """How an image is cut, and what measures and classifies the objects of each part."""

    plan: Plan
    raw: Pixels | None
    model: ObjectModel
    backend: str
    block: Sequence[int] = BLOCK
    halo: Sequence[int] = HALO

    def paint(self, sinks: Sequence[Sink], frame: Frame, steps: Steps) -> None:
        """Write what each block says of the objects in it."""
        every = list(tiles(frame.labels.shape, self.block, self.halo))
        steps.stage(len(every))
        for tile in every:
            steps.step()
            labels, count, said = self._said(frame, tile)
            part = Frame(frame.t, _Part(labels, tile), Found(np.arange(1, count + 1)), None)
            paint(sinks, part, said, _Silent(), tile.core)

    def _said(self, frame: Frame, tile: Tile) -> tuple[NDArray[np.int32], int, Classified]:
        """Objects and classes of a block; on the CPU where the memory of a device does not do."""
        try:
            labels, count = self._objects(frame, tile)
            return labels, count, self._classified(frame.t, tile.read, labels, count)
        except FULL:
            if self.plan.backend.name == "cpu":
                raise
            self.plan.backend.release()
            on_cpu = replace(self, plan=replace(self.plan, backend=get_backend("cpu")), backend="cpu")
            return on_cpu._said(frame, tile)

    def _objects(self, frame: Frame, tile: Tile) -> tuple[NDArray[np.int32], int]:
        """Connected pixels of any object, in the block and its halo: labels that touch are one."""
        b = self.plan.backend
        labels, count = b.components(b.asarray(frame.labels.read(tile.read) > 0))
        return b.to_numpy(labels), count

    def _classified(self, t: int, region: Region, labels: NDArray[np.int32], count: int) -> Classified:
        if not count:
            return classify_columns(self.model, None, self.backend)
        values = None if self.raw is None else self.raw.numbers(t, region)
        o = self.plan.objects(labels, count, values)
        found = always(o) + measured(self.plan, o, self.plan.rows)
        return classify_columns(self.model, columns(np.arange(1, count + 1), found), self.backend)


class _Part(Labels):
    """Labels of a block and its halo, read by where they are in the image."""

    def __init__(self, labels: NDArray[np.int32], tile: Tile) -> None:
        self._labels, self._tile = labels, tile
        self.shape = labels.shape
        self.array = None

    def read(self, region: Region) -> NDArray[np.int32]:
        start = [s.start for s in self._tile.read]
        here = (slice(s.start - a, s.stop - a) for s, a in zip(region, start, strict=True))
        return self._labels[tuple(here)]


class _Silent(Steps):
    """The block is the step."""

    def __init__(self) -> None:
        super().__init__("")
