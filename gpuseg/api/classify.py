"""From images to classified objects and a table of them: any number of files through one pipeline."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, get_args

from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Outcome, Paths, check_once, each, named, place
from gpuseg.api.findings import Findings, by_image, labels_given, tell_lost
from gpuseg.api.models import open_pipeline
from gpuseg.api.objects import Asked, Files, Kind, Opened, check_alike, check_range
from gpuseg.api.pictures import Kept, check_pictures, check_stop
from gpuseg.api.reports import Report, check_report
from gpuseg.backends import get_backends
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError
from gpuseg.export import RESULTS, ExportSettings, Sink, Target
from gpuseg.model import Pipeline
from gpuseg.object.labels import ObjectLabels, beyond
from gpuseg.objects.choice import Features, listed
from gpuseg.objects.maps import Range
from gpuseg.objects.settings import space
from gpuseg.run import crops
from gpuseg.run.objects import BLOCKWISE, IDENTITIES, PREDICTIONS, Run, classify_columns, paint
from gpuseg.run.steps import Steps
from gpuseg.tables import check_path, join_tables, write_table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, parts done, parts in all)
Blockwise = Literal["exact", "ilastik"]
PathLike = str | Path
WRITTEN = ("output", "format", "cutout", "renormalise", "dtype", "axis_order")


@dataclass(frozen=True, slots=True)
class Results:
    """What became of every image, in order; and the objects of all of them, if somebody wants a table."""

    outcomes: list[Outcome]
    table: "pd.DataFrame | None" = None


def run(
    model: Any,
    images: Paths,
    *,
    export: str | Sequence[str] | None = None,
    table: PathLike | bool = False,
    report: PathLike | None = None,
    segment: Mapping[str, Any] | None = None,
    features: Features | None = None,
    object_labels: Paths | ObjectLabels | None = None,
    output: str = exports.DEFAULT_NAME,
    format: str | None = None,
    cutout: str | Mapping[str, tuple[int | None, int | None]] | None = None,
    renormalise: str | Sequence[float] | None = None,
    dtype: str | None = None,
    axis_order: str | None = None,
    pictures: bool = False,
    picture_margin: int = 0,
    whole_image: bool = False,
    block: int | Sequence[int] | None = None,
    halo: int | Sequence[int] | None = None,
    blockwise: Blockwise = "exact",
    spacing: float | Sequence[float] | Literal["file"] | None = None,
    axes: str | None = None,
    backend: str = "auto",
    gpu_memory: int | str | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
) -> Results:
    """From raw images to classified objects in one pass: pixels, objects, their features, their classes.

    Parameters
    ----------
    model : a `.gpuseg` pipeline, its path, or that of an ilastik project; images : raw image files.
    export : any of `gpuseg.export.RESULTS` but labels. By default "object predictions", without object
        classifier "object identities"; nothing where only a table or a report is asked for.
    table : True for the table in `Results.table`, or the .csv, .h5, .parquet or .h5ad to write: all images in
        one table. pictures : also of every object, in .h5; with a `picture_margin`, or the `whole_image`.
    report : a page (.html) that shows what was done.
    segment : settings of `gpuseg.segment`, in place of those in the model.
    features : of the table; by default those that were measured in training.
    object_labels : what people said of objects, for the column `User Label`: a file for all images, one for
        each, or `ObjectLabels`.
    output, format, cutout, renormalise, dtype, axis_order : what is written, as in `predict`.
    block : pixels along z, y, x, or one number, to compute at once; by default a whole time point if it fits
        into memory. Every object is found, measured and classified once, whatever the blocks.
    blockwise : "ilastik" makes the results "blockwise object predictions" and "... probabilities" as ilastik
        does, of what each block and its `halo` show; "exact" makes them equal to those of the whole.
    spacing : size of a pixel, one number or along z, y, x, or "file", where the classifier measures lengths;
        by default as in its training.
    axes : of the images. backend, gpu_memory, progress, cancel, on_error : as in `predict`.

        run("cells.gpuseg", ["a.tif", "b.tif"], export=["object predictions"], table="all.parquet")
    """
    how = {k: v for k, v in locals().items() if k not in ("model", "images")}
    pipeline, models = open_pipeline(model, segment)
    if pipeline.pixel is None:
        raise InputError(
            "the model has no pixel classifier, so raw images alone have no objects",
            hint="gpuseg classify takes probabilities, segmentations or label images beside them",
        )
    return run_files([Files("pixels", path) for path in named(images)], pipeline, models, **how)


def classify(
    model: Any,
    *,
    raw: Paths | None = None,
    probabilities: Paths | None = None,
    segmentation: Paths | None = None,
    labels: Paths | None = None,
    raw_axes: str | None = None,
    segment: Mapping[str, Any] | None = None,
    range: Range | None = None,
    **how: Any,
) -> Results:
    """Classify the objects of probability maps, of segmentations or of label images.

    segmentation: connected parts of equal value are objects. raw: the images under them, as many and in the
        same order. raw_axes: theirs; `axes` are those of the others.
    range: what stands for probabilities 0 and 1; by default what their file says, else by its type.
    how: all else as for `run`.

        classify("cells.gpuseg", raw="a.tif", labels="a_labels.tif", table="a.csv")
    """
    given: dict[Kind, Paths | None] = {
        "probabilities": probabilities,
        "segmentation": segmentation,
        "labels": labels,
    }
    pipeline, models = open_pipeline(model, segment)
    files = together(given, raw)
    return run_files(files, pipeline, models, raw_axes=raw_axes, segment=segment, range=range, **how)


def together(given: Mapping[Kind, Paths | None], raw: Paths | None) -> list[Files]:
    """The files of each image; InputError unless there is one kind of them, and as many raw images."""
    there = {kind: named(paths) for kind, paths in given.items() if paths is not None}
    if len(there) != 1:
        raise InputError(
            f"{len(there)} of probabilities, segmentation and labels are given: objects are of one of them",
            hint="labels=... (--label-image), segmentation=... (--segmentation) or probabilities=...",
        )
    ((kind, others),) = there.items()
    raws = [None] * len(others) if raw is None else named(raw)
    if len(raws) != len(others) or not others:
        raise InputError(
            f"{len(raws)} raw images and {len(others)} files of {kind}",
            hint="give one for each, in the same order",
        )
    repeated = len({None if r is None else place(r) for r in raws}) < len(raws)
    return [Files(kind, r, o, repeated) for r, o in zip(raws, others, strict=True)]


@dataclass(slots=True)
class _Work:
    """What is done to every image, and what is collected of all."""

    asked: Asked
    backends: Sequence[Backend]
    backend: str
    labels: Mapping[str, ObjectLabels]  # by image
    report: Report | None
    kept: Kept | None
    crops: tuple[tuple[int, ...], tuple[int, ...]] | None  # block and halo, as ilastik cuts
    tells: bool  # of labels that no object has
    tables: dict[str, "pd.DataFrame"] = field(default_factory=dict)

    def one(self, files: Files, progress: Any, cancel: Event | None) -> tuple[str, ...]:
        """All results of one image."""
        asked = self.asked
        with ExitStack() as stack, self._all_or_nothing(files.name):
            opened = asked.open(files, stack)
            for line in opened.understood():
                log.info("%s", line)
            targets = asked.targets(opened)
            sinks = [stack.enter_context(target.open()) for target in targets]
            of_pixels = [s for s in sinks if RESULTS[s.result].source != "objects"]
            steps = Steps(files.name, progress, cancel)
            run = asked.run(opened, self.backends, steps, of_pixels)
            findings = self._frames(run, opened, [s for s in sinks if s not in of_pixels])
            steps.finish()
        for target in targets:
            log.info("%s: %s", target.path, target.described())
        self._tell(files.name, findings)
        if asked.table:
            self.tables[files.name] = findings.table(asked.pipeline.objects)
        return tuple(file for target in targets for file in target.files)

    @contextmanager
    def _all_or_nothing(self, name: str) -> Iterator[None]:
        """An image that fails leaves neither pictures nor labels behind."""
        before = None if self.report is None else self.report.album.copy()
        try:
            yield
        except BaseException:
            if self.report is not None and before is not None:
                self.report.album = before
            if self.kept is not None:
                self.kept.drop(name)
            raise

    def _frames(self, run: Run, opened: Opened, sinks: Sequence[Sink]) -> Findings:
        """Every time point: found, measured, classified, painted, counted."""
        model, name = self.asked.pipeline.objects, opened.files.name
        labels = self.labels.get(name)
        findings = Findings(run.plan, opened.ndim, opened.channels, self.asked.how, labels)
        findings.shown = self.asked.shown(opened) if self.asked.table else None
        cut = [s for s in sinks if self.crops is not None and s.result.startswith(BLOCKWISE)]
        exact = [s for s in sinks if s not in cut]
        run.steps.plan(run.labeller.times * (run.stages + bool(cut)))
        for frame in run.frames():
            said = None
            if model is not None and run.plan is not None:
                said = classify_columns(model, frame.columns, self.backend)
            findings.add(frame, said)
            paint(exact, frame, said, run.steps)
            if cut and self.crops is not None and model is not None and run.plan is not None:
                crops.Crops(run.plan, run.raw, model, self.backend, *self.crops).paint(cut, frame, run.steps)
            if self.report is not None:
                rows = findings.table(model, last=frame.t)
                self.report.add(name, frame, opened.under, rows)
            if self.kept is not None:
                self.kept.add(opened, frame)
        if labels is not None:
            findings.lost += beyond(labels, opened.objects)
            findings.finish(tell=self.tells)
        return findings

    def _tell(self, name: str, findings: Findings) -> None:
        """How many objects there are of each class; and every label that no object has."""
        log.info("%s: %s", name, findings.told(self.asked.pipeline.objects))
        notices = tell_lost(name, findings, tell=self.tells)
        if self.report is not None:
            self.report.notices += notices


@dataclass(frozen=True, slots=True)
class _How:
    """Options of `run` that are not about what is written where."""

    export: str | Sequence[str] | None = None
    table: PathLike | bool = False
    report: PathLike | None = None
    segment: Mapping[str, Any] | None = None
    features: Features | None = None
    object_labels: Paths | ObjectLabels | None = None
    pictures: bool = False
    picture_margin: int = 0
    whole_image: bool = False
    block: int | Sequence[int] | None = None
    halo: int | Sequence[int] | None = None
    blockwise: Blockwise = "exact"
    spacing: float | Sequence[float] | Literal["file"] | None = None
    axes: str | None = None
    raw_axes: str | None = None
    range: Range | None = None
    backend: str = "auto"
    gpu_memory: int | str | None = None
    progress: Progress | None = None
    cancel: Event | None = None
    on_error: OnError = "stop"
    retold: bool = False  # training told already which labels no object has

    @property
    def tells(self) -> bool:
        """Whether somebody wants to see what was measured."""
        return bool(self.table or self.report)

    def shown(self) -> dict[str, Any]:
        """Settings that a report shows."""
        names = ("export", "features", "block", "halo", "blockwise", "backend", "table")
        given = {k: getattr(self, k) for k in names}
        return {k: v for k, v in given.items() if v is not None and v is not False}


def run_files(files: list[Files], pipeline: Pipeline, models: Sequence[str], **options: Any) -> Results:
    """What `run` and `classify` do, for files that belong together; options as there."""
    written = {k: options.pop(k) for k in WRITTEN if k in options}
    if unknown := sorted(set(options) - {f.name for f in fields(_How)}):
        raise TypeError(f"there is no option {unknown[0]!r}; there are those of gpuseg.api.run")
    how = _How(**options)
    if not files:
        raise InputError("no image is given")
    check_once([f.name for f in files])
    kind = files[0].kind
    check_range(kind, how.range)
    results = _results(how.export, pipeline, kind, how.tells)
    asked = Asked(
        pipeline,
        results,
        ExportSettings.of(**written),
        how.axes,
        how.axes if kind == "pixels" else how.raw_axes,
        measured=how.tells or any(_needs_features(r) for r in results),
        table=how.tells,
        features=() if how.features is None else listed(how.features),
        spacing=how.spacing,
        block=space("block", how.block, 1),
        range=how.range,
    )
    where = None if isinstance(how.table, bool) else check_path(how.table, pictures=how.pictures)
    if where is not None:
        exports.check_template(str(where), known=exports.NAMES)
    check_pictures(where, [f.raw for f in files], how.pictures, how.picture_margin, how.whole_image)
    page = None if how.report is None else check_report(how.report)
    cut = _crops(how.blockwise, how.block, how.halo)
    said, names, read = how.object_labels, [f.name for f in files], [*models]
    if said is not None:
        said, given = labels_given(said, files)
        read += given
    labels = by_image(said, names, tell=not how.retold)
    failed = _survey(asked, files, [p for p in (where, page) if p is not None], read, how.on_error)
    if pipeline.objects is None and how.tells:
        log.warning("the model has no object classifier: objects are measured, and have no classes")
    backends = get_backends(how.backend, how.gpu_memory)
    told = {"model": ", ".join(models), "object labels": ", ".join(read[len(models) :])}
    sources = {kind: [p for f in files for p in f.paths]}
    report = None if page is None else Report(str(page), pipeline, how.shown(), told | sources)
    kept = Kept(asked, how.picture_margin, how.whole_image, how.cancel) if how.pictures else None
    work = _Work(asked, backends, how.backend, labels, report, kept, cut, not how.retold)
    by_name = {f.name: f for f in files}

    def one(name: str) -> tuple[str, ...]:
        return work.one(by_name[name], how.progress and partial(how.progress, name), how.cancel)

    outcomes = each(names, failed, backends, one)
    return Results(outcomes, _finish(work, outcomes, where, how.cancel, several=len(files) > 1))


def _results(
    export: str | Sequence[str] | None, pipeline: Pipeline, kind: Kind, table: bool
) -> tuple[str, ...]:
    """Keys of the results that are asked for, if this pipeline can make them."""
    if pipeline.segmentation is None and kind in ("pixels", "probabilities"):
        raise InputError(
            "the model does not say how probabilities become objects",
            hint="give the settings of gpuseg segment: segment={'channel': 1} (--segment channel=1)",
        )
    if export is None:
        default = IDENTITIES if pipeline.objects is None else PREDICTIONS
        return () if table else (default,)
    words = [export] if isinstance(export, str) else export
    results = tuple(dict.fromkeys(map(exports.find, words)))
    for result in results:
        pixels = RESULTS[result].source != "objects"
        if result == "labels" or (pixels and kind != "pixels"):
            raise InputError(
                f"{result!r} cannot be made here",
                hint="gpuseg predict makes results of pixels from images"
                if pixels
                else "the labels of pixels are in the files that a model was trained with",
            )
        if not pixels and result != IDENTITIES and pipeline.objects is None:
            raise InputError(
                f"{result!r} needs an object classifier, the model has none",
                hint=f"train one with gpuseg train-objects, or export {IDENTITIES!r}",
            )
    return results


def _needs_features(result: str) -> bool:
    return RESULTS[result].source == "objects" and result != IDENTITIES


def _crops(blockwise: str, block: Any, halo: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if blockwise not in get_args(Blockwise):
        raise InputError(f"blockwise {blockwise!r}", hint=f"one of {', '.join(get_args(Blockwise))}")
    cut = space("block", block, 1) or crops.BLOCK, space("halo", halo, 0) or crops.HALO
    return None if blockwise == "exact" else cut


def _survey(
    asked: Asked, files: Sequence[Files], more: Sequence[Any], models: Sequence[str], on_error: OnError
) -> Failures:
    """Look at all headers before anything is computed: errors by image, free names, enough disk."""
    failed = Failures(on_error)
    targets: list[tuple[str, Target]] = []
    columns: dict[str, tuple[int, int, str]] = {}
    for one in files:
        with failed.of(one.name), ExitStack() as stack:
            opened = asked.open(one, stack)
            made = asked.targets(opened)
            if asked.table:
                columns[one.name] = opened.columns_like(asked)
                check_alike(columns, one.name)
            targets += [(one.name, target) for target in made]
    written = [(name, t.result, file) for name, t in targets for file in t.files]
    for path in more:
        of = [f.name for f in files] if "{" in str(path) else [files[0].name]
        written += [(name, "table or report", table_path(path, name)) for name in of]
    exports.check_collisions(written, [*(p for f in files for p in f.paths), *models])
    exports.check_space([(t.path, t.nbytes) for _, t in targets])
    return failed


def table_path(where: Path, image: str) -> str:
    """Where the table of an image goes: the one name of all, or its own by the placeholders."""
    return exports.output_path(str(where), image, "Table") if "{" in str(where) else str(where)


def _finish(
    work: _Work, outcomes: Sequence[Outcome], where: Path | None, cancel: Event | None, *, several: bool
) -> "pd.DataFrame | None":
    """Write the table and the report of all images that could be done."""
    import pandas as pd

    table = None
    if work.tables:
        table = join_tables(work.tables) if several else next(iter(work.tables.values()))
        table.attrs["failed"] = [o.image for o in outcomes if o.error is not None]
    written = [] if where is None else list(_tables(work, table, where))
    for path, rows, names in written:
        check_stop(cancel, path)
        write_table(rows, path, None if work.kept is None else work.kept.cutouts(names))
        log.info("%s: %d objects, %d columns", path, len(rows), len(rows.columns))
    if table is None and work.asked.table:
        log.error("no image could be done, so there is no table")
    if work.report is not None:
        check_stop(cancel, work.report.path)
        work.report.notices += [f"{o.image}: {o.error.problem}" for o in outcomes if o.error is not None]
        work.report.files += [*(f for o in outcomes for f in o.outputs), *(path for path, _, _ in written)]
        work.report.write(pd.DataFrame() if table is None else table, "Object classification")
        log.info("%s: report", work.report.path)
    return table


def _tables(
    work: _Work, table: "pd.DataFrame | None", where: Path
) -> Iterator[tuple[str, "pd.DataFrame", list[str]]]:
    """Every table to be written: its path, its rows, the images it is of."""
    if "{" in str(where):
        yield from ((table_path(where, name), rows, [name]) for name, rows in work.tables.items())
    elif table is not None:
        yield str(where), table, list(work.tables)
