"""From label files, and the images under them, to one table of objects."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Paths, check_once, named
from gpuseg.api.pictures import check_pictures, check_stop
from gpuseg.backends import get_backend
from gpuseg.errors import Cancelled, InputError
from gpuseg.io import Image, open_image
from gpuseg.objects import measure as objects
from gpuseg.objects.choice import NOT_LOCATION, choose
from gpuseg.objects.pixels import Pixels, beneath, numbered, pair
from gpuseg.tables import Cutouts, CutoutSource, check_path, join_tables, write_table
from gpuseg.tiles import Region

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (label file, parts done, parts in all)
FAILED = "failed"  # entry of a table's `attrs`


@dataclass(frozen=True, slots=True)
class _Files:
    """What belongs together: a label file, what lies under it, and who named the axes of each."""

    labels: str
    raw: str | None
    proba: str | None
    axes: str | None
    raw_axes: str | None

    @property
    def paths(self) -> list[str]:
        return [p for p in (self.labels, self.raw, self.proba) if p is not None]

    def open(self, stack: ExitStack) -> list[Image | None]:
        """Labels, raw image and probabilities, until the stack is left."""
        said = ((self.labels, self.axes), (self.raw, self.raw_axes), (self.proba, None))
        return [p and stack.enter_context(open_image(p, axes)) for p, axes in said]  # type: ignore[misc]


def measure(
    labels: Paths,
    *,
    raw: Paths | None = None,
    probabilities: Paths | None = None,
    output: str | Path | None = None,
    pictures: bool = False,
    picture_margin: int = 0,
    whole_image: bool = False,
    axes: str | None = None,
    raw_axes: str | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
    **how: Any,
) -> "pd.DataFrame":
    """Measure the objects of label files: one table, with a column `image` where there are several files.

    raw, probabilities: as many files as labels, in their order. output: .csv, .h5, .parquet or .h5ad.
    pictures: put a picture of each object into the .h5 file, with picture_margin pixels around it;
    whole_image: the raw image at full size once, not with each object.
    cancel: set it to stop between two parts, with Cancelled; nothing is written then.
    on_error: "skip" logs the error of a file and goes on; `table.attrs["failed"]` names the files.
    how: features, classes, kind, margin, spacing, unit, block, backend, as for `gpuseg.measure`, which
    measures images in memory.

        table = measure("labels.h5", raw="cells.h5", output="cells.csv", features="all")
    """
    files = _together(labels, raw, probabilities, axes, raw_axes)
    check_pictures(output, [f.raw for f in files], pictures, picture_margin, whole_image)
    if output is not None:
        exports.check_name(str(output))
        check_path(output, pictures=pictures)
        inputs = [path for one in files for path in one.paths]
        exports.check_collisions([(files[0].labels, "table", str(output))], inputs)
    on_error = "stop" if len(files) == 1 else on_error
    failed = _survey(files, how, on_error)
    tables: dict[str, pd.DataFrame] = {}
    for one in (f for f in files if f.labels not in failed):
        with failed.of(one.labels, InputError):
            tables[one.labels] = _measure_one(one, _telling(one.labels, progress, cancel), how)
    if not tables:
        raise InputError(f"none of {len(files)} label files could be measured")
    table = join_tables(tables) if len(files) > 1 else next(iter(tables.values()))
    table.attrs[FAILED] = list(failed)
    if output is not None:
        cut = None
        if pictures:
            sources = _sources([f for f in files if f.labels in tables], table, how)
            stop = partial(check_stop, cancel, str(output))
            cut = Cutouts(sources, picture_margin, whole_image, stop)
        write_table(table, output, cut)
        log.info("%s: %d objects, %d columns", output, len(table), len(table.columns))
    return table


def _measure_one(files: _Files, progress: Callable[[int, int], None], how: dict[str, Any]) -> "pd.DataFrame":
    with ExitStack() as stack:
        labels, raw, proba = files.open(stack)
        how = how | {"axes": files.axes, "raw_axes": files.raw_axes, "progress": progress}
        return objects.measure(labels, raw, probabilities=proba, **how)


def _together(
    labels: Paths, raw: Paths | None, proba: Paths | None, axes: str | None, raw_axes: str | None
) -> list[_Files]:
    """The files of each image; InputError unless there are as many of one kind as of the other."""
    every = [[] if x is None else named(x) for x in (labels, raw, proba)]
    first = every[0]
    for what, paths in zip(("raw images", "probability maps"), every[1:], strict=True):
        if paths and len(paths) != len(first):
            raise InputError(
                f"{len(first)} label files and {len(paths)} {what}",
                hint="give one for each label file, in their order",
            )
    if not first:
        raise InputError("no label file")
    check_once(first)
    none = [None] * len(first)
    return [
        _Files(*paths, axes, raw_axes)
        for paths in zip(first, every[1] or none, every[2] or none, strict=True)
    ]


def _survey(files: Sequence[_Files], how: dict[str, Any], on_error: OnError) -> Failures:
    """Look at all headers before anything is measured: errors by label file."""
    failed = Failures(on_error)
    kinds: dict[str, tuple[int, int, int, str]] = {}
    for one in files:
        with failed.of(one.labels):
            kinds[one.labels] = _look(one, how)
            first = next(iter(kinds))
            if kinds[one.labels] != kinds[first]:
                text = (
                    "{}: {}D, with {} channels of intensities and {} of probabilities, lengths in {}".format
                )
                raise InputError(
                    f"{text(one.labels, *kinds.pop(one.labels))}; {text(first, *kinds[first])}",
                    hint="their columns differ: make a table for each",
                )
    if kinds:
        ndim, channels, *_ = next(iter(kinds.values()))
        choose(how.get("features", NOT_LOCATION), ndim, channels)  # a wrong name is no fault of a file
    return failed


def _look(files: _Files, how: dict[str, Any]) -> tuple[int, int, int, str]:
    """What columns depend on, if all files fit: dimensions, channels of both images, unit of lengths."""
    with ExitStack() as stack:
        image, raw, proba = files.open(stack)
        labels, under = pair(image, raw, files.axes, files.raw_axes)
        classes = None if proba is None else beneath(proba, labels)
        for opened, pixels in ((image, labels), (raw, under), (proba, classes)):
            if opened is not None and pixels is not None:
                log.info("%s", _understood(opened, pixels))
    _, unit = objects.lengths(how.get("spacing"), how.get("unit", "µm"), labels, under)
    channels, names = (0 if p is None else p.sizes["c"] for p in (under, classes))
    return 2 if labels.sizes["z"] == 1 else 3, channels, names, unit or "pixels"


def _understood(image: Image, pixels: Pixels) -> str:
    said_by = "image" if image.axes_from == "shape" and image.axes != pixels.axes else image.axes_from
    return f"{pixels.name}: {exports.axes_text(pixels.axes, pixels.shape, said_by)}"


def _telling(name: str, progress: Progress | None, cancel: Event | None) -> Callable[[int, int], None]:
    """Tells how far a file is, and ends it when somebody asks."""

    def tell(done: int, total: int) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled(f"{name}: stopped after {done} of {total} parts, nothing is kept")
        if progress is not None:
            progress(name, done, total)

    return tell


def _sources(files: Sequence[_Files], table: "pd.DataFrame", how: dict[str, Any]) -> Iterator[CutoutSource]:
    """What objects are cut out of, each open until the next is asked for."""
    for one in files:
        with ExitStack() as stack:
            image, raw, _ = one.open(stack)
            labels, under = pair(image, raw, one.axes, one.raw_axes)
            numbers = _components(labels, how) if how.get("kind") == "components" else None
            yield CutoutSource.measured(one.labels, table, labels, under, numbers)


def _components(labels: Pixels, how: dict[str, Any]) -> Callable[[int, Region], NDArray[Any]]:
    """Connected components by their numbers in the table, of a time point at once."""
    b = get_backend(how.get("backend", "auto"))

    @lru_cache(maxsize=1)
    def frame(t: int) -> NDArray[Any]:
        values, _ = numbered(labels.integers(t, labels.whole))
        return b.to_numpy(b.components(b.asarray(values))[0])

    return lambda t, region: frame(t)[region]
