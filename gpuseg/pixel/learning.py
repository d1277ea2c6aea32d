"""From scribbled images to a model, and from a model and an image to probabilities."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg.axes import SPACE
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.classes import label_classes
from gpuseg.errors import InputError, LabelError, ModelMismatchError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.features.stack import features_at
from gpuseg.features.tiled import TileRunner
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.forests.training import Trained, check_labels
from gpuseg.forests.validation import Validation, cross_validate, strokes
from gpuseg.model import PixelModel
from gpuseg.pixel.images import Picture, Scribbled
from gpuseg.tiles import Region, tile_size, tiles

Features = str | Path | Selection | Mapping[str, Sequence[float]]
MAX_SEED = 2**32 - 1


def learn(
    images: Sequence[Scribbled],
    features: Features = "all",
    *,
    names: Mapping[int, str] | None = None,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> PixelModel:
    """The model that the scribbles on `images` teach; features are computed at the painted pixels only.

    names: of label values. The order of images changes no more than `axes`, which are the first one's.
    Its provenance holds what training told: label counts, out-of-bag accuracy, importances, versions.
    """
    check_seed(seed)
    selection = choose_features(features, images)
    rows, _ = feature_rows(images, selection, get_backend(backend))
    return teach(
        images,
        selection,
        rows,
        names=names,
        forest=forest,
        trees=trees,
        seed=seed,
        threads=threads,
        backend=backend,
    )


def teach(
    images: Sequence[Scribbled],
    selection: Selection,
    rows: NDArray[np.float32],
    *,
    names: Mapping[int, str] | None = None,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> PixelModel:
    """`learn` from feature rows that are at hand, in the order of the scribbles."""
    labels = np.concatenate([i.labels for i in images])
    trained = get_trainer(forest)(rows, labels, trees=trees, seed=seed, threads=threads, backend=backend)
    first = images[0].picture
    return PixelModel(
        selection=selection,
        forest=trained.forest,
        classes=label_classes([int(v) for v in trained.classes], names),
        channels=first.sizes["c"],
        ndim=_ndim(first),
        axes=first.axes,
        provenance={"training": _told(trained, labels, len(images), forest, seed), "versions": _versions()},
    )


def held_out(
    images: Sequence[Scribbled],
    features: Features = "all",
    *,
    folds: int = 5,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> Validation:
    """What strokes (touching pixels of one label) are taken for by forests that did not learn from them."""
    check_seed(seed)
    rows, labels = feature_rows(images, choose_features(features, images), get_backend(backend))
    where = [np.column_stack([np.full(len(i.where), k), i.where]) for k, i in enumerate(images)]
    return cross_validate(
        rows,
        labels,
        strokes(np.concatenate(where), labels),
        partial(get_trainer(forest), backend=backend),
        folds=folds,
        trees=trees,
        seed=seed,
        threads=threads,
    )


def choose_features(features: Features, images: Sequence[Scribbled]) -> Selection:
    """The selection that `features` means for these images, if it fits all of them.

    "all", a Selection, {filter: sigmas} (in 3D on volumes), or the path of a TOML file.
    """
    _check_alike(images)
    least = {a: min(i.picture.sizes[a] for i in images) for a in "tzyxc"}
    if isinstance(features, Selection):
        selection = features
    elif isinstance(features, Mapping):
        selection = Selection.table(features, in_2d=least["z"] == 1)
    elif features == "all":
        selection = Selection.all(least)
    elif isinstance(features, str | Path):
        selection = Selection.from_toml(Path(features), least, images[0].picture.voxel)
    else:
        raise InputError(
            f"features = {features!r}",
            hint='"all", a Selection, {filter: sigmas} or a TOML file are possible',
        )
    for image in images:
        try:
            selection.check(image.picture.sizes)
        except ShapeError as e:
            raise e.at(image.picture.name) from None
    return selection


def feature_rows(
    images: Sequence[Scribbled], selection: Selection, b: Backend
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Feature rows, float32 (n, features), and labels (n,) of all painted pixels; n > 0, two classes.

    Both in the order of the scribbles as they were given, which need not be sorted by time.
    """
    labels = np.concatenate([i.labels for i in images])
    check_labels(labels)
    rows = []
    for image in images:
        sizes = image.picture.sizes
        mine = np.empty((len(image.where), selection.count(sizes["c"], sizes["z"])), np.float32)
        for t in np.unique(image.where[:, 0]):
            now = image.where[:, 0] == t
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is named below
                mine[now] = features_at(b, image.picture.pixels[t], selection, image.where[now, 1:])
            check_features(image.picture, int(t), mine[now])
        rows.append(mine)
    return np.concatenate(rows), labels


