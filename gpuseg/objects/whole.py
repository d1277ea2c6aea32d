"""Objects that must be seen whole, of an image larger than memory: those a watershed parts.

Pixels of different clusters never influence each other, where a cluster is all that hangs together by
corners; so each is computed in its own box, with nothing else in sight. Clusters within one tile share a box.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array
from gpuseg.errors import DeviceMemoryError, ResourceError
from gpuseg.objects import sizes
from gpuseg.objects.blocks import Found, Steps, Tiled, Write, pixels
from gpuseg.objects.scratch import Scratch
from gpuseg.objects.thresholds import Seen, objects
from gpuseg.objects.unions import Seams, Whole, in_image, overlapping
from gpuseg.tiles import Region, Tile, grown, within

BYTES = 48  # of memory that a pixel of a box takes: probabilities, labels, queue
EVERYWHERE = 3  # connectivity of clusters


def segment_whole_objects(tiled: Tiled, write: Write, steps: Steps) -> Found:
    """Label a time point with `keep_apart` or `split`; provisional labels go to a temporary file."""
    work = _Work(tiled)
    for place, tile in tiled.places():
        steps.step()
        work.survey(place, tile)
    whole = work.seams.finish()
    inside = _within_tiles(whole, tiled)
    work.check_boxes(whole, inside)
    for _, tile in tiled.places():
        steps.step()
        work.compute_inside(tile, whole, inside)
    for component in np.flatnonzero(~inside):
        work.compute_one(whole, int(component))
    table, found = work.numbers()
    for _, tile in tiled.places():
        write(tile.core, table[work.labels[tile.core]])
    work.labels.close()
    return found


class _Work:
    def __init__(self, tiled: Tiled) -> None:
        self._tiled = tiled
        self.seams = Seams(tiled.shape)
        self._top = -np.inf  # the largest final value, which costs are measured from
        self.labels = Scratch(tiled.shape, np.int32, "provisional labels")
        self._count = 0
        self._firsts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._border: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]
        self._classes: list[NDArray[np.int64]] = [np.empty(0, np.int64)]

    def survey(self, place: Any, tile: Tile) -> None:
        """Clusters of a tile."""
        region = overlapping(tile, self._tiled.shape)
        seen, clusters = self._look(region)
        self._top = max(self._top, float(seen.final.max()))
        self.seams.add(place, tile.core, *self._tiled.components(clusters, EVERYWHERE))

    def _look(self, region: Region) -> tuple[Seen, Array]:
        """A region, and where clusters are: all that an object of theirs may cover."""
        s, shape = self._tiled.settings, self._tiled.shape
        shell = int(s.keep_apart and s.grow_limit == "shell")
        wide = grown(region, (shell,) * 3, shape)
        seen = self._tiled.see(wide)
        mask = seen.image(s) != 0
        if s.method == "hysteresis":  # with two channels a core may reach beyond
            mask |= seen.cores(s)
        inside = within(region, wide)
        return seen.cut(inside), (_dilated(mask) if shell else mask)[inside]

    def check_boxes(self, whole: Whole, inside: NDArray[np.bool_]) -> None:
        """ResourceError if something is too large to be computed in one piece."""
        boxes = [pixels(_box(whole, int(i), self._tiled.shape)) for i in np.flatnonzero(~inside)]
        most = self._tiled.backend.free() // BYTES
        if max(boxes, default=0) > most:
            cpu = self._tiled.backend.name == "cpu"
            raise (ResourceError if cpu else DeviceMemoryError)(
                f"touching objects fill a box of {max(boxes):,} pixels, there is memory for {most:,} at once",
                hint="raise the low threshold, or do without keeping apart and splitting objects",
            )

    def compute_inside(self, tile: Tile, whole: Whole, inside: NDArray[np.bool_]) -> None:
        """All clusters that lie in one tile."""
        own = np.flatnonzero(inside & _starts_in(whole, tile.core, self._tiled.shape))
        if len(own):
            self._compute(grown(tile.core, (1, 1, 1), self._tiled.shape), whole, own)

    def compute_one(self, whole: Whole, component: int) -> None:
        self._compute(_box(whole, component, self._tiled.shape), whole, np.array([component]))

    def _compute(self, region: Region, whole: Whole, own: NDArray[np.int64]) -> None:
        """Objects of the clusters `own`, which lie in `region`; others there are left out."""
        t = self._tiled
        seen, clusters = self._look(region)
        labels, count = t.components(clusters, EVERYWHERE)
        member = np.zeros(count + 1, np.bool_)
        first = np.stack(np.unravel_index(whole.first[own], t.shape))
        start = np.array([[s.start] for s in region])
        member[labels[tuple(first - start)]] = True
        seen = seen.only(t.backend.asarray(member[labels]))
        made = objects(t.backend, seen, t.settings.without_border(), top=self._top)
        if made.count:
            self._put(region, t.backend.to_numpy(made.labels), made.count, made.classes)

    def _put(
        self, region: Region, labels: NDArray[np.int32], count: int, classes: NDArray[np.int64] | None
    ) -> None:
        shape = self._tiled.shape
        origin = np.array([s.start for s in region])
        self._firsts.append(in_image(sizes.firsts(labels, count), labels.shape, origin, shape))
        self._border.append(_at_border(labels, count, region, shape))
        if classes is not None:
            self._classes.append(classes)
        np.copyto(self.labels.view()[region], labels + np.int32(self._count), where=labels > 0)
        self._count += count

    def numbers(self) -> tuple[NDArray[np.int32], Found]:
        """Provisional number -> final one, and what there is in all."""
        kept = np.ones(self._count, np.bool_)
        if self._tiled.settings.drop_border:
            kept = ~np.concatenate(self._border)
        first = np.concatenate(self._firsts)
        found = np.flatnonzero(kept)
        order = found[np.argsort(first[found])]
        classes = np.concatenate(self._classes)[order] if self._tiled.settings.classes else None
        return sizes.numbering(kept, first), Found(len(found), classes)


def _within_tiles(whole: Whole, tiled: Tiled) -> NDArray[np.bool_]:
    """Which components lie in a single tile."""
    size = np.array(tiled.size)
    return np.asarray((whole.box[:, 0] // size == whole.box[:, 1] // size).all(axis=1))


def _starts_in(whole: Whole, core: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    low = whole.box[:, 0]
    return np.asarray(
        np.all([(low[:, i] >= c.start) & (low[:, i] < c.stop) for i, c in enumerate(core)], axis=0)
    )


def _box(whole: Whole, component: int, shape: tuple[int, ...]) -> Region:
    """The box of a component and one pixel around it, where its edge is seen."""
    low, high = whole.box[component]
    return grown(tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)), (1, 1, 1), shape)


def _at_border(
    labels: NDArray[np.int32], count: int, region: Region, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    found = np.zeros(count + 1, np.bool_)
    for axis, (s, n) in enumerate(zip(region, shape, strict=True)):
        ends = [end for end, there in ((0, s.start == 0), (-1, s.stop == n)) if there]
        for end in ends if axis or n > 1 else []:
            found[np.unique(labels.take(end, axis))] = True
    return found[1:]


def _dilated(mask: Array) -> Array:
    """A mask and its direct neighbours."""
    out = mask.copy()
    for axis in range(mask.ndim):
        head = (slice(None),) * axis + (slice(1, None),)
        tail = (slice(None),) * axis + (slice(None, -1),)
        out[head] |= mask[tail]
        out[tail] |= mask[head]
    return out
