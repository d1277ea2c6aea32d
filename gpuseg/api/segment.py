"""Probability maps in, label images out."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Outcome, each, named
from gpuseg.axes import SPACE, reorder, sizes
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import GpusegError, InputError
from gpuseg.export import RESULTS, ExportSettings, Made, Sink, Target
from gpuseg.io import Image, Output, open_image
from gpuseg.objects.blocks import Found, Meter, Tiled, Write, segment_tiles
from gpuseg.objects.maps import Range, refuse_channels, scaled, value_range
from gpuseg.objects.settings import Settings, several, whole
from gpuseg.objects.thresholds import objects, see
from gpuseg.tiles import Region, tile_size

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, tiles done, tiles in all)
RESULT = "object identities"
BYTES = 40  # of memory that a pixel takes on the way from one probability to its label
FLOATS = 8  # as many float32, for the size of tiles


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every image alike."""

    settings: Settings
    export: ExportSettings
    axes: str | None
    range: Range | None
    tile: tuple[int, ...] | None

    def target(self, image: Image) -> Target:
        """What is to be written for an open image, if the settings fit it."""
        n = sizes(image.axes, image.shape)
        self.settings.channels(n["c"], _guessed(image))
        self.settings.smoothing(tuple(n[a] for a in SPACE))
        provenance = {"gpuseg": __version__, "result": RESULTS[RESULT].title}
        made = Made(RESULT, np.dtype(np.uint32), provenance=json.dumps(provenance))
        return self.export.target(image.path, image.axes, n, image.voxel, made)


def segment(
    images: str | Path | Sequence[str | Path],
    *,
    output: str = exports.DEFAULT_NAME,
    format: str | None = None,
    cutout: str | Mapping[str, tuple[int | None, int | None]] | None = None,
    renormalise: str | Sequence[float] | None = None,
    dtype: str | None = None,
    axis_order: str | None = None,
    axes: str | None = None,
    range: Range | None = None,
    backend: str = "auto",
    gpu_memory: int | str | None = None,
    tile: Sequence[int] | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
    **settings: Any,
) -> list[Outcome]:
    """Label the objects of probability maps in files: one outcome per image, in order.

    output, format, cutout, renormalise, dtype, axis_order: what is written, as in `predict`; objects are
        found in the whole image, whatever is cut out.
    range: what stands for probabilities 0 and 1; by default what the file says, else by its type.
    tile: pixels along z, y, x to compute at once; by default the whole time point, if it fits into memory.
        The labels are the same. With keep_apart or split, touching objects must fit in one piece.
    cancel: set it to stop within a tile, with Cancelled. A file appears whole or not at all.
    on_error: "skip" logs the error of an image and goes on; running out of memory or disk always stops.
    settings: as for `gpuseg.segment`.

        segment("a_Probabilities.h5", output="a_labels.tif", channel=1, method="hysteresis", low=0.4)
    """
    paths = named(images)
    export = ExportSettings.of(
        output=output,
        format=format,
        cutout=cutout,
        renormalise=renormalise,
        dtype=dtype,
        axis_order=axis_order,
    )
    job = _Job(Settings.of(**settings), export, axes, range, _tile(tile))
    failed = _survey(job, paths, on_error)
    b = get_backend(backend, gpu_memory)
    return each(
        paths,
        failed,
        (b,),
        lambda path: _segment_one(b, job, path, progress and partial(progress, path), cancel),
    )


def _tile(tile: Sequence[int] | None) -> tuple[int, ...] | None:
    if tile is None:
        return None
    size = tuple(whole("tile", n) for n in several("tile", tile))
    if len(size) != 3 or min(size) < 1:
        raise InputError(f"tile {size}: three numbers of pixels from 1 are needed, along z, y, x")
    return size


def _survey(job: _Job, paths: Sequence[str], on_error: OnError) -> Failures:
    """Look at the header of every image before anything is computed: errors, free names, enough disk."""
    failed = Failures(on_error)
    targets: dict[str, Target] = {}
    for path in paths:
        with failed.of(path), open_image(path, job.axes) as image:
            targets[path] = _named(path, lambda: job.target(image))
    files = [(path, t.result, file) for path, t in targets.items() for file in t.files]
    exports.check_collisions(files, paths)
    exports.check_space([(t.path, t.nbytes) for t in targets.values()])
    return failed


def _guessed(image: Image) -> str:
    """Axes that neither the file nor the user named."""
    return image.axes if image.axes_from == "shape" else ""


def _named(path: str, make: Callable[[], Target]) -> Target:
    try:
        return make()
    except GpusegError as e:
        raise e if e.problem.startswith(path) else e.at(path) from None


