"""Images in, results out: any number of files through one model."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Outcome, each, named
from gpuseg.api.models import Source, open_model
from gpuseg.axes import sizes
from gpuseg.backends import get_backends
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError
from gpuseg.export import RESULTS
from gpuseg.io import Image, Output, create_image, image_format, locate, open_image
from gpuseg.model import PixelModel
from gpuseg.run.stream import Sink, stream

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, tiles done, tiles in all)
Change = Callable[[NDArray[Any]], NDArray[Any]]
COLORS = "colours"  # a segmentation for the eye
GRAY = (128, 128, 128)  # of a label value that no class has


@dataclass(frozen=True, slots=True)
class _Target:
    """One file to be written."""

    result: str
    path: str
    output: Output
    change: Change

    @property
    def scaled(self) -> np.dtype[Any] | None:
        """Integers that 0..1 is stretched over, if it is."""
        return self.output.dtype if RESULTS[self.result].unit and self.output.dtype.kind == "u" else None


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every image alike."""

    source: Source
    results: tuple[str, ...]
    template: str
    axes: str | None
    dtype: np.dtype[Any] | None

    def open(self, path: str) -> tuple[Image, str]:
        """An image and who named its axes: the user, the file, else training, else its shape."""
        image = open_image(path, self.axes)
        if image.axes_from != "shape" or (axes := self._axes_in_training(image.shape)) is None:
            return image, image.axes_from
        said_by = "training" if axes != image.axes else "shape"
        image.axes = axes
        return image, said_by

    def _axes_in_training(self, shape: Sequence[int]) -> str | None:
        """Axes of the training images if they can be those of an array that names none (SPEC 1.11)."""
        trained, channels = self.source.model.axes, self.source.model.channels
        fitting = (a for a in (trained, trained.replace("c", "")) if len(a) == len(shape))
        return next((a for a in fitting if sizes(a, shape)["c"] == channels), None)

    def paths(self, image: str) -> list[tuple[str, str]]:
        """Every result with its file; a segmentation as PNG has a coloured twin."""
        paths = []
        for result in self.results:
            path = exports.output_path(self.template, image, result)
            paths.append((result, path))
            if result == "segmentation" and image_format(path).name == "PNG":
                paths.append((COLORS, _colors_path(path)))
        return paths

    def targets(self, image: Image) -> list[_Target]:
        """What is to be written for an open image, if the model fits it."""
        n = sizes(image.axes, image.shape)
        self.source.model.check_image(n, image.path)
        targets: list[_Target] = []
        for result, path in self.paths(image.path):
            exports.check_name(path)
            if result == COLORS:
                targets.append(_colored(targets[-1], path, self.source.model))
            else:
                targets.append(self._target(image, result, path))
        return targets

    def _target(self, image: Image, result: str, path: str) -> _Target:
        model, row = self.source.model, RESULTS[result]
        n = sizes(image.axes, image.shape)
        names = _channel_names(model, result, n)
        dtype, change = _storage(model, result, self.dtype)
        n["c"] = max(1, len(names))
        axes = exports.output_axes(image.axes, n, image_format(path).name)
        provenance = {"gpuseg": __version__, "result": row.title, "model": model.hash}
        output = Output(
            shape=tuple(n[a] for a in axes),
            dtype=dtype,
            axes=axes,
            voxel=image.voxel,
            kind=row.kind,
            channel_names=tuple(names),
            colors=_colors(model) if row.kind == "labels" else (),
            drange=(0, 1 if dtype.kind == "f" else np.iinfo(dtype).max) if row.unit else None,
            provenance=json.dumps(provenance),
        )
        return _Target(result, path, output, change)


def predict(
    model: str | Path | PixelModel,
    images: str | Path | Sequence[str | Path],
    *,
    export: Sequence[str] = ("probabilities",),
    output: str = exports.DEFAULT_NAME,
    axes: str | None = None,
    dtype: str | None = None,
    backend: str = "auto",
    gpu_memory: int | str | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
) -> list[Outcome]:
    """Apply a model (`.gpuseg`, `.ilp` or in memory) to image files: one outcome per image, in order.

    export: any of `gpuseg.export.RESULTS`, all made in a single pass over an image.
    output: name of the files, may hold {dataset_dir} {nickname} {result_type}; the suffix is the format.
    dtype: "uint8" or "uint16" stores probabilities and uncertainty scaled to the full range of that type.
    backend: "auto", "cpu", "cuda", "cuda:1" for the second GPU, "cuda:0,1" to spread tiles over both.
    gpu_memory: bytes that may be taken of each GPU, as a number or "8GB"; by default nearly all.
    cancel: set it to stop within a tile, with Cancelled. A file appears whole or not at all.
    on_error: "skip" logs the error of an image and goes on; running out of memory or disk always stops.

        predict("cells.gpuseg", ["a.tif", "b.tif"], export=["segmentation"], output="{nickname}.png")
    """
    paths = named(images)
    job = _job(model, export, output, axes, dtype)
    targets = [(p, result, path) for p in paths for result, path in job.paths(p)]
    exports.check_collisions(targets, [*paths, *job.source.files])
    failed = _survey(job, paths, on_error)
    backends = get_backends(backend, gpu_memory)
    return each(
        paths,
        failed,
        backends,
        lambda path: _predict_one(backends, job, path, progress and partial(progress, path), cancel),
    )


