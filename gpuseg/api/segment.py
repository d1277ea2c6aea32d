"""Probability maps in, label images out."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Outcome, each, named
from gpuseg.axes import SPACE, reorder, sizes
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import GpusegError, InputError
from gpuseg.io import Image, Output, create_image, image_format, open_image
from gpuseg.objects.blocks import Found, Meter, Tiled, segment_tiles
from gpuseg.objects.maps import Range, refuse_channels, scaled, value_range
from gpuseg.objects.settings import Settings, several, whole
from gpuseg.objects.thresholds import objects, see
from gpuseg.tiles import Region, tile_size

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, tiles done, tiles in all)
RESULT = "Object Identities"  # ilastik's name for it
BYTES = 40  # of memory that a pixel takes on the way from one probability to its label
FLOATS = 8  # as many float32, for the size of tiles


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every image alike."""

    settings: Settings
    template: str
    axes: str | None
    range: Range | None
    tile: tuple[int, ...] | None

    def path(self, image: str) -> str:
        return exports.output_path(self.template, image, RESULT)

    def output(self, image: Image) -> Output:
        """What is to be written for an open image, if the settings fit it."""
        n = sizes(image.axes, image.shape)
        self.settings.channels(n["c"], _guessed(image))
        self.settings.smoothing(tuple(n[a] for a in SPACE))
        path = self.path(image.path)
        exports.check_name(path)
        n["c"] = 1
        row = image_format(path).name
        axes = exports.output_axes(image.axes, n, row)
        return Output(
            shape=tuple(n[a] for a in axes),
            dtype=np.dtype(np.uint16 if row == "PNG" else np.uint32),  # all that PNG can hold
            axes=axes,
            voxel=image.voxel,
            kind="labels",
            provenance=json.dumps({"gpuseg": __version__, "result": RESULT}),
        )


