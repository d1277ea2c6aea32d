"""A model of few features and trees, and images like those it was trained on."""

import numpy as np
import pytest

from gpuseg.features.selection import Selection
from gpuseg.model import PixelModel
from gpuseg.pixel import Picture, Scribbled, learn

FILTERS = {"gaussian_smoothing": [0.7, 1.6], "hessian_of_gaussian_eigenvalues": [1.0]}


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """uint8 noise, darker in the first half of the last axis."""
    pixels = np.random.default_rng(seed).integers(0, 120, shape)
    pixels[..., shape[-1] // 2 :] += 100
    return pixels.astype(np.uint8)


def trained(axes: str = "yx", values: tuple[int, ...] = (1, 2), in_2d: bool = True) -> PixelModel:
    """Trained on noise of size 24 along each spatial axis, 3 channels if there is a c."""
    shape = [3 if a == "c" else 24 for a in axes]
    picture = Picture.of(noise(tuple(shape)), axes)
    labels = np.random.default_rng(1).choice([0, *values], [24] * len(picture.places))
    names = {1: "ground", 2: "cell"}
    selection = Selection.table(FILTERS, in_2d=in_2d)
    return learn([Scribbled.of(picture, labels)], selection, trees=5, names=names)


@pytest.fixture(scope="session")
def small_image():
    return noise


@pytest.fixture(scope="session")
def small_model():
    return trained
