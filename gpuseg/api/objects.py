"""What the verbs that classify objects have in common: files that belong together, and one image of a job."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gpuseg import __version__
from gpuseg.api.models import in_training_axes
from gpuseg.api.predict import made_of_pixels
from gpuseg.api.segment import ProbabilityMap
from gpuseg.axes import SPACE, Voxel, sizes
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError, ModelMismatchError
from gpuseg.export import RESULTS, ExportSettings, Made, Target, axes_text, label_dtype
from gpuseg.io import Image, open_image
from gpuseg.model import Measured, Pipeline
from gpuseg.objects.choice import NOT_LOCATION, Feature, choose, identity
from gpuseg.objects.columns import Plan
from gpuseg.objects.maps import Range
from gpuseg.objects.measure import METERS, Lengths, in_unit, lengths, margin_of, unit_of
from gpuseg.objects.pixels import Pixels, beneath, pair
from gpuseg.run.labelling import Labeller, OfLabels, OfPixels, OfProbabilities, OfSegmentation
from gpuseg.run.objects import IDENTITIES, PROBABILITIES, Run, fitting_tile
from gpuseg.run.steps import Steps

Kind = Literal["pixels", "probabilities", "segmentation", "labels"]  # what objects come from


@dataclass(frozen=True, slots=True)
class Files:
    """What belongs together: the raw image, and what objects come from where that is another file."""

    kind: Kind
    raw: str | None
    other: str | None = None
    by_other: bool = False  # one raw image lies under several others

    @property
    def name(self) -> str:
        """What outputs and messages are named after."""
        return str(self.other) if self.raw is None or self.by_other else self.raw

    @property
    def paths(self) -> list[str]:
        return [p for p in (self.raw, self.other) if p is not None]


@dataclass(frozen=True, slots=True)
class Opened:
    """The same, open, and their axes understood."""

    files: Files
    raw: Image | None
    other: Image | None
    under: Pixels | None  # the raw image as what is measured
    objects: Pixels  # what objects come from; its channels do not matter

    @property
    def first(self) -> Image:
        """The image that results look like."""
        image = self.raw or self.other
        assert image is not None
        return image

    @property
    def ndim(self) -> int:
        return 2 if self.objects.sizes["z"] == 1 else 3

    @property
    def channels(self) -> int:
        """Of the raw image, 0 without."""
        return 0 if self.under is None else self.under.sizes["c"]

    def understood(self) -> list[str]:
        """How the axes of each file are understood, and who said so."""
        lines = []
        for image, pixels in ((self.raw, self.under), (self.other, self.objects)):
            if image is not None and pixels is not None:
                said_by = image.axes_from if image.axes == pixels.axes else "image"
                lines.append(f"{image.path}: {axes_text(pixels.axes, pixels.shape, said_by)}")
        return lines

    def columns_like(self, asked: "Asked") -> tuple[int, int, str]:
        """What the columns of the table depend on: dimensions, channels, unit of lengths."""
        return self.ndim, self.channels, asked.plan_of(self, None).unit or "pixels"


@dataclass(frozen=True, slots=True)
class Scale:
    """What is a margin, and what a length: alike in training and after."""

    margin: Sequence[int] = (30, 30, 1)  # of neighbourhoods, along x, y, z
    spacing: Any = None  # of a pixel along z, y, x, or "file", or None for lengths in pixels
    unit: str = "µm"

    @classmethod
    def of(cls, measured: Measured) -> "Scale":
        """That of the objects that a classifier learned from."""
        spacing = (list(measured.spacing) or "file") if measured.unit else None
        return cls(measured.margin, spacing, measured.unit or "µm")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every image alike."""

    pipeline: Pipeline
    results: tuple[str, ...] = ()
    settings: ExportSettings = field(default_factory=ExportSettings)
    axes: str | None = None
    raw_axes: str | None = None
    measured: bool = True  # whether anything needs measurements
    table: bool = False  # whether somebody wants to see them
    features: Sequence[Feature] = ()
    scale: Scale | None = None  # None: that of the object classifier
    spacing: Any = None  # size of a pixel, in place of that of the object classifier's training
    block: tuple[int, ...] | None = None
    range: Range | None = None  # of probabilities, what stands for 0 and 1

    def open(self, files: Files, stack: ExitStack) -> Opened:
        """Files that belong together, open until the stack ends, checked as far as headers tell."""
        raw, other = (
            None if p is None else stack.enter_context(open_image(p, axes))
            for p, axes in ((files.raw, self.raw_axes), (files.other, self.axes))
        )
        if files.kind == "pixels":
            assert raw is not None
            assert self.pipeline.pixel is not None
            in_training_axes(raw, self.pipeline.pixel)
            objects = Pixels.of(raw, raw.path, raw.axes)
            under: Pixels | None = objects
        elif files.kind == "probabilities":
            assert other is not None
            objects = Pixels.of(other, other.path, other.axes)
            under = None if raw is None else beneath(raw, objects, self.raw_axes)
        else:
            objects, under = pair(other, raw, self.axes, self.raw_axes)
        opened = Opened(files, raw, other, under, objects)
        self._check(opened)
        return opened

    def _check(self, opened: Opened) -> None:
        """Errors before anything is computed."""
        if opened.files.kind == "pixels":
            assert self.pipeline.pixel is not None
            n = sizes(opened.first.axes, opened.first.shape)
            self.pipeline.pixel.check_image(n, opened.first.path)
        s = self.pipeline.segmentation
        if opened.files.kind in ("pixels", "probabilities") and s is not None:
            s.smoothing(tuple(opened.objects.sizes[a] for a in SPACE))
        if self.pipeline.objects is not None and self.measured:
            self.pipeline.objects.measured.check(opened.ndim, opened.channels, opened.files.name)
        if self.measured:
            self.plan_of(opened, None)

    @property
    def how(self) -> Scale:
        """The scale that counts."""
        model = self.pipeline.objects
        scale = self.scale or (Scale() if model is None else Scale.of(model.measured))
        return scale if self.spacing is None else replace(scale, spacing=self.spacing)

    def plan_of(self, opened: Opened, b: Backend | None) -> Plan:
        """What is measured of the objects of an image, alike in training and after. b: None to check only."""
        model, how = self.pipeline.objects, self.how
        spacing, unit = lengths(how.spacing, how.unit, opened.objects, opened.under)
        if self.spacing is None and self.scale is None:
            _check_size(opened, spacing, unit)
        if model is not None:
            spacing, unit = _as_learned(spacing, unit, model.measured.unit)
        if model is not None and unit != model.measured.unit:
            raise ModelMismatchError(
                f"{opened.files.name}: lengths are in {unit or 'pixels'}, the classifier learned them in"
                f" {model.measured.unit or 'pixels'}",
                hint="save the pixel size with the image in that unit, or give the spacing",
            )
        rows = tuple(choose(self._features(), opened.ndim, opened.channels))
        return Plan(b, rows, (), spacing, unit, margin_of(how.margin))  # type: ignore[arg-type]

    def _features(self) -> list[Any]:
        """What is measured: for the table all that was in training, else what the classifier uses."""
        asked, model = list(self.features), self.pipeline.objects
        if model is None:
            return asked or [NOT_LOCATION]
        if not self.table:
            return list(model.measured.used)
        return [*model.measured.used, *asked] if asked else list(model.measured.features)

    def shown(self, opened: Opened) -> set[str] | None:
        """Ids of the features that the table is to have, None for all that are measured."""
        if not self.features:
            return None
        return {identity(row) for row in choose(self.features, opened.ndim, opened.channels)}

    def run(self, opened: Opened, backends: Sequence[Backend], steps: Steps, sinks: Any = ()) -> Run:
        """How the objects of an open image are found and measured. sinks: of pixel results."""
        b = backends[0]
        labeller = self._labeller(opened, backends, sinks)
        plan = self.plan_of(opened, b) if self.measured else None
        tile = self.block or fitting_tile(labeller, b, opened.channels, measured=self.measured)
        return Run(labeller, b, plan, opened.under, steps, tile)

    def _labeller(self, opened: Opened, backends: Sequence[Backend], sinks: Any) -> Labeller:
        b, p = backends[0], self.pipeline
        if opened.files.kind == "segmentation":
            return OfSegmentation(b, opened.objects)
        if opened.files.kind == "labels":
            return OfLabels(b, opened.objects)
        assert p.segmentation is not None
        if opened.files.kind == "pixels":
            assert p.pixel is not None
            return OfPixels(backends, opened.first, p.pixel, p.segmentation, sinks)
        assert opened.other is not None
        source = ProbabilityMap.of(opened.other, p.segmentation, self.range)
        return OfProbabilities(b, source, source.shape, source.n["t"], p.segmentation, len(source.channels))

    def targets(self, opened: Opened) -> list[Target]:
        """What is to be written for an open image."""
        image, n = opened.first, opened.objects.sizes
        if opened.under is not None:
            n = opened.under.sizes
        voxel = image.voxel if image.voxel.size or opened.other is None else opened.other.voxel
        axes = image.axes if opened.under is None else opened.under.axes
        targets = []
        for result in self.results:
            one = made(self.pipeline, result, n)
            targets.append(self.settings.target(opened.files.name, axes, n, voxel, one))
            if targets[-1].has_twin:
                targets.append(targets[-1].colored())
        return targets