def _job(
    model: str | Path | PixelModel, export: Sequence[str], output: str, axes: str | None, dtype: str | None
) -> _Job:
    """The request, checked as far as it can be without an image."""
    results = tuple(dict.fromkeys(map(exports.find, [export] if isinstance(export, str) else export)))
    if not results:
        raise InputError("nothing to export", hint=f"one or more of {', '.join(RESULTS)}")
    if dtype is not None and exports.check_dtype(dtype) and not any(RESULTS[r].unit for r in results):
        raise InputError(
            f"dtype {dtype!r} changes nothing in {', '.join(results)}",
            hint="it scales probabilities and uncertainty",
        )
    exports.check_template(output)
    image_format(output)
    source = open_model(model)
    if "labels" in results and source.project is None:
        raise InputError(
            "labels cannot be exported from a .gpuseg model: it does not keep them",
            hint="give the ilastik project (.ilp), or use the label files the model was trained with",
        )
    return _Job(source, results, output, axes, None if dtype is None else np.dtype(dtype))


def _survey(job: _Job, paths: Sequence[str], on_error: OnError) -> Failures:
    """Look at the header of every image before anything is computed: errors by image, and enough disk."""
    failed = Failures(on_error)
    needs = []
    for path in paths:
        with failed.of(path), job.open(path)[0] as image:
            needs += [(t.path, t.output.nbytes) for t in job.targets(image)]
            if "labels" in job.results:
                job.source.lane(path)
    exports.check_space(needs)
    return failed


def _predict_one(
    backends: Sequence[Backend],
    job: _Job,
    path: str,
    progress: Callable[[int, int], None] | None,
    cancel: Event | None,
) -> tuple[str, ...]:
    image, said_by = job.open(path)
    with image, ExitStack() as stack:
        log.info("%s: %s", path, exports.axes_text(image.axes, image.shape, said_by))
        targets = job.targets(image)
        sinks = [
            Sink(
                t.result,
                stack.enter_context(create_image(t.path, t.output)),
                t.output.axes,
                t.change,
                t.scaled,
            )
            for t in targets
        ]
        labels = job.source.labels(path) if "labels" in job.results else None
        stream(backends, image, job.source.model, sinks, labels=labels, progress=progress, cancel=cancel)
    for t in targets:
        log.info("%s: %s", t.path, _describe(t))
    return tuple(t.path for t in targets)


def _describe(target: _Target) -> str:
    output = target.output
    what = RESULTS[target.result].title.lower()
    return f"{what}, {' x '.join(map(str, output.shape))} {output.axes}, {output.dtype}"


def _channel_names(model: PixelModel, result: str, n: dict[str, int]) -> list[str]:
    """Names of the channels of a result; empty where it has one that needs no name."""
    if result == "probabilities":
        return [c.name for c in model.classes]
    return model.selection.names(n["c"], n["z"]) if result == "features" else []


def _storage(model: PixelModel, result: str, dtype: np.dtype[Any] | None) -> tuple[np.dtype[Any], Change]:
    """Type of the file, and how computed values become it."""
    if RESULTS[result].kind == "labels":
        return (stored := exports.label_dtype([c.value for c in model.classes])), lambda v: v.astype(stored)
    if RESULTS[result].unit and dtype is not None:
        return dtype, lambda v: v
    return np.dtype(np.float32), lambda v: v


def _colors(model: PixelModel) -> tuple[tuple[int, int, int], ...]:
    """Colours of the label values 1, 2, ... as far as there are classes; none where that is far."""
    known = {c.value: c.color for c in model.classes}
    return tuple(known.get(v, GRAY) for v in range(1, min(max(known), 255) + 1))


def _colors_path(path: str) -> str:
    file = locate(path)[0]
    return str(file.with_name(f"{file.stem}_colors{file.suffix}"))


def _colored(target: _Target, path: str, model: PixelModel) -> _Target:
    """The coloured twin of a segmentation: label values alone look black on a screen."""
    table = np.array([(0, 0, 0), *_colors(model)], np.uint8)
    old = target.output
    output = Output((*old.shape, 3), table.dtype, f"{old.axes}c", old.voxel, provenance=old.provenance)
    return _Target("segmentation", path, output, lambda v: table[np.minimum(v[..., 0], len(table) - 1)])
