"""File to file: uint8 pixels in, uint8 probabilities out, against reading and writing alone."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, scene
from benchmarks.gpu import stage
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.clock import Task, wall_seconds
from benchmarks.gpu.rows import Row, Skip
from benchmarks.gpu.size import Size
from gpuseg.api import predict
from gpuseg.axes import reorder
from gpuseg.backends.base import Backend
from gpuseg.classes import label_classes
from gpuseg.features.stack import probabilities
from gpuseg.io import Output, create_image, open_image
from gpuseg.model import PixelModel

FORMATS = {"OME-Zarr": (".zarr", "zarr"), "NPY": (".npy", "numpy")}  # suffix, the package it needs
ROUNDS = 5  # at most: a round writes hundreds of megabytes
STRIP = 1024  # rows that are read or written at once where nothing else is done


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row | Skip]:
    s = stage.flat(cupy, backend, "texture", size.view, size)
    classes = label_classes([1, 2, 3])
    model = PixelModel(s.scene.selection, s.forest, classes, channels=1, ndim=2, axes="yx", provenance={})
    pixels = images.mosaic(size.file_side)
    for name, (suffix, package) in FORMATS.items():
        if find_spec(package) is None:
            yield Skip("files", f"file to file, {name}", "gpuseg", f"{package} is not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            yield from _format(name, Path(folder), suffix, model, pixels, cupy, backend, size)


def _format(
    name: str, folder: Path, suffix: str, model: PixelModel, pixels: NDArray[np.uint8],
    cupy: Any, backend: Backend, size: Size,
) -> Iterator[Row]:  # fmt: skip
    source, target, alone = (folder / f"{word}{suffix}" for word in ("image", "result", "alone"))
    _write(source, pixels, "yx")
    task = partial(predict, model, source, output=str(target), dtype="uint8", backend=backend.name)
    task()
    with open_image(target) as result:
        axes = result.axes
    proba = _read(target)
    _check(reorder(proba, axes, "yxc"), model, pixels, backend)
    tasks: dict[str, Task] = {
        "gpuseg": task,
        "reading alone": partial(_read, source),
        "writing alone": partial(_write, alone, proba, axes),
    }
    data = f"{scene.shape_text(pixels.shape)} uint8, {model.forest.leaves.shape[1]} classes"
    for engine, work in tasks.items():
        seconds = []
        for _ in range(min(size.rounds, ROUNDS)):
            for old in (target, alone):
                _remove(old)
            seconds += wall_seconds(cupy, work, 1)
        yield Row(
            "files", f"file to file, {name}", data, seconds, engine, items=pixels.size / 1e6, unit="Mpx"
        )


def _check(proba: NDArray[np.uint8], model: PixelModel, pixels: NDArray[np.uint8], b: Backend) -> None:
    """The file holds what the backend answers to the whole image, rounded."""
    image = b.asarray(pixels.astype(np.float32)[None, None])
    whole = b.to_numpy(probabilities(b, image, model.selection, model.forest))[0]
    if not np.array_equal(proba, np.rint(np.float32(255) * whole).astype(np.uint8)):
        raise WrongAnswer("the file holds other probabilities than the image has as a whole")


def _read(path: Path) -> NDArray[Any]:
    with open_image(path) as image:
        values = np.empty(image.shape, image.dtype)
        for region in _strips(image.shape, image.axes):
            values[region] = image.read(region)
    return values


def _write(path: Path, values: NDArray[Any], axes: str) -> None:
    with create_image(path, Output(values.shape, values.dtype, axes)) as writer:
        for region in _strips(values.shape, axes):
            writer.write(region, values[region])


def _strips(shape: Sequence[int], axes: str) -> Iterator[tuple[slice, ...]]:
    """STRIP rows at a time, all of the other axes."""
    for y in range(0, shape[axes.index("y")], STRIP):
        yield tuple(
            slice(y, min(y + STRIP, n)) if a == "y" else slice(0, n) for a, n in zip(axes, shape, strict=True)
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
