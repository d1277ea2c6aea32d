"""Probability maps in, label images out."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from gpuseg.errors import GpusegError
from gpuseg.export import RESULTS, ExportSettings, Made, Sink, Target
from gpuseg.io import Image, Output, open_image
from gpuseg.objects.maps import Range, refuse_channels, scaled, value_range
from gpuseg.objects.settings import Settings, space
from gpuseg.run.held import Passed, Space
from gpuseg.run.labelling import Found, OfProbabilities
from gpuseg.run.objects import fitting_tile
from gpuseg.run.steps import Steps
from gpuseg.tiles import Region

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, parts done, parts in all)
RESULT = "object identities"


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every image alike."""

    settings: Settings
    export: ExportSettings
    axes: str | None
    range: Range | None
    block: tuple[int, ...] | None

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
    block: int | Sequence[int] | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
    **settings: Any,
) -> list[Outcome]:
    """Label the objects of probability maps in files: one outcome per image, in order.

    output, format, cutout, renormalise, dtype, axis_order: what is written, as in `predict`; objects are
        found in the whole image, whatever is cut out.
    range: what stands for probabilities 0 and 1; by default what the file says, else by its type.
    block: pixels along z, y, x, or one number, to compute at once; by default a whole time point if it fits
        into memory. The labels are the same. With keep_apart or split, touching objects must fit whole.
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
    job = _Job(Settings.of(**settings), export, axes, range, space("block", block, 1))
    failed = _survey(job, paths, on_error)
    b = get_backend(backend, gpu_memory)
    return each(
        paths,
        failed,
        (b,),
        lambda path: _segment_one(b, job, path, progress and partial(progress, path), cancel),
    )


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
    def shape(self) -> Space:
        """Of a time point: z, y, x."""
        z, y, x = (self.n[a] for a in SPACE)
        return z, y, x

    def read(self, b: Backend, t: int, region: Region) -> Array:
        """The channels that count, float32 (channels, z, y, x) of 0..1."""
        first = min(self.channels)
        known = {"t": slice(t, t + 1), "c": slice(first, max(self.channels) + 1)}
        known |= dict(zip(SPACE, region, strict=True))
        stored = self.image.read([known[a] for a in self.image.axes])
        pixels = reorder(stored, self.image.axes, "czyx")[[c - first for c in self.channels]]
        return scaled(b, pixels, self.range, self.image.path)


def _segment_one(
    b: Backend, job: _Job, path: str, progress: Callable[[int, int], None] | None, cancel: Event | None
) -> tuple[str, ...]:
    with open_image(path, job.axes) as image:
        log.info("%s: %s", path, exports.axes_text(image.axes, image.shape, image.axes_from))
        target = _named(path, lambda: job.target(image))
        source = ProbabilityMap.of(image, job.settings, job.range)
        with target.open() as sink:
            found = _label(b, source, job, sink, Steps(path, progress, cancel))
    of = f" of channel {job.settings.channel}" if source.n["c"] > 1 and not job.settings.classes else ""
    log.info("%s: %s", target.path, _told(found, target.output, of))
    if not any(len(f.ids) for f in found):
        log.warning(
            "%s: no object%s was found; check the channel, the thresholds and sizes, and that the map holds "
            "probabilities",
            path,
            of,
        )
    return target.files


def _label(b: Backend, source: ProbabilityMap, job: _Job, sink: Sink, steps: Steps) -> list[Found]:
    """Every time point, at once or in tiles."""
    labeller = OfProbabilities(b, source, source.shape, source.n["t"], job.settings, len(source.channels))
    tile = job.block or fitting_tile(labeller, b, 0, measured=False)
    steps.plan(labeller.times * labeller.stages())
    found = []
    for t in range(labeller.times):

        def put(region: Region, labels: NDArray[np.int32], t: int = t) -> None:
            sink.put(t, region, labels[..., None])

        found.append(labeller.label(t, Passed(b, source.shape, tile, put), steps))
    steps.finish()
    return found


def _told(found: Sequence[Found], output: Output, of: str) -> str:
    """`1234 objects of channel 1, 512 x 512 yx, uint32`; by channel if there are several."""
    total = sum(len(f.ids) for f in found)
    what = f"{total} object{'s' * (total != 1)}{of}"
    if len(found) > 1:
        what += f" at {len(found)} time points"
    if channels := [f.channels for f in found if f.channels is not None]:
        values, counts = np.unique(np.concatenate(channels), return_counts=True)
        of_each = (f"channel {v}: {n}" for v, n in zip(values, counts, strict=True))
        what += f" ({', '.join(of_each)})"
    return f"{what}, {' x '.join(map(str, output.shape))} {output.axes}, {output.dtype}"