def check_alike(columns: dict[str, tuple[int, int, str]], name: str) -> None:
    """InputError if the table of an image would have other columns than that of the first."""
    first = next(iter(columns))
    if columns[name] != columns[first]:
        texts = []
        for image in (name, first):
            ndim, channels, unit = columns[image]
            texts.append(
                f"{image}: {ndim}D, {channels} raw channel{'s' * (channels != 1)}, lengths in {unit}"
            )
        del columns[name]
        raise InputError("; ".join(texts), hint="their columns differ: give them one after the other")


def check_range(kind: Kind, range: Range | None) -> None:
    """InputError for a range of probabilities where there are none."""
    if range is not None and kind != "probabilities":
        raise InputError(f"range {range}: is of probabilities, and objects come from {kind}")


def _as_learned(spacing: Lengths, unit: str, learned: str) -> tuple[Lengths, str]:
    """Lengths in the unit that the classifier learned them in, if they can be."""
    z, y, x = (in_unit(s, unit, learned) for s in spacing)
    return (spacing, unit) if z is None or y is None or x is None else ((z, y, x), learned)


def _check_size(opened: Opened, spacing: Sequence[float], unit: str) -> None:
    """ModelMismatchError if a file says another pixel size than the one that was fixed in training."""
    if not unit:
        return
    for pixels in (opened.objects, opened.under):
        voxel = Voxel() if pixels is None else pixels.voxel
        for axis, learned in zip(SPACE, spacing, strict=True):
            if pixels is None or axis not in voxel.size:
                continue
            own = unit_of(voxel, axis)
            size = in_unit(voxel.size[axis], own, unit)
            if unit in METERS and (size is None or abs(size - learned) > 0.01 * learned):
                raise ModelMismatchError(
                    f"{pixels.name}: a pixel is {voxel.size[axis]:g} {own} along {axis}, the classifier"
                    f" measures with {learned:g} {unit}",
                    hint="spacing='file' (--spacing file) takes the size in each file; or give numbers",
                )


def made(pipeline: Pipeline, result: str, n: dict[str, int]) -> Made:
    """A result of an image with axes of these sizes, as it is computed."""
    row = RESULTS[result]
    if row.source != "objects":
        assert pipeline.pixel is not None
        return made_of_pixels(pipeline.pixel, result, n)
    told: dict[str, Any] = {"gpuseg": __version__, "result": row.title, "model": pipeline.hash}
    if result == IDENTITIES:
        return Made(result, np.dtype(np.uint32), provenance=json.dumps(told))
    assert pipeline.objects is not None
    classes = pipeline.objects.classes
    provenance = json.dumps(told | {"classes": {str(c.value): c.name for c in classes}})
    if row.kind == "labels":
        colors = tuple(c.color for c in classes)
        dtype = label_dtype([c.value for c in classes])
        return Made(result, dtype, colors=colors, provenance=provenance)
    names = tuple(c.name for c in classes) if result.endswith(PROBABILITIES) else ()
    return Made(
        result,
        np.dtype(np.float32),
        channels=max(1, len(names)),
        channel_names=names,
        drange=(0, 1),
        provenance=provenance,
    )