def check_features(picture: Picture, t: int, rows: NDArray[np.float32]) -> None:
    """InputError that says what is wrong with the image, unless features of labelled pixels are finite."""
    if not np.isfinite(rows).all():
        picture.check_finite(picture.pixels[t])
        raise InputError(
            f"{picture.name}: features of labelled pixels are beyond float32",
            hint="divide the image by its largest value",
        )


def blocks(
    b: Backend, model: PixelModel, picture: Picture, make: Callable[[Backend, Array], Array]
) -> Iterator[tuple[int, Region, NDArray[Any]]]:
    """What `make` makes of probabilities (z, y, x, classes), tile by tile: time point, region (zyx), values.

    Memory grows with neither the image nor its channels. ModelMismatchError, ShapeError, InputError for NaN.
    """
    model.check_image(picture.sizes, picture.name)
    shape = [picture.sizes[a] for a in SPACE]
    halo = model.selection.halo(shape[0])
    values = picture.sizes["c"] + len(model.classes)  # of each pixel, read and answered
    size = tile_size(shape, halo, b.room(values))
    runner = TileRunner(b, model.selection, model.forest, [lambda b, proba, _: make(b, proba)])
    try:
        for t, image in enumerate(picture.pixels):
            for tile in tiles(shape, size, halo):
                with np.errstate(over="ignore"):
                    part = np.ascontiguousarray(image[(slice(None), *tile.read)], np.float32)
                picture.check_finite(part)
                (made,) = runner.run(part, runner.upload(part), tile.inside)
                yield t, tile.core, b.to_numpy(made)
    finally:
        b.release()


def check_seed(seed: Any, name: str = "random_state") -> None:
    """InputError unless it is one."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise InputError(
            f"{name} = {seed!r}: an integer from 0 to {MAX_SEED} is needed",
            hint="the same strokes and seed give the same model: choose one, for example 0",
        )


def _check_alike(images: Sequence[Scribbled]) -> None:
    if not images:
        raise LabelError("no labelled pixel: every label is 0", hint="label at least two classes")
    first = images[0].picture
    for picture in (i.picture for i in images[1:]):
        if picture.sizes["c"] != first.sizes["c"]:
            raise ModelMismatchError(
                f"{picture.name}: image has {picture.sizes['c']} channels, "
                f"{first.name} has {first.sizes['c']}"
            )
        if _ndim(picture) != _ndim(first):
            raise ModelMismatchError(
                f"{picture.name}: image is {_ndim(picture)}D, {first.name} is {_ndim(first)}D"
            )


def _ndim(picture: Picture) -> int:
    return 2 if picture.sizes["z"] == 1 else 3


def _told(trained: Trained, labels: NDArray[Any], images: int, forest: str, seed: int) -> dict[str, Any]:
    counts = np.unique(labels, return_counts=True)
    return {
        "forest": forest,
        "trees": len(trained.forest.roots),
        "seed": int(seed),
        "images": images,
        "labels": {str(v): int(n) for v, n in zip(*counts, strict=True)},
        "oob_accuracy": trained.oob_accuracy if trained.oob_confusion.any() else None,
        "oob_confusion": trained.oob_confusion.tolist(),
        "importances": trained.importances.tolist(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"gpuseg": __version__, "numpy": np.__version__, "scikit-learn": version("scikit-learn")}
