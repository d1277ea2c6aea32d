"""What tests of faults that went unnoticed in other programs share: images, a model, files, the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpuseg import backends
from gpuseg.axes import Voxel, reorder
from gpuseg.cli import app
from gpuseg.features.selection import Selection
from gpuseg.io import Output, create_image, open_image
from gpuseg.pixel import Picture, Scribbled, learn

FILTERS = {
    "gaussian_smoothing": [0.7, 1.6],
    "structure_tensor_eigenvalues": [1.0],
    "hessian_of_gaussian_eigenvalues": [1.0],
}
Call = Callable[..., Any]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8, brighter in the second half of the last axis."""
    pixels = np.random.default_rng(seed).integers(0, 120, shape)
    pixels[..., shape[-1] // 2 :] += 100
    return pixels.astype(np.uint8)


@pytest.fixture(scope="session")
def small_image() -> Call:
    return noise


@pytest.fixture(scope="session")
def small_model() -> Call:
    """A model of few features and trees, of noise with the axes given."""

    def trained(axes: str = "yx", seed: int = 0) -> Any:
        pixels = noise(*(24 for _ in axes))
        labels = np.random.default_rng(1).choice([0, 1, 2], pixels.shape)
        pictures = [Scribbled.of(Picture.of(pixels, axes), labels)]
        return learn(pictures, Selection.table(FILTERS), trees=5, seed=seed)

    return trained


@pytest.fixture
def gpuseg() -> Call:
    """Calls a command: `gpuseg("info", "a.png")` gives exit_code, stdout, stderr, output."""

    def call(*arguments: object) -> Any:
        backends._auto.cache_clear()  # a process of its own, which says what it computes on
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return call


@pytest.fixture(scope="session")
def read() -> Call:
    """`read(path)`, or `read(path, "yxc")` with these axes: all pixels of an image file."""

    def pixels(path: Path | str, axes: str = "") -> np.ndarray:
        with open_image(path) as image:
            return reorder(image.read(), image.axes, axes or image.axes)

    return pixels


@pytest.fixture(scope="session")
def write() -> Call:
    """`write(path, pixels, axes, drange=..., voxel=...)` makes an image file."""

    def file(path: Path, pixels: np.ndarray, axes: str, voxel: Voxel | None = None, **facts: Any) -> Path:
        output = Output(pixels.shape, pixels.dtype, axes, voxel or Voxel(), **facts)
        with create_image(path, output) as writer:
            writer.write(tuple(slice(0, n) for n in pixels.shape), pixels)
        return path

    return file


@pytest.fixture(scope="session")
def squares() -> Call:
    """`squares(n)`: labels of n rectangles, up to 8, in an image of 40 x 90; the first has 6 x 7 pixels."""

    def labels(count: int) -> np.ndarray:
        found = np.zeros((40, 90), np.uint16)
        for i in range(count):
            found[5 : 11 + i % 4 * 3, 2 + 11 * i : 9 + 11 * i] = i + 1
        return found

    return labels
