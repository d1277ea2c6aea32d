"""ilastik projects: images, features, scribbles and the trained pixel classifier inside an .ilp file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.classes import LabelClass, class_color
from gpuseg.errors import LabelError, ModelError
from gpuseg.features.selection import Selection
from gpuseg.forests.vigra_rf import from_vigra
from gpuseg.ilp.classifier import FORESTS, match_features, read_forests, read_selection
from gpuseg.ilp.labels import Scribbles, read_labels
from gpuseg.ilp.lanes import RAW, Lane, Source, find, is_flat, read_lanes
from gpuseg.ilp.objects import GROUP as OBJECTS
from gpuseg.ilp.objects import has_objects, read_objects, read_thresholds
from gpuseg.ilp.parts import Part, naming, opened
from gpuseg.io import open_image
from gpuseg.model import ObjectModel, Pipeline, PixelModel

PIXEL = "Pixel Classification"
COMBINED = (
    "Object Classification (from pixel classification)",
    "Pixel Classification + Object Classification",
)
FROM_PREDICTIONS = "Object Classification (from prediction image)"
WORKFLOWS = (
    PIXEL,
    *COMBINED,
    FROM_PREDICTIONS,
    "Object Classification (from binary image)",
    "Object Classification (from label image)",
)
OTHER_WORKFLOWS = {
    "Autocontext (2-stage)": "trains a second pixel classifier on the answers of a first",
    "Animal Tracking": "follows objects through time",
    "Automatic Tracking (Conservation Tracking)": "follows objects through time",
    "Boundary-based Segmentation with Multicut": "merges superpixels along a boundary map",
    "Carving": "grows one object at a time from scribbles",
    "Cell Density Counting": "estimates how many objects there are, without finding them",
    "Data Conversion": "only converts image files",
    "Edge Training With Multicut": "merges superpixels along a boundary map",
    "Manual Tracking Workflow": "follows objects through time",
    "Neural Network Classification (Local)": "runs a network that was trained elsewhere",
    "Structured Learning Tracking": "follows objects through time",
}
_PIXEL_GROUP = "PixelClassification"
_LABEL = "in ilastik: label objects, press Live Update, save; or use gpuseg train-objects"
_TRAIN = "in ilastik: choose features, paint, press Live Update, save; or use gpuseg train"


@dataclass(frozen=True, slots=True)
class Project:
    """What an .ilp file says. Labels, forests and images are read when they are asked for."""

    path: Path
    workflow: str
    version: str  # of ilastik
    lanes: tuple[Lane, ...]
    selection: Selection | None  # None where no feature is ticked
    classes: tuple[LabelClass, ...]
    has_forest: bool  # whether a pixel classifier is stored
    has_objects: bool = False  # whether an object classifier is
    object_classes: tuple[LabelClass, ...] = ()

    def pixel_model(self) -> PixelModel:
        """The trained pixel classifier, predicting what ilastik predicts with it.

        ModelError lists what the project lacks, or names the entry that is damaged.

            model = open_project("cells.ilp").pixel_model()
        """
        with opened(self.path) as root:
            selection, raw = self._parts_of_model(root)
            pixel = root.part(_PIXEL_GROUP)
            forest = from_vigra(read_forests(pixel), [c.value for c in self.classes])
            depth = 1 if is_flat(raw) else 2
            channels = _channels(selection, forest.n_features, depth, raw)
            if "feature_names" in (stored := pixel.part(FORESTS)):
                selection = match_features(selection, stored.texts("feature_names"), channels, depth)
            return PixelModel(
                selection=selection,
                forest=forest,
                classes=self.classes,
                channels=channels,
                ndim=1 + depth,
                axes=raw.stated_axes,
                provenance=self._told,
            )

    def pipeline(self) -> Pipeline:
        """All that was trained: pixel classifier, thresholds, object classifier, as far as they are there.

        ModelError where nothing was, or an entry is damaged.
        """
        pixel = self.pixel_model() if self.workflow in (PIXEL, *COMBINED) else None
        with opened(self.path) as root:
            if pixel is None and not self.has_objects:
                raise ModelError("cannot classify, the project lacks a trained forest", hint=_LABEL)
            objects = self._objects(root) if self.has_objects else None
            thresholds = read_thresholds(root) if self.workflow in (*COMBINED, FROM_PREDICTIONS) else None
        return Pipeline(pixel, thresholds, objects, self._told)

    @property
    def _told(self) -> dict[str, Any]:
        return {"project": self.path.name, "workflow": self.workflow, "ilastik": self.version}

    def _objects(self, root: Part) -> ObjectModel:
        raw = self._source(0, RAW)
        known, ndim = raw.sizes(), 2 if is_flat(raw) else 3
        channels = None if known is None else known["c"]
        return read_objects(root, self.object_classes, ndim, channels, self._told)

    def labels(self, lane: int = 0) -> Scribbles:
        """Scribbles of a lane, perhaps none."""
        with opened(self.path) as root:
            raw = self._source(lane, RAW)
            version = self.version if self.workflow in COMBINED else ""
            name = f"{_PIXEL_GROUP}/LabelSets/labels{lane:03}"
            return read_labels(root.part(name) if name in root else None, raw, version, len(self.classes))

    def image_path(self, lane: int = 0, role: str = RAW) -> str:
        """Where an image is now, for `open_image`; FileError says where it was looked for.

        Of an image that was copied into the project: the project's path, then that of the pixels in it.
        """
        with naming(self.path):
            return find(self._source(lane, role), self.path)

    def read_image(self, lane: int = 0) -> tuple[NDArray[Any], str]:
        """Pixels of a raw image and their axes: the project's, without c where the file has none."""
        with naming(self.path):
            source = self._source(lane, RAW)
            stated = (source.stated_axes, source.label_axes)
        if source.embedded:
            with opened(self.path) as root:
                pixels = root.array(source.embedded)
        else:
            with open_image(self.image_path(lane)) as image:
                pixels = image.read()
        fitting = [axes for axes in stated if len(axes) == pixels.ndim]
        if not fitting:
            raise ModelError(f"{self.path}: {source.file} has {pixels.ndim} axes, not those of {stated[0]!r}")
        return pixels, fitting[0]

    def training_data(self) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8], str]]:
        """Image, label image and axes of every painted lane; labels lie along the axes without c.

        LabelError if nothing is painted.

            images, labels, axes = zip(*open_project("cells.ilp").training_data())
        """
        scribbles = [self.labels(i) for i in range(len(self.lanes))]
        if not any(len(s.values) for s in scribbles):
            raise LabelError(f"{self.path}: nothing is painted", hint=_TRAIN)
        for i, painted in enumerate(scribbles):
            if len(painted.values):
                image, axes = self.read_image(i)
                sizes = dict(zip(axes, image.shape, strict=True))
                yield image, painted.dense([sizes[a] for a in painted.axes]), axes

    def _source(self, lane: int, role: str) -> Source:
        if not 0 <= lane < len(self.lanes):
            raise ModelError(f"lane {lane} is asked for, the project has {len(self.lanes)}")
        return self.lanes[lane][role]

    def _parts_of_model(self, root: Part) -> tuple[Selection, Source]:
        """Features and first raw image; ModelError lists all that a model lacks."""
        if self.workflow not in (PIXEL, *COMBINED):
            raise ModelError(
                f"has no pixel classifier, it is of {self.workflow}", hint=f"give one of {PIXEL}"
            )
        raw = self.lanes[0].sources.get(RAW) if self.lanes else None
        lacks = {
            "a raw image": raw is None,
            "features": self.selection is None,
            "class names": not self.classes,
            "scribbles": not self.has_forest and not _painted(root),
            "a trained forest": not self.has_forest,
        }
        if self.selection is None or raw is None or any(lacks.values()):
            missing = ", ".join(what for what, lacking in lacks.items() if lacking)
            raise ModelError(f"cannot predict, the project lacks {missing}", hint=_TRAIN)
        return self.selection, raw


