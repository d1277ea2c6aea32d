"""A time point measured tile by tile: as the whole is, up to the order in which numbers are added.

Sums of tiles are added up object by object. What needs an object in one piece is computed from its
bounding box, read back once, together with those of its neighbours.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array
from gpuseg.errors import InputError
from gpuseg.objects.columns import (
    OF_CLASSES,
    Columns,
    Named,
    Plan,
    Source,
    always,
    columns,
    heading,
    is_place,
    measured,
    of_classes,
    values_of,
)
from gpuseg.objects.context import Objects
from gpuseg.objects.pixels import numbered
from gpuseg.objects.sums import Part, merge, needed
from gpuseg.objects.table import ObjectFeature
from gpuseg.tiles import Region, grown, tiles

LEAST = 2  # pixels around a group of objects: what ends at the image differs from what ends at a neighbour


class Summed(Objects):
    """Objects of which sums are known, and no pixel."""

    def __init__(
        self, plan: Plan, shape: tuple[int, ...], count: int, channels: int, sums: dict[str, NDArray[Any]]
    ) -> None:
        self.backend, self.spacing, self.margin = plan.backend, plan.spacing, plan.margin
        self.shape, self.count, self.channels = shape, count, channels
        self.cache, self._sums = {}, sums

    def __getattr__(self, name: str) -> Any:
        if name not in ("labels", "raw"):
            raise AttributeError(name)
        raise InputError(
            f"a feature asks for the {name} of all objects at once, and they are measured in tiles",
            hint="declare it with local=True if it needs only the box and margin of each object",
        )


def frame(source: Source, t: int, block: Sequence[int], tick: Callable[[], None]) -> Columns | None:
    """The columns of a time point, None if it has no objects. tick: called before each tile."""
    plan, raw = source.plan, source.raw
    ids, sums = _sums(source, source.intensities, t, block, plan.needs(local=False), tick)
    if not len(ids):
        return None
    o = Summed(plan, source.shape, len(ids), 0 if raw is None else raw.sizes["c"], sums)
    at_once = {id(row): measured(plan, o, [row]) for row in plan.rows if not row.local}
    by_row = at_once | _local(source, t, block, ids, sums["box"], tick)
    found = always(o) + [named for row in plan.rows for named in by_row[id(row)]]
    if source.proba is not None:
        _, sums = _sums(source, source.probabilities, t, block, OF_CLASSES, tick)
        found += of_classes(Summed(plan, source.shape, len(ids), len(plan.classes), sums), plan.classes)
    return columns(ids, found)


def _sums(
    source: Source,
    read: Callable[[int, Region], Array | None],
    t: int,
    block: Sequence[int],
    wants: Collection[str],
    tick: Callable[[], None],
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Ids of all objects, ascending, and their sums over all tiles."""
    b, parts = source.plan.backend, []
    ranges = None
    if "histogram" in wants:  # of the range of all objects, which must be known before
        _, whole = _sums(source, read, t, block, ("extremes",), tick)
        low_high = whole.get("extremes", np.zeros((1, 1, 2)))
        ranges = np.stack([low_high[..., 0].min(0), low_high[..., 1].max(0)], -1).astype(np.float64)
    for tile in tiles(source.shape, block, (0, 0, 0)):
        tick()
        labels, ids = numbered(source.labels.integers(t, tile.core))
        if len(ids):
            values = read(t, tile.core)
            under = None if values is None else b.asarray(values)
            sums = b.region_sums(b.asarray(labels), len(ids), under, needed(wants), ranges)
            parts.append(Part(ids, tuple(s.start for s in tile.core), sums))
    return merge(parts) if parts else (np.zeros(0, np.int64), {})


def _local(
    source: Source,
    t: int,
    block: Sequence[int],
    ids: NDArray[Any],
    boxes: NDArray[Any],
    tick: Callable[[], None],
) -> dict[int, list[Named]]:
    """What features say that need objects in one piece, by their row in THE TABLE."""
    plan = source.plan
    rows = [row for row in plan.rows if row.local]
    made: dict[int, NDArray[Any]] = {}
    for members in _groups(boxes, block) if rows else ():
        tick()
        region = _around(boxes[members], plan.margin, source.shape)
        labels, there = numbered(source.labels.integers(t, region))
        o = plan.objects(labels, len(there), source.intensities(t, region))
        o.request(plan.needs(local=True))
        own = np.searchsorted(there, ids[members])
        for row in rows:
            values = values_of(row, o)[own] + _shift(row, o, region)
            if id(row) not in made:
                made[id(row)] = np.empty((len(ids), *values.shape[1:]), values.dtype)
            made[id(row)][members] = values
    ndim = 2 if source.shape[0] == 1 else 3
    return {id(row): [(heading(row, ndim, plan.unit), made[id(row)])] for row in rows}


def _shift(row: ObjectFeature, o: Objects, region: Region) -> NDArray[Any] | int:
    """What coordinates in a region lack to those in the image."""
    if not is_place(row):
        return 0
    return o.in_order(np.array([s.start for s in region]) * np.array(o.spacing))


def _groups(boxes: NDArray[np.int64], block: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Objects that begin in the same tile; one that is longer than a tile goes by itself."""
    place = np.ravel_multi_index(
        tuple((boxes[:, :, 0] // block).T), tuple(boxes[:, :, 0].max(0) // block + 1)
    )
    large = ((boxes[:, :, 1] - boxes[:, :, 0]) >= block).any(1)
    order = np.argsort(np.where(large, place.max() + 1 + np.arange(len(place)), place), kind="stable")
    key = np.where(large, place.max() + 1 + np.arange(len(place)), place)[order]
    yield from np.split(order, np.flatnonzero(np.diff(key)) + 1)


def _around(boxes: NDArray[np.int64], margin: Sequence[int], shape: Sequence[int]) -> Region:
    """The region of all these boxes and what their features look at around them."""
    low, high = boxes[:, :, 0].min(0).tolist(), boxes[:, :, 1].max(0).tolist()
    core = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    return grown(core, [max(m, LEAST) for m in margin], shape)
