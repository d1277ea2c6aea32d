"""One image of any size, in tiles: the next is read and the last is written while one is computed.

At no time are there more than two tiles of pixels and two of results for each backend, whatever the size of
the image.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from threading import Event, Semaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, reorder, sizes
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import Cancelled, InputError
from gpuseg.export import RESULTS, Sink, Source
from gpuseg.export.target import common
from gpuseg.features.tiled import Make, TileRunner
from gpuseg.io.base import Image
from gpuseg.model import PixelModel
from gpuseg.tiles import Region, Tile, grown, tile_size, tiles

Progress = Callable[[int, int], None]  # (tiles done, tiles in all)


@dataclass(frozen=True, slots=True)
class Tap:
    """What else is made of every tile, whatever sinks want of it, and kept instead of written."""

    make: Make  # of the probabilities of a tile
    put: Callable[[Region, Array, Backend], None]  # in the order of tiles, on the backend or on the host


@dataclass(frozen=True, slots=True)
class _Work:
    t: int
    tile: Tile


def stream(
    backends: Sequence[Backend],
    image: Image,
    model: PixelModel,
    sinks: Sequence[Sink],
    *,
    labels: Callable[[int, Region], NDArray[Any]] | None = None,
    times: Iterable[int] | None = None,
    tap: Tap | None = None,
    block: Sequence[int] | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> None:
    """Predict `image` and fill every sink, from a single pass over the tiles of which any is wanted.

    Tiles go to the backends in turn, results to the sinks in the order of tiles. labels: what users
    painted, (z, y, x) of a time point and region. times: by default all. block: the largest tile along z, y,
    x. Raises Cancelled within one tile of `cancel` being set, InputError where pixels are NaN or infinite.
    """
    needs: set[Source] = {RESULTS[s.result].source for s in sinks}
    if tap is not None:
        needs.add("proba")
    computed = [s for s in sinks if RESULTS[s.result].source != "labels"]
    makes = [maker(s) for s in computed] + ([tap.make] if tap else [])
    of = wanted(image, sinks, times, everywhere=tap is not None)
    work = list(plan(backends[0], image, model, needs, of, block))
    values = np.array([c.value for c in model.classes])
    values = values.astype(np.min_scalar_type(values.max(initial=0)))

    def write(item: _Work, made: Sequence[Array], b: Backend) -> None:
        if tap is not None:
            *made, tapped = made
            tap.put(item.tile.core, tapped, b)
        for sink, answer in zip(computed, made, strict=True):
            tile = b.to_numpy(answer)
            sink.put(item.t, item.tile.core, values[tile] if sink.result == "segmentation" else tile)
        if labels is not None:
            painted = labels(item.t, item.tile.core)[..., None]
            for sink in (s for s in sinks if s not in computed):
                sink.put(item.t, item.tile.core, painted)
        room.release()

    with ExitStack() as threads:
        room = Semaphore(len(backends) + 1)  # results that wait to be written, or are made or written
        reader = threads.enter_context(ThreadPoolExecutor(1, "read"))  # files are read by one thread
        lanes = [_Lane(b, image, model, needs, makes, reader, room, threads) for b in backends]
        writer = threads.enter_context(ThreadPoolExecutor(1, "write"))
        started = (lanes[i % len(lanes)].start(item) for i, item in enumerate(work))
        flight = deque(islice(started, len(lanes) + 1))
        threads.callback(lambda: [future.cancel() for future in flight])
        threads.callback(room.release, len(work))  # nobody waits for it when the run ends early
        behind: Future[None] = writer.submit(lambda: None)
        for done, item in enumerate(work):
            if progress is not None:
                progress(done, len(work))
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{image.path}: stopped after {done} of {len(work)} tiles, nothing is kept")
            answers = flight.popleft().result()
            behind.result()
            behind = writer.submit(write, item, answers, lanes[done % len(lanes)].backend)
            del answers
            flight.extend(islice(started, 1))
        behind.result()
    if progress is not None:
        progress(len(work), len(work))


class _Lane:
    """What happens to tiles on one backend: the next is read and uploaded while one is computed."""

    def __init__(
        self,
        b: Backend,
        image: Image,
        model: PixelModel,
        needs: set[Source],
        makes: Sequence[Make],
        reader: ThreadPoolExecutor,
        room: Semaphore,
        threads: ExitStack,
    ) -> None:
        self.backend, self._image, self._reading, self._room = b, image, reader, room
        self._runner = TileRunner(
            b, model.selection, model.forest, makes, proba="proba" in needs, planes="planes" in needs
        )
        self._idle = not makes
        self._computing = threads.enter_context(ThreadPoolExecutor(1, "compute"))

    def start(self, item: _Work) -> Future[list[Array]]:
        """What sinks want of a tile, when it is there."""
        read = self._reading.submit(self._read, item)
        return self._computing.submit(lambda: self._compute(read, item))

    def _read(self, item: _Work) -> tuple[NDArray[Any], list[Array]] | None:
        if self._idle:
            return None
        pixels = read_pixels(self._image, item.t, item.tile.read)
        return pixels, self._runner.upload(pixels)

    def _compute(self, read: Future[Any], item: _Work) -> list[Array]:
        found = read.result()
        self._room.acquire()
        if found is None:
            return []
        pixels, uploaded = found
        return self._runner.run(pixels, uploaded, item.tile.inside)


def wanted(
    image: Image, sinks: Sequence[Sink], times: Iterable[int] | None, *, everywhere: bool
) -> tuple[list[int], Region]:
    """Time points of which anything is wanted, and the box around all that is wanted of each."""
    n = sizes(image.axes, image.shape)
    every = range(n["t"]) if times is None else times
    if everywhere:
        return list(every), tuple(slice(0, n[a]) for a in SPACE)
    return [t for t in every if any(s.wants(t) for s in sinks)], reduce(_around, (s.space for s in sinks))


def plan(
    b: Backend,
    image: Image,
    model: PixelModel,
    needs: set[Source],
    of: tuple[Sequence[int], Region],
    block: Sequence[int] | None = None,
) -> Iterator[_Work]:
    """The tiles of these time points and this box.

    Their size follows from what a pixel costs in memory, and is no larger than a block.
    """
    times, box = of
    n = sizes(image.axes, image.shape)
    floats = n["c"] + len(model.classes) * ("proba" in needs)
    if "planes" in needs:
        floats += model.selection.count(n["c"], n["z"])
    shape = [n[a] for a in SPACE]
    halo = model.selection.halo(n["z"])
    size = tile_size(shape, halo, b.room(floats))
    if block is not None:
        size = tuple(map(min, size, block))
    parts = [part for tile in tiles(shape, size, halo) if (part := common(tile.core, box)) is not None]
    for t in times:
        yield from (_Work(t, Tile(part, grown(part, halo, shape))) for part in parts)


def _around(one: Region, other: Region) -> Region:
    """The smallest box that holds two."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def read_pixels(image: Image, t: int, region: Region) -> NDArray[Any]:
    """Pixels of a time point and region (zyx) as (c, z, y, x); InputError unless all are finite as float32.

    Integers of one or two bytes stay what they are: a device gets them sooner than as float32.
    """
    where = _place(image.axes, t, region)
    stored = image.read(where)
    small = stored.dtype.kind in "ui" and stored.dtype.itemsize <= 2
    kind = stored.dtype.newbyteorder("=") if small else np.dtype(np.float32)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is named below
        pixels = np.ascontiguousarray(reorder(stored, image.axes, "czyx"), kind)
    if stored.dtype.kind == "f" and not np.isfinite(pixels).all():
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(stored.astype(np.float32)))
        first = [int(i) + (s.start or 0) for i, s in zip(bad[0], where, strict=True)]
        at = ", ".join(f"{a} {i}" for a, i in zip(image.axes, first, strict=True))
        raise InputError(
            f"{image.path}: {len(bad)} pixels are NaN, infinite or beyond float32 in the first tile"
            f" that has any, the first at {at}",
            hint="replace them, for example with numpy.nan_to_num",
        )
    return pixels


def _place(axes: str, t: int, region: Region) -> tuple[slice, ...]:
    """Slices in the axis order of a file, all channels."""
    known = {"t": slice(t, t + 1)} | dict(zip(SPACE, region, strict=True))
    return tuple(known.get(a, slice(None)) for a in axes)


def maker(sink: Sink) -> Make:
    """How the sink's result is made of a tile, on the backend that computed it."""
    result = RESULTS[sink.result]

    def make(b: Backend, proba: Any, planes: Any) -> Array:
        made = result.make(b, proba if result.source == "proba" else planes.transpose(1, 2, 3, 0))
        return made if sink.scaled is None else b.integers(made, sink.scaled)

    return make
