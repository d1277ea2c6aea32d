"""Images in, results out: any number of files through one model."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from gpuseg import __version__
from gpuseg import export as exports
from gpuseg.api.batch import Failures, OnError, Outcome, each, named
from gpuseg.api.models import Source, in_training_axes, open_model
from gpuseg.axes import sizes
from gpuseg.backends import get_backends
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError
from gpuseg.export import RESULTS, ExportSettings, Made, Target
from gpuseg.io import Image, open_image
from gpuseg.model import PixelModel
from gpuseg.run.stream import stream

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]  # (image, tiles done, tiles in all)
GRAY = (128, 128, 128)  # of a label value that no class has


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every image alike."""

    source: Source
    results: tuple[str, ...]
    settings: ExportSettings
    axes: str | None

    def open(self, path: str) -> Image:
        """An image and who named its axes: the user, the file, else training, else its shape."""
        image = open_image(path, self.axes)
        in_training_axes(image, self.source.model)
        return image

    def targets(self, image: Image) -> list[Target]:
        """What is to be written for an open image, if the model fits it; pictures have a coloured twin."""
        n = sizes(image.axes, image.shape)
        self.source.model.check_image(n, image.path)
        targets = []
        for result in self.results:
            made = made_of_pixels(self.source.model, result, n)
            target = self.settings.target(image.path, image.axes, n, image.voxel, made)
            targets.append(target)
            if target.has_twin:
                targets.append(target.colored())
        return targets


def predict(
    model: str | Path | PixelModel,
    images: str | Path | Sequence[str | Path],
    *,
    export: Sequence[str] = ("probabilities",),
    output: str = exports.DEFAULT_NAME,
    format: str | None = None,
    cutout: str | Mapping[str, tuple[int | None, int | None]] | None = None,
    renormalise: str | Sequence[float] | None = None,
    dtype: str | None = None,
    axis_order: str | None = None,
    axes: str | None = None,
    backend: str = "auto",
    gpu_memory: int | str | None = None,
    progress: Progress | None = None,
    cancel: Event | None = None,
    on_error: OnError = "stop",
) -> list[Outcome]:
    """Apply a model (`.gpuseg`, `.ilp` or in memory) to image files: one outcome per image, in order.

    export: any pixel results of `gpuseg.export.RESULTS`, all made in a single pass over an image.
    output: name of the files, may hold {dataset_dir} {nickname} {result_type} and places such as {x_start}.
    format: a name in `gpuseg.io.FORMS`; by default the suffix of output is the format.
    cutout: the part to write, by axis of the image: "x:10:200,y::50" or {"x": (10, 200)}.
    renormalise: in_min, in_max, out_min, out_max: values are scaled from the first range to the second.
    dtype: type of the values. "uint8" and "uint16" scale probabilities and uncertainty to their full range.
    axis_order: axes of the files, e.g. "zyxc"; by default those of the image.
    backend: "auto", "cpu", "cuda", "cuda:1" for the second GPU, "cuda:0,1" to spread tiles over both.
    gpu_memory: bytes that may be taken of each GPU, as a number or "8GB"; by default nearly all.
    cancel: set it to stop within a tile, with Cancelled. A file appears whole or not at all.
    on_error: "skip" logs the error of an image and goes on; running out of memory or disk always stops.

        predict("cells.gpuseg", ["a.tif", "b.tif"], export=["segmentation"], output="{nickname}.png")
    """
    paths = named(images)
    settings = ExportSettings.of(
        output=output,
        format=format,
        cutout=cutout,
        renormalise=renormalise,
        dtype=dtype,
        axis_order=axis_order,
    )
    job = _job(model, export, settings, axes)
    failed = _survey(job, paths, on_error)
    backends = get_backends(backend, gpu_memory)
    return each(
        paths,
        failed,
        backends,
        lambda path: _predict_one(backends, job, path, progress and partial(progress, path), cancel),
    )


def _job(
    model: str | Path | PixelModel, export: Sequence[str], settings: ExportSettings, axes: str | None
) -> _Job:
    """The request, checked as far as it can be without an image."""
    words = [export] if isinstance(export, str) else export
    results = tuple(dict.fromkeys(map(exports.find_pixel_result, words)))
    if not results:
        raise InputError("nothing to export", hint=f"one or more of {', '.join(exports.pixel_results())}")
    source = open_model(model)
    if "labels" in results and source.project is None:
        raise InputError(
            "labels cannot be exported from a .gpuseg model: it does not keep them",
            hint="give the ilastik project (.ilp), or use the label files the model was trained with",
        )
    return _Job(source, results, settings, axes)


def _survey(job: _Job, paths: Sequence[str], on_error: OnError) -> Failures:
    """Look at the header of every image before anything is computed: errors, free names, enough disk."""
    failed = Failures(on_error)
    targets: list[tuple[str, Target]] = []
    for path in paths:
        with failed.of(path), job.open(path) as image:
            if "labels" in job.results:
                job.source.lane(path)
            targets += [(path, target) for target in job.targets(image)]
    files = [(path, t.result, file) for path, t in targets for file in t.files]
    exports.check_collisions(files, [*paths, *job.source.files])
    exports.check_space([(t.path, t.nbytes) for _, t in targets])
    return failed


def _predict_one(
    backends: Sequence[Backend],
    job: _Job,
    path: str,
    progress: Callable[[int, int], None] | None,
    cancel: Event | None,
) -> tuple[str, ...]:
    with job.open(path) as image, ExitStack() as stack:
        log.info("%s: %s", path, exports.axes_text(image.axes, image.shape, image.axes_from))
        targets = job.targets(image)
        sinks = [stack.enter_context(t.open()) for t in targets]
        labels = job.source.labels(path) if "labels" in job.results else None
        stream(backends, image, job.source.model, sinks, labels=labels, progress=progress, cancel=cancel)
    for t in targets:
        log.info("%s: %s", t.path, t.described())
    return tuple(file for t in targets for file in t.files)


def made_of_pixels(model: PixelModel, result: str, n: dict[str, int]) -> Made:
    """A result of an image with axes of these sizes, as it is computed."""
    row = RESULTS[result]
    names = _channel_names(model, result, n)
    is_labels = row.kind == "labels"
    provenance = {"gpuseg": __version__, "result": row.title, "model": model.hash}
    return Made(
        result,
        exports.label_dtype([c.value for c in model.classes]) if is_labels else np.dtype(np.float32),
        channels=max(1, len(names)),
        channel_names=tuple(names),
        colors=_colors(model) if is_labels else (),
        drange=(0, 1) if row.unit else None,
        provenance=json.dumps(provenance),
    )


def _channel_names(model: PixelModel, result: str, n: dict[str, int]) -> list[str]:
    """Names of the channels of a result; empty where it has one that needs no name."""
    if result == "probabilities":
        return [c.name for c in model.classes]
    return model.selection.names(n["c"], n["z"]) if result == "features" else []


def _colors(model: PixelModel) -> tuple[tuple[int, int, int], ...]:
    """Colours of the label values 1, 2, ... as far as there are classes; none where that is far."""
    known = {c.value: c.color for c in model.classes}
    return tuple(known.get(v, GRAY) for v in range(1, min(max(known), 255) + 1))