def segment(
    images: str | Path | Sequence[str | Path],
    *,
    output: str = exports.DEFAULT_NAME,
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

    output: name of the files, may hold {dataset_dir} {nickname} {result_type}; the suffix is the format.
    range: what stands for probabilities 0 and 1; by default what the file says, else by its type.
    tile: pixels along z, y, x to compute at once; by default the whole time point, if it fits into memory.
        The labels are the same. With keep_apart or split, touching objects must fit in one piece.
    cancel: set it to stop within a tile, with Cancelled. A file appears whole or not at all.
    on_error: "skip" logs the error of an image and goes on; running out of memory or disk always stops.
    settings: as for `gpuseg.segment`.

        segment("a_Probabilities.h5", output="a_labels.tif", channel=1, method="hysteresis", low=0.4)
    """
    paths = named(images)
    exports.check_template(output)
    image_format(output)
    job = _Job(Settings.of(**settings), output, axes, range, _tile(tile))
    exports.check_collisions([(p, "labels", job.path(p)) for p in paths], paths)
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
    """Look at the header of every image before anything is computed: errors by image, and enough disk."""
    failed = Failures(on_error)
    needs = []
    for path in paths:
        with failed.of(path), open_image(path, job.axes) as image:
            needs.append((job.path(path), _named(path, lambda: job.output(image)).nbytes))
    exports.check_space(needs)
    return failed


def _guessed(image: Image) -> str:
    """Axes that neither the file nor the user named."""
    return image.axes if image.axes_from == "shape" else ""


def _named(path: str, make: Callable[[], Output]) -> Output:
    try:
        return make()
    except GpusegError as e:
        raise e if e.problem.startswith(path) else e.at(path) from None


@dataclass(slots=True)
class _Source:
    """An open probability map, read by time point and region."""

    image: Image
    channels: list[int]
    range: Range
    n: dict[str, int]

    @classmethod
    def of(cls, image: Image, job: _Job) -> "_Source":
        n = sizes(image.axes, image.shape)
        asked = image.drange if job.range is None else job.range
        range, guessed = value_range(image.dtype, asked, image.path), _guessed(image)
        if guessed:
            refuse_channels(guessed, image.shape, image.read, range, image.path)
        return cls(image, job.settings.channels(n["c"], guessed), range, n)

    @property
    def shape(self) -> tuple[int, ...]:
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
class _Sink:
    """Where labels of a time point go."""

    writer: Any
    output: Output
    path: str
    counts: list[int] = field(default_factory=list)
    classes: list[NDArray[np.int64]] = field(default_factory=list)

    def write(self, t: int, region: Region, labels: NDArray[np.int32]) -> None:
        most = np.iinfo(self.output.dtype).max
        if labels.max(initial=0) > most:
            raise InputError(
                f"{self.path}: there are more than {most} objects, {self.output.dtype} cannot number them",
                hint="write .tif, .h5 or .zarr",
            )
        known = {"t": slice(t, t + 1), "c": slice(None)} | dict(zip(SPACE, region, strict=True))
        values = reorder(labels.astype(self.output.dtype)[None, ..., None], "tzyxc", self.output.axes)
        self.writer.write(tuple(known[a] for a in self.output.axes), values)

    def add(self, found: Found) -> None:
        self.counts.append(found.count)
        if found.classes is not None:
            self.classes.append(found.classes)


def _segment_one(
    b: Backend, job: _Job, path: str, progress: Callable[[int, int], None] | None, cancel: Event | None
) -> tuple[str, ...]:
    with open_image(path, job.axes) as image:
        log.info("%s: %s", path, exports.axes_text(image.axes, image.shape, image.axes_from))
        output, source = _named(path, lambda: job.output(image)), _Source.of(image, job)
        size = job.tile or _fitting(b, source, job.settings)
        target = job.path(path)
        with create_image(target, output) as writer:
            sink = _Sink(writer, output, target)
            tiles = 1 if size is None else prod(-(-n // s) for n, s in zip(source.shape, size, strict=True))
            steps = source.n["t"] * tiles * (1 if size is None else 2)
            meter = Meter(steps, progress, cancel, path)
            for t in range(source.n["t"]):
                if size is None:
                    sink.add(_at_once(b, source, t, job.settings, sink, meter))
                else:
                    tiled = Tiled(b, partial(source.read, b, t), source.shape, size, job.settings)
                    sink.add(segment_tiles(tiled, partial(sink.write, t), meter))
            meter.finish()
    of = f" of channel {job.settings.channel}" if source.n["c"] > 1 and not job.settings.classes else ""
    log.info("%s: %s", target, _told(sink, of))
    if not any(sink.counts):
        log.warning(
            "%s: no object%s was found; check the channel, the thresholds and sizes, and that the map holds "
            "probabilities",
            path,
            of,
        )
    return (target,)


def _fitting(b: Backend, source: _Source, s: Settings) -> tuple[int, ...] | None:
    """None where a time point fits into memory, else the size of tiles that do."""
    extra = 4 * (len(source.channels) - 1)
    if prod(source.shape) * (BYTES + extra) <= b.free():
        return None
    return tile_size(source.shape, s.halo(source.shape), b.room(len(source.channels) + FLOATS))


def _at_once(b: Backend, source: _Source, t: int, s: Settings, sink: _Sink, meter: Meter) -> Found:
    meter.step()
    everything = tuple(slice(0, n) for n in source.shape)
    seen = see(b, source.read(b, t, everything), s, s.smoothing(source.shape))
    found = objects(b, seen, s)
    sink.write(t, everything, b.to_numpy(found.labels))
    return Found(found.count, found.classes)


def _told(sink: _Sink, of: str) -> str:
    """`1234 objects of channel 1, 512 x 512 yx, uint32`; by class if there are classes."""
    total, output = sum(sink.counts), sink.output
    what = f"{total} object{'s' * (total != 1)}{of}"
    if len(sink.counts) > 1:
        what += f" at {len(sink.counts)} time points"
    if sink.classes:
        values, counts = np.unique(np.concatenate(sink.classes), return_counts=True)
        of_each = (f"channel {v}: {n}" for v, n in zip(values, counts, strict=True))
        what += f" ({', '.join(of_each)})"
    return f"{what}, {' x '.join(map(str, output.shape))} {output.axes}, {output.dtype}"
