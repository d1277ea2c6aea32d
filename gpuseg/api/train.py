"""From image files and label files to a model."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.api.models import check_model_place
from gpuseg.axes import reorder, sizes
from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.export import axes_text
from gpuseg.features.selection import Selection
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.io import open_image
from gpuseg.model import PixelModel

if TYPE_CHECKING:
    from gpuseg.pixel import Picture, Scribbled

log = logging.getLogger(__name__)
PathLike = str | Path


def train(
    images: PathLike | Sequence[PathLike],
    labels: PathLike | Sequence[PathLike],
    *,
    features: str | Path | Selection | Mapping[str, Sequence[float]] = "all",
    names: Sequence[str] = (),
    axes: str | None = None,
    label_axes: str | None = None,
    forest: str = DEFAULT,
    seed: int = 0,
    trees: int = 100,
    folds: int = 5,
    output: PathLike | None = None,
    backend: str = "auto",
) -> PixelModel:
    """Learn a model from image files and the label files that go with them, in the same order.

    labels: integers, 0 unlabelled, of the image's shape without channels. names: of the classes 1, 2, ...
    features: "all" that fit, a `Selection`, `{filter: sigmas}` or a TOML file. output: `.gpuseg` to write.
    forest: who trains, a name in `gpuseg.forests.TRAINERS`.
    folds: of a cross-validation that keeps whole strokes out, told in `model.provenance`; 0 for none.
    The same files and seed give the same model, whatever the order of images and the number of threads.

        model = train("cells.tif", "scribbles.png", names=["background", "cell"], output="cells.gpuseg")
    """
    from gpuseg.pixel import learn

    pairs = _pairs(images, labels, output)
    get_trainer(forest)  # there is one, before anything is read
    scribbled = [s for i, at in pairs if len((s := _scribbled(i, at, axes, label_axes)).labels)]
    known = {value: name for value, name in enumerate(names, 1) if name}
    painted = {int(v) for s in scribbled for v in np.unique(s.labels)}
    if painted and (idle := [f"{n} ({v})" for v, n in known.items() if v not in painted]):
        log.warning("nothing is painted of %s: the model does not know it", ", ".join(idle))
    try:
        model = learn(
            scribbled, features, names=known, forest=forest, trees=trees, seed=seed, backend=backend
        )
    except LabelError as error:
        raise error.at(", ".join(at for _, at in pairs)) from error
    if folds:
        model = _validated(model, scribbled, folds, backend)
    if output is not None:
        model.save(output)
        log.info("%s: model of %d classes, %d features", output, len(model.classes), model.forest.n_features)
    return model


def _pairs(
    images: PathLike | Sequence[PathLike], labels: PathLike | Sequence[PathLike], output: PathLike | None
) -> list[tuple[str, str]]:
    """Image and label file of each pair; InputError unless there are as many of one as of the other."""
    many, of = ([x] if isinstance(x, str | Path) else list(x) for x in (images, labels))
    if len(many) != len(of) or not many:
        raise InputError(
            f"{len(many)} images and {len(of)} label files",
            hint="give one label file for each image, in order",
        )
    if output is not None:
        check_model_place(output)
    return [(str(i), str(at)) for i, at in zip(many, of, strict=True)]


def _scribbled(path: str, labels: str, axes: str | None, label_axes: str | None) -> "Scribbled":
    """An image and its scribbles, read whole and laid out alike."""
    from gpuseg.pixel import Picture, Scribbled

    with open_image(path, axes) as image:
        log.info("%s: %s", path, axes_text(image.axes, image.shape, image.axes_from))
        picture = Picture.of(image.read(), image.axes, path, voxel=image.voxel.size)
    return Scribbled.of(picture, _labels(labels, label_axes, picture), labels)


def _labels(path: str, axes: str | None, picture: "Picture") -> Any:
    """A label file along the axes of its image, without c."""
    with open_image(path, axes) as image:
        values, axes, said_by = image.read(), image.axes, str(image.axes_from)
    if said_by == "shape" and values.ndim == len(picture.places):
        axes, said_by = picture.places, "image"
    log.info("%s: %s", path, axes_text(axes, values.shape, said_by))
    channels = sizes(axes, values.shape)["c"]
    if channels != 1:
        raise ShapeError(
            f"{path}: has {channels} channels, an image of labels has one",
            hint="save the label values themselves (0, 1, 2, ...), not colours",
        )
    try:
        return reorder(values, axes, picture.places)
    except ShapeError:
        raise ShapeError(
            f"{path}: its axes are {axes}, shape {values.shape}; {picture.name} has {picture.axes}",
            hint="labels have the axes of their image but c; --label-axes says what they are",
        ) from None


def _validated(model: PixelModel, images: "Sequence[Scribbled]", folds: int, backend: str) -> PixelModel:
    """The same model, with what held-out strokes were taken for in its provenance."""
    from gpuseg.pixel import held_out

    told = model.provenance["training"]
    found = held_out(
        images,
        model.selection,
        folds=folds,
        forest=told["forest"],
        trees=told["trees"],
        seed=told["seed"],
        backend=backend,
    )
    validation = {
        "folds": found.folds,
        "strokes": found.strokes.tolist(),
        "accuracy": found.accuracy if found.confusion.any() else None,
        "confusion": found.confusion.tolist(),
        "notice": found.notice,
    }
    return replace(model, provenance=model.provenance | {"training": told | {"validation": validation}})