def open_project(path: Path | str) -> Project:
    """An ilastik project, read without running anything in it.

    ModelError if it is not one, is damaged, or is of a workflow that classifies neither pixels nor objects.

        project = open_project("cells.ilp")
        print(project.workflow, project.image_path())
    """
    path = Path(path)
    with opened(path) as root:
        workflow = root.text("workflowName")
        if workflow not in WORKFLOWS:
            what = OTHER_WORKFLOWS.get(workflow, "is not known here")
            raise ModelError(
                f"is a project of {workflow}, which {what}",
                hint=f"projects of {PIXEL} and of objects are read",
            )
        lanes = read_lanes(root)
        raw = [lane.sources[RAW] for lane in lanes if RAW in lane.sources]
        return Project(
            path=path,
            workflow=workflow,
            version=root.text("ilastikVersion") if "ilastikVersion" in root else "",
            lanes=lanes,
            selection=read_selection(root, flat=all(is_flat(source) for source in raw)),
            classes=_classes(root, _PIXEL_GROUP),
            has_forest=f"{_PIXEL_GROUP}/{FORESTS}" in root,
            has_objects=has_objects(root),
            object_classes=_classes(root, OBJECTS),
        )


def _painted(root: Part) -> bool:
    name = f"{_PIXEL_GROUP}/LabelSets"
    return name in root and any(lane.names() for lane in root.part(name).parts("labels"))


def _classes(root: Part, group: str) -> tuple[LabelClass, ...]:
    if f"{group}/LabelNames" not in root:
        return ()
    pixel = root.part(group)
    names = pixel.texts("LabelNames")
    colors = np.array([class_color(v) for v in range(1, len(names) + 1)]).reshape(-1, 3)
    if "LabelColors" in pixel and not pixel.empty("LabelColors"):
        colors = pixel.array("LabelColors", "iu")
    if colors.shape != (len(names), 3) or not ((colors >= 0) & (colors <= 255)).all():
        raise ModelError(f"{pixel.where}LabelColors, {colors.shape}, are not colours of {len(names)} classes")
    rows = enumerate(zip(names, colors.tolist(), strict=True), 1)
    return tuple(LabelClass(i, name, (r, g, b)) for i, (name, (r, g, b)) in rows)


def _channels(selection: Selection, n_features: int, depth: int, raw: Source) -> int:
    """Channels of the training images; the forest's features tell where an old project does not."""
    each = selection.count(1, depth)
    known = raw.sizes()
    channels = n_features // each if known is None else known["c"]
    if channels * each != n_features:
        raise ModelError(
            f"the forest wants {n_features} features; ticked are {each} for each of {channels} channels",
            hint="the features changed after training: train again in ilastik and save",
        )
    return channels
