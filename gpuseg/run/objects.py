"""One image from pixels to classified objects, by time point: found, measured, classified, painted.

Whatever fits into memory stays on the backend; of larger images every step goes tile by tile, with the same
result. Each object is measured and classified once, from all its pixels, wherever tiles cut it.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend
from gpuseg.errors import FULL, why
from gpuseg.export import Sink, label_dtype
from gpuseg.model import ObjectModel
from gpuseg.object.learning import doubt, feature_rows, probabilities, winners
from gpuseg.objects import measure_blocks
from gpuseg.objects.columns import Columns, Plan, Source
from gpuseg.objects.measure import SHARE, at_once
from gpuseg.objects.pixels import Pixels
from gpuseg.run.held import Labels
from gpuseg.run.labelling import FLOATS, Found, Labeller
from gpuseg.run.steps import Steps
from gpuseg.tiles import Region, pieces, tile_size

log = logging.getLogger(__name__)
BYTES = 40  # of memory that a pixel takes on the way from one probability to its label
AT_ONCE = 2**22  # pixels painted in one go
PREDICTIONS, PROBABILITIES = "object predictions", "object probabilities"
IDENTITIES, UNCERTAINTY = "object identities", "object uncertainty"
BLOCKWISE = "blockwise "  # in front of results that may be made block by block


@dataclass(frozen=True, slots=True)
class Classified:
    """What a model says of the objects of one time point."""

    proba: NDArray[np.float32]  # (n, K)
    values: NDArray[np.int64]  # (n,) class values
    ambiguous: tuple[str, ...]  # of each the features that were NaN or infinite

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        return doubt(self.proba)


@dataclass(frozen=True, slots=True)
class Frame:
    """One time point; its labels are there until the next one is asked for."""

    t: int
    labels: Labels
    found: Found
    columns: Columns | None  # of the table; None without objects, or where nothing was measured

    @property
    def count(self) -> int:
        return len(self.found.ids)


@dataclass(slots=True)
class Run:
    """How the objects of one image are found and measured."""

    labeller: Labeller
    b: Backend
    plan: Plan | None  # None: nothing is measured
    raw: Pixels | None
    steps: Steps
    tile: Sequence[int] | None = None
    told: set[str] = field(default_factory=set)

    def frames(self) -> Iterator[Frame]:
        """Every time point, found and measured."""
        for t in range(self.labeller.times):
            labels = Labels(self.b, self.labeller.shape, self.tile)
            found = self.labeller.label(t, labels, self.steps)
            yield Frame(t, labels, found, self._measured(t, labels, found))

    @property
    def stages(self) -> int:
        """Of each time point, with that of painting."""
        return self.labeller.stages() + 2

    def _measured(self, t: int, labels: Labels, found: Found) -> Columns | None:
        self.steps.stage(1)
        if self.plan is None or not len(found.ids):
            return None
        source = Source(self.plan, self._pixels(labels), self.raw, None, told=self.told)
        try:
            columns = self._columns(source, t, labels, found)
        except FULL as error:
            if self.plan.backend.name == "cpu":
                raise
            self.plan.backend.release()
            log.warning("%s; these objects are measured on the CPU", why(error))
            source = replace(source, plan=replace(self.plan, backend=get_backend("cpu")))
            tile = labels.tile or tile_size(labels.shape, self.plan.margin, AT_ONCE)
            columns = measure_blocks.frame(source, t, tile, self.steps.step)
        assert columns is not None
        return columns | {"original_oid": found.ids}  # `labels` have numbers in their place

    def _columns(self, source: Source, t: int, labels: Labels, found: Found) -> Columns | None:
        if labels.tile is None:
            self.steps.grow(1 + len(source.plan.rows))
            self.steps.step()
            assert labels.array is not None
            return at_once(source, t, labels.array, found.ids, self.steps.step)
        self.steps.grow(3 * prod(-(-n // s) for n, s in zip(labels.shape, labels.tile, strict=True)))
        return measure_blocks.frame(source, t, labels.tile, self.steps.step)

    def _pixels(self, labels: Labels) -> Pixels:
        """The labels as what is measured."""
        return Pixels(self.steps.name, "zyx", labels.shape, np.dtype(np.int32), Voxel(), labels.read)


def fitting_tile(labeller: Labeller, b: Backend, channels: int, *, measured: bool) -> tuple[int, ...] | None:
    """None where a time point fits into memory from end to end, else the size of tiles that do."""
    layers = labeller.layers + (SHARE * (1 + channels) if measured else 0)
    if prod(labeller.shape) * (BYTES + 4 * layers) <= b.free():
        return None
    return tile_size(labeller.shape, labeller.halo, b.room(FLOATS + layers))


def classify_columns(model: ObjectModel, columns: Columns | None, backend: str) -> Classified:
    """Classes of the objects whose measurements these are."""
    import pandas as pd

    if columns is None:
        nobody = np.zeros((0, len(model.classes)), np.float32)
        return Classified(nobody, np.zeros(0, np.int64), ())
    rows, ambiguous = feature_rows(pd.DataFrame(columns, copy=False), model.columns)
    proba = probabilities(model, rows, backend)
    return Classified(proba, winners(model, proba), ambiguous)


def paint(
    sinks: Sequence[Sink],
    frame: Frame,
    said: Classified | None,
    steps: Steps,
    region: Region | None = None,
) -> None:
    """Write every result of objects for one time point, all of it or a region."""
    space = region or tuple(slice(0, n) for n in frame.labels.shape)
    tables = [_table(sink.result, frame, said, sink.scaled) for sink in sinks]
    parts = list(pieces(space, AT_ONCE))
    steps.stage(len(parts))
    for part in parts:
        steps.step()
        for sink, table in zip(sinks, tables, strict=True):
            if sink.wants(frame.t):
                sink.put(frame.t, part, _painted(frame.labels, part, table))


def _table(
    result: str, frame: Frame, said: Classified | None, scaled: np.dtype[Any] | None
) -> NDArray[Any] | None:
    """The value of every label, the background first: (n + 1, channels); None for the labels themselves.

    scaled: the integers that 0..1 is stretched over in the file.
    """
    if result == IDENTITIES:
        return None
    assert said is not None
    of: dict[str, NDArray[Any]] = {
        PREDICTIONS: said.values.astype(label_dtype(said.values.tolist())),
        PROBABILITIES: said.proba,
        UNCERTAINTY: said.uncertainty,
    }
    values = of[result.removeprefix(BLOCKWISE)]
    values = values if values.ndim == 2 else values[:, None]
    table = np.concatenate([np.zeros((1, values.shape[1]), values.dtype), values])
    return table if scaled is None else get_backend("cpu").integers(table, scaled)


def _painted(labels: Labels, region: Region, table: NDArray[Any] | None) -> NDArray[Any]:
    """(z, y, x, channels) of a region."""
    if table is None:
        return labels.read(region).astype(np.uint32)[..., None]
    return labels.looked_up(region, table)