@dataclass(frozen=True, slots=True)
class ProbabilityMap:
    """An open probability map, read by time point and region."""

    image: Image
    channels: list[int]
    range: Range
    n: dict[str, int]  # size of every axis

    @classmethod
    def of(cls, image: Image, settings: Settings, range: Range | None = None) -> Self:
        """The channels that the settings name; range: what stands for 0 and 1, by default as the file says.

        InputError where axes were guessed and channels are taken for space.
        """
        n = sizes(image.axes, image.shape)
        asked = image.drange if range is None else range
        range, guessed = value_range(image.dtype, asked, image.path), _guessed(image)
        if guessed:
            refuse_channels(guessed, image.shape, image.read, range, image.path)
        return cls(image, settings.channels(n["c"], guessed), range, n)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a time point: z, y, x."""
        return tuple(self.n[a] for a in SPACE)

    def read(self, b: Backend, t: int, region: Region) -> Array:
        """The channels that count, float32 (channels, z, y, x) of 0..1."""
        first = min(self.channels)
        known = {"t": slice(t, t + 1), "c": slice(first, max(self.channels) + 1)}
        known |= dict(zip(SPACE, region, strict=True))
        stored = self.image.read([known[a] for a in self.image.axes])
        pixels = reorder(stored, self.image.axes, "czyx")[[c - first for c in self.channels]]
        return scaled(b, pixels, self.range, self.image.path)


@dataclass(slots=True)
class _Tally:
    """What was found at each time point."""

    counts: list[int] = field(default_factory=list)
    classes: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, found: Found) -> None:
        self.counts.append(found.count)
        if found.classes is not None:
            self.classes.append(found.classes)


def _segment_one(
    b: Backend, job: _Job, path: str, progress: Callable[[int, int], None] | None, cancel: Event | None
) -> tuple[str, ...]:
    with open_image(path, job.axes) as image:
        log.info("%s: %s", path, exports.axes_text(image.axes, image.shape, image.axes_from))
        target = _named(path, lambda: job.target(image))
        source = ProbabilityMap.of(image, job.settings, job.range)
        with target.open() as sink:
            tally = _label(b, source, job, sink, progress, cancel)
    of = f" of channel {job.settings.channel}" if source.n["c"] > 1 and not job.settings.classes else ""
    log.info("%s: %s", target.path, _told(tally, target.output, of))
    if not any(tally.counts):
        log.warning(
            "%s: no object%s was found; check the channel, the thresholds and sizes, and that the map holds "
            "probabilities",
            path,
            of,
        )
    return target.files


def _label(
    b: Backend,
    source: ProbabilityMap,
    job: _Job,
    sink: Sink,
    progress: Callable[[int, int], None] | None,
    cancel: Event | None,
) -> _Tally:
    """Every time point, at once or in tiles."""
    size = job.tile or fitting_tile(b, source, job.settings)
    tiles = 1 if size is None else prod(-(-n // s) for n, s in zip(source.shape, size, strict=True))
    steps = source.n["t"] * tiles * (1 if size is None else 2)
    tally, meter = _Tally(), Meter(steps, progress, cancel, source.image.path)

    for t in range(source.n["t"]):

        def write(region: Region, labels: NDArray[np.int32], t: int = t) -> None:
            sink.put(t, region, labels[..., None])

        if size is None:
            tally.add(_at_once(b, source, t, job.settings, write, meter))
        else:
            tiled = Tiled(b, partial(source.read, b, t), source.shape, size, job.settings)
            tally.add(segment_tiles(tiled, write, meter))
    meter.finish()
    return tally


def fitting_tile(b: Backend, source: ProbabilityMap, s: Settings) -> tuple[int, ...] | None:
    """None where a time point fits into memory, else the size of tiles that do."""
    extra = 4 * (len(source.channels) - 1)
    if prod(source.shape) * (BYTES + extra) <= b.free():
        return None
    return tile_size(source.shape, s.halo(source.shape), b.room(len(source.channels) + FLOATS))


def _at_once(b: Backend, source: ProbabilityMap, t: int, s: Settings, write: Write, meter: Meter) -> Found:
    meter.step()
    everything = tuple(slice(0, n) for n in source.shape)
    seen = see(b, source.read(b, t, everything), s, s.smoothing(source.shape))
    found = objects(b, seen, s)
    write(everything, b.to_numpy(found.labels))
    return Found(found.count, found.classes)


def _told(tally: _Tally, output: Output, of: str) -> str:
    """`1234 objects of channel 1, 512 x 512 yx, uint32`; by class if there are classes."""
    total = sum(tally.counts)
    what = f"{total} object{'s' * (total != 1)}{of}"
    if len(tally.counts) > 1:
        what += f" at {len(tally.counts)} time points"
    if tally.classes:
        values, counts = np.unique(np.concatenate(tally.classes), return_counts=True)
        of_each = (f"channel {v}: {n}" for v, n in zip(values, counts, strict=True))
        what += f" ({', '.join(of_each)})"
    return f"{what}, {' x '.join(map(str, output.shape))} {output.axes}, {output.dtype}"
