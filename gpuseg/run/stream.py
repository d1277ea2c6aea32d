"""One image of any size, in tiles: the next is read and the last is written while one is computed.

At no time are there more than two tiles of pixels and two of results, whatever the size of the image.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, reorder, sizes
from gpuseg.backends.base import Backend
from gpuseg.errors import Cancelled, InputError
from gpuseg.export import RESULTS, Block, Source
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.io.base import Image, ImageWriter
from gpuseg.model import PixelModel
from gpuseg.tiles import Region, Tile, tile_size, tiles

Progress = Callable[[int, int], None]  # (tiles done, tiles in all)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where one result goes: an open writer, the axes of its file, and the last change of values."""

    result: str
    writer: ImageWriter
    axes: str
    change: Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Work:
    t: int
    tile: Tile


def stream(
    b: Backend,
    image: Image,
    model: PixelModel,
    sinks: Sequence[Sink],
    *,
    labels: Callable[[int, Region], NDArray[Any]] | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> None:
    """Predict `image` and fill every sink, from a single pass over its tiles.

    labels: what users painted, (z, y, x) of a time point and region. Raises Cancelled within one tile of
    `cancel` being set, InputError where pixels are NaN or infinite.
    """
    needs = {RESULTS[s.result].source for s in sinks}
    work = list(plan(b, image, model, needs))
    values = np.array([c.value for c in model.classes])
    values = values.astype(np.min_scalar_type(values.max(initial=0)))

    def write(item: _Work, block: Block) -> None:
        for sink in sinks:
            put(sink, item, block)

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = reader.submit(read_pixels, image, work[0].t, work[0].tile.read)
        behind: Future[None] = writer.submit(lambda: None)
        for done, item in enumerate(work):
            if progress is not None:
                progress(done, len(work))
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{image.path}: stopped after {done} of {len(work)} tiles, nothing is kept")
            pixels = ahead.result()
            if done + 1 < len(work):
                ahead = reader.submit(read_pixels, image, work[done + 1].t, work[done + 1].tile.read)
            proba, planes = compute(b, pixels, model, item.tile.inside, needs)
            painted = None if labels is None else labels(item.t, item.tile.core)[..., None]
            behind.result()
            behind = writer.submit(write, item, Block(proba, planes, painted, values))
        behind.result()
    if progress is not None:
        progress(len(work), len(work))


def plan(b: Backend, image: Image, model: PixelModel, needs: set[Source]) -> Iterator[_Work]:
    """The tiles of all time points; their size follows from what a pixel costs in memory."""
    n = sizes(image.axes, image.shape)
    floats = n["c"] + len(model.classes) * ("proba" in needs)
    if "planes" in needs:
        floats += model.selection.count(n["c"], n["z"])
    shape = [n[a] for a in SPACE]
    halo = model.selection.halo(n["z"])
    size = tile_size(shape, halo, b.room(floats))
    for t in range(n["t"]):
        yield from (_Work(t, tile) for tile in tiles(shape, size, halo))


def read_pixels(image: Image, t: int, region: Region) -> NDArray[np.float32]:
    """Pixels of a time point and region (zyx) as float32 (c, z, y, x); InputError unless all are finite."""
    where = _place(image.axes, t, region)
    stored = image.read(where)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is named below
        pixels = np.ascontiguousarray(reorder(stored, image.axes, "czyx"), np.float32)
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


def compute(
    b: Backend, pixels: NDArray[np.float32], model: PixelModel, core: Region, needs: set[Source]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Probabilities and planes, channels last, of `core`: of the two, what is needed."""
    if not needs & {"proba", "planes"}:
        return None, None
    image = b.asarray(pixels)
    if "planes" not in needs:
        return b.to_numpy(probabilities(b, image, model.selection, model.forest, core)), None
    stack = feature_stack(b, image, model.selection, core)
    proba = b.to_numpy(b.forest_proba(stack, model.forest)) if "proba" in needs else None
    return proba, np.moveaxis(b.to_numpy(stack), 0, -1)


def put(sink: Sink, item: _Work, block: Block) -> None:
    """Make the sink's result of a block and write it where it belongs."""
    result = RESULTS[sink.result]
    made = sink.change(result.make(getattr(block, result.source), block.values))
    sink.writer.write(_place(sink.axes, item.t, item.tile.core), reorder(made[None], "tzyxc", sink.axes))
