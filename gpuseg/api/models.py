"""Where a model comes from: a `.gpuseg` file, an ilastik project, or memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, sizes
from gpuseg.errors import FileError, InputError, ModelError
from gpuseg.io import Image, locate
from gpuseg.io.places import check_place
from gpuseg.model import ObjectModel, Pipeline, PixelModel
from gpuseg.objects.settings import Settings
from gpuseg.tiles import Region

if TYPE_CHECKING:
    from gpuseg.ilp.read import Project

Painted = Callable[[int, Region], NDArray[Any]]  # (t, zyx) -> labels (z, y, x)
PROJECT = ".ilp"
MODEL = ".gpuseg"


def in_training_axes(image: Image, model: PixelModel) -> None:
    """Axes that nobody named are those of the training images, if they can be (SPEC 1.11)."""
    if image.axes_from != "shape":
        return
    fitting = (a for a in (model.axes, model.axes.replace("c", "")) if len(a) == len(image.shape))
    axes = next((a for a in fitting if sizes(a, image.shape)["c"] == model.channels), image.axes)
    if axes != image.axes:
        image.axes, image.axes_from = axes, "training"


def check_model_place(path: str | Path) -> Path:
    """`path`, if a model can be written there; InputError for another suffix than that of models."""
    if Path(path).suffix.lower() != MODEL:
        raise InputError(f"{path}: a model has the suffix {MODEL}", hint=f"write to {Path(path).stem}{MODEL}")
    return check_place(path)


@dataclass(frozen=True, slots=True)
class Source:
    """A model and, if it came from a project, the project."""

    model: PixelModel
    project: "Project | None" = None
    files: tuple[str, ...] = ()  # that no result may overwrite

    def lane(self, image: str) -> int:
        """The lane of the project that holds `image`, by its path, else by its file name."""
        assert self.project is not None
        here = locate(image)[0]
        files = [locate(lane.raw.file)[0] for lane in self.project.lanes]
        same_path = [
            i for i, f in enumerate(files) if realpath(self.project.path.parent / f) == realpath(here)
        ]
        same_name = [i for i, f in enumerate(files) if f.name == here.name]
        for found in (same_path, same_name):
            if len(found) == 1:
                return found[0]
        raise InputError(
            f"{image}: is not an image of the project, so there are no labels of it",
            hint=f"its images are {', '.join(f.name for f in files)}",
        )

    def labels(self, image: str) -> Painted:
        """The scribbles on `image`, as a function of time point and region."""
        assert self.project is not None
        scribbles = self.project.labels(self.lane(image))
        column = {a: scribbles.where[:, i] for i, a in enumerate(scribbles.axes)}
        zero = np.zeros(len(scribbles.values), np.intp)
        time, at = column.get("t", zero), np.stack([column.get(a, zero) for a in SPACE], axis=1)

        def painted(t: int, region: Region) -> NDArray[Any]:
            low, high = ([getattr(s, end) for s in region] for end in ("start", "stop"))
            here = (time == t) & (at >= low).all(1) & (at < high).all(1)
            labels = np.zeros(np.subtract(high, low), scribbles.values.dtype)
            labels[tuple((at[here] - low).T)] = scribbles.values[here]
            return labels

        return painted


def open_model(model: str | Path | PixelModel) -> Source:
    """The model in a file, or the one given."""
    if isinstance(model, PixelModel):
        return Source(model)
    path = Path(model)
    if not path.is_file():
        raise FileError(f"{path}: no such file", hint="give a .gpuseg model or an ilastik project (.ilp)")
    if path.suffix.lower() == PROJECT:
        from gpuseg.ilp.read import open_project

        project = open_project(path)
        return Source(project.pixel_model(), project, (str(path),))
    pipeline = Pipeline.load(path)
    if pipeline.pixel is None:
        raise ModelError(
            f"{path}: has no pixel classifier, only one of objects",
            hint="gpuseg classify applies it to label images or probabilities",
        )
    return Source(pipeline.pixel, None, (str(path),))


def _project(path: str | Path) -> Pipeline:
    from gpuseg.ilp.read import open_project

    return open_project(path).pipeline()


def open_pipeline(
    model: Any, segmentation: Mapping[str, Any] | None = None
) -> tuple[Pipeline, tuple[str, ...]]:
    """The pipeline in a file, or of the model or fitted estimator given; and the files that hold it.

    segmentation: settings that take the place of those of the model.
    """
    model, files = getattr(model, "model_", model), tuple[str, ...]()
    if isinstance(model, str | Path):
        files = (str(model),)
        is_project = Path(model).suffix.lower() == PROJECT
        model = _project(model) if is_project else Pipeline.load(model)
    if isinstance(model, PixelModel):
        model = Pipeline(pixel=model)
    elif isinstance(model, ObjectModel):
        model = Pipeline(objects=model)
    if not isinstance(model, Pipeline):
        raise InputError(f"model {model!r}", hint="give a Pipeline, a model, or the path of one")
    if segmentation is not None:
        model = replace(model, segmentation=Settings.of(**segmentation))
    return model, files
