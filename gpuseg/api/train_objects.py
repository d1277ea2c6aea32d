"""From objects that somebody labelled to a pipeline that classifies all of them."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import export as exports
from gpuseg.api.batch import Paths, check_once, named
from gpuseg.api.classify import PathLike, Progress, run_files, together
from gpuseg.api.findings import Findings, by_image, labels_given, tell_lost
from gpuseg.api.models import check_model_place, open_pipeline
from gpuseg.api.objects import Asked, Files, Kind, Scale, check_alike, check_range
from gpuseg.api.reports import check_report
from gpuseg.backends import get_backends
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError, LabelError
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.forests.validation import Validation
from gpuseg.model import ObjectModel, Pipeline
from gpuseg.object import learning
from gpuseg.object.labels import ObjectLabels, beyond
from gpuseg.objects.choice import NOT_LOCATION, Features, declared, listed
from gpuseg.objects.maps import Range
from gpuseg.objects.settings import Settings
from gpuseg.run.steps import Steps
from gpuseg.tables import check_path, join_tables

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def train_objects(
    *,
    object_labels: Paths | ObjectLabels,
    raw: Paths | None = None,
    labels: Paths | None = None,
    segmentation: Paths | None = None,
    probabilities: Paths | None = None,
    pixel_model: Any = None,
    segment: Mapping[str, Any] | None = None,
    range: Range | None = None,
    output: PathLike | None = None,
    table: PathLike | None = None,
    report: PathLike | None = None,
    features: Features = NOT_LOCATION,
    use: Sequence[str] | None = None,
    names: Sequence[str] = (),
    margin: Sequence[int] = (30, 30, 1),
    spacing: Sequence[float] | str | None = None,
    unit: str = "µm",
    axes: str | None = None,
    raw_axes: str | None = None,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    folds: int = 5,
    backend: str = "auto",
    gpu_memory: int | str | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> Pipeline:
    """Learn to classify objects from those that are labelled; returns and saves a pipeline.

    Parameters
    ----------
    object_labels : `ObjectLabels`, a .csv or .json of them, or one for each image. A label goes to the object
        at its position, without position to the one with its id. What no object has is told, never dropped.
    labels, segmentation, probabilities : what objects come from, one of the three for each `raw` image; or,
        with a `pixel_model`, the raw images alone.
    pixel_model : the first stage of the pipeline. segment : its second, the settings of `gpuseg.segment`.
    range : what stands for probabilities 0 and 1; by default what their file says, else by its type.
    output : the .gpuseg to write. table : of all objects with their classes. report : a page about it.
    features : to measure, as for `gpuseg.measure`, with `margin`, `spacing` and `unit`; use : those of them,
        features or columns, that the forest learns from, all by default.
    names : of the classes 1, 2, ...; each has a column of probabilities, labelled or not.
    axes, raw_axes : of the images and of the raw images under them; by default as stored.
    forest : "hist", "sklearn" or, on a GPU, "cuml"; of so many `trees`. seed : of its random numbers.
    folds : parts of the labelled objects to keep out and ask for, in turn; 0 for none.
    backend, gpu_memory, progress, cancel : as in `predict`.

        train_objects(raw="a.tif", labels="a_labels.tif", object_labels="a.csv", output="cells.gpuseg")
    """
    features = [] if features is None else listed(features)
    _check_known(features, forest)
    stages = _stages(pixel_model, segment)
    files = _files(labels, segmentation, probabilities, raw, stages)
    check_range(files[0].kind, range)
    known, said = labels_given(object_labels, files, names)
    scale, whose = Scale(margin, spacing, unit), axes if files[0].kind == "pixels" else raw_axes
    asked = Asked(stages, table=True, features=features, scale=scale, axes=axes, raw_axes=whose, range=range)
    models = [] if pixel_model is None or hasattr(pixel_model, "forest") else [str(pixel_model)]
    _check_written(files, [*said, *models], output, table, report)
    rows, values = _measured(asked, files, known, get_backends(backend, gpu_memory), progress, cancel)
    how: dict[str, Any] = {"subset": use, "forest": forest, "trees": trees, "seed": seed, "backend": backend}
    try:
        model = _learned(rows, values, [c.name for c in known.classes], folds, how)
    except LabelError as error:
        raise error.at(", ".join(f.name for f in files)) from error
    pipeline = replace(stages, objects=replace(model, classes=known.classes))
    if output is not None:
        pipeline.save(output)
        log.info("%s: model of %d classes, %d columns", output, len(model.classes), len(model.columns))
    if table is not None or report is not None:
        options: dict[str, Any] = dict(axes=axes, raw_axes=raw_axes, range=range, spacing=spacing)
        options |= dict(backend=backend, gpu_memory=gpu_memory, object_labels=known, retold=True)
        options["features"] = features
        options |= dict(progress=progress, cancel=cancel)
        run_files(files, pipeline, (), table=table or False, report=report, **options)
    return pipeline


def _stages(pixel_model: Any, segment: Mapping[str, Any] | None) -> Pipeline:
    """The stages before the one that is trained, as far as there are any."""
    if pixel_model is None:
        return Pipeline(segmentation=None if segment is None else Settings.of(**segment))
    stages, _ = open_pipeline(pixel_model, segment)
    if stages.pixel is None:
        raise InputError(f"{pixel_model}: has no pixel classifier")
    _check_segmentation(stages)
    return replace(stages, objects=None)


def _check_segmentation(stages: Pipeline) -> None:
    """InputError where objects are made of probabilities and nobody says how."""
    if stages.segmentation is None:
        raise InputError(
            "nothing says how probabilities become objects",
            hint="give the settings of gpuseg segment: segment={'channel': 1} (--segment channel=1)",
        )


def _files(
    labels: Paths | None,
    segmentation: Paths | None,
    probabilities: Paths | None,
    raw: Paths | None,
    stages: Pipeline,
) -> list[Files]:
    """The files of each image, and an error where nothing says what its objects are."""
    given: dict[Kind, Paths | None] = {
        "labels": labels,
        "segmentation": segmentation,
        "probabilities": probabilities,
    }
    if any(paths is not None for paths in given.values()):
        files = together(given, raw)
    elif stages.pixel is None or raw is None:
        raise InputError(
            "nothing says what the objects are",
            hint="give labels, a segmentation or probabilities, or a pixel model and raw images",
        )
    else:
        files = [Files("pixels", path) for path in named(raw)]
    check_once([f.name for f in files])
    if files[0].kind in ("pixels", "probabilities"):
        _check_segmentation(stages)
    return files


def _check_written(
    files: Sequence[Files],
    read: Sequence[str],
    output: PathLike | None,
    table: PathLike | None,
    report: PathLike | None,
) -> None:
    """Errors before anything is computed."""
    asked = (output, check_model_place), (table, check_path), (report, check_report)
    written = [(files[0].name, "output", str(check(path))) for path, check in asked if path is not None]
    exports.check_collisions(written, [*(p for f in files for p in f.paths), *read])


def _check_known(features: Sequence[Any], forest: str) -> None:
    """InputError for an unknown trainer, and a function that nobody finds again to measure other images."""
    get_trainer(forest)
    for feature in features:
        if callable(feature) and getattr(feature, "__name__", "") not in declared():
            raise InputError(
                f"feature {getattr(feature, '__name__', feature)!r} is a function: a model cannot keep it",
                hint="declare it with object_feature in a module of yours, see 'Own object features'",
            )


def _measured(
    asked: Asked,
    files: Sequence[Files],
    labels: ObjectLabels,
    backends: Sequence[Backend],
    progress: Progress | None,
    cancel: Event | None,
) -> tuple["pd.DataFrame", NDArray[np.int64]]:
    """A row for each object of all images, and the class it was given, 0 for none."""
    tables, values, mine = {}, [], by_image(labels, [f.name for f in files])
    columns: dict[str, tuple[int, int, str]] = {}
    for one in files:
        with ExitStack() as stack:
            columns[one.name] = asked.open(one, stack).columns_like(asked)
        check_alike(columns, one.name)
    for one in files:
        steps = Steps(one.name, progress and partial(progress, one.name), cancel)
        findings = _found(asked, one, mine[one.name], backends, steps)
        tables[one.name] = findings.table()
        values.append(findings.user_values)
        log.info("%s: %s, %d labelled", one.name, findings.told(None), np.count_nonzero(values[-1]))
        tell_lost(one.name, findings)
    rows = join_tables(tables) if len(tables) > 1 else next(iter(tables.values()))
    return rows, np.concatenate(values)


def _found(
    asked: Asked, files: Files, labels: ObjectLabels | None, backends: Sequence[Backend], steps: Steps
) -> Findings:
    """The objects of one image."""
    with ExitStack() as stack:
        opened = asked.open(files, stack)
        for line in opened.understood():
            log.info("%s", line)
        run = asked.run(opened, backends, steps)
        findings = Findings(run.plan, opened.ndim, opened.channels, asked.how, labels)
        steps.plan(run.labeller.times * run.stages)
        for frame in run.frames():
            findings.add(frame, None)
        if labels is not None:
            findings.lost += beyond(labels, opened.objects)
            findings.finish()
        steps.finish()
    return findings


def _learned(
    rows: "pd.DataFrame", values: NDArray[np.int64], names: Sequence[str], folds: int, how: Mapping[str, Any]
) -> ObjectModel:
    """The classifier; with folds, what held-out objects were taken for is in its provenance."""
    if len({name.casefold() for name in names}) < len(names):
        log.warning("classes differ in case only: %s", ", ".join(names))
    model = learning.learn(rows, values, names, **how)
    if folds:
        model = _validated(model, learning.held_out(rows, values, folds=folds, **how))
    if not model.measured.ndim:
        raise InputError(
            f"the forest uses columns of features that were not asked for: {', '.join(how['subset'] or ())}",
            hint="name them among the features too, so that they are measured in other images",
        )
    return model


def _validated(model: ObjectModel, found: Validation) -> ObjectModel:
    """The same model, with what held-out objects were taken for in its provenance."""
    told = model.provenance["training"]
    count = len(model.classes)
    confusion = np.zeros((count, count), np.int64)
    confusion[np.ix_(found.classes - 1, found.classes - 1)] = found.confusion
    validation = {
        "folds": found.folds,
        "accuracy": found.accuracy if found.confusion.any() else None,
        "confusion": confusion.tolist(),
        "notice": found.told({c.value: c.name for c in model.classes}),
    }
    return replace(model, provenance=model.provenance | {"training": told | {"validation": validation}})
