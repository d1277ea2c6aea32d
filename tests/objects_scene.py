"""Small images of round and long objects, what they come from, and models that tell them apart."""

from pathlib import Path

import numpy as np
from scipy import ndimage

import gpuseg
from gpuseg import ObjectClassifier, Pipeline, PixelClassifier
from gpuseg.io import Output, create_image, open_image

FEATURES = ["count", "mean", "variance", "radii", "histogram", "convexity", "mean_in_neighborhood"]
FILTERS = {"gaussian_smoothing": [1.0], "hessian_of_gaussian_eigenvalues": [1.0]}
SEGMENT = {"channel": 1, "sigma": 0, "min_size": 5}


def store(path: Path, pixels: np.ndarray, axes: str, **more) -> str:
    with create_image(path, Output(pixels.shape, pixels.dtype, axes, **more)) as writer:
        writer.write(tuple(slice(0, n) for n in pixels.shape), pixels)
    return str(path)


def load(path: str | Path) -> np.ndarray:
    with open_image(path) as image:
        return image.read()


def drawn(shape: tuple[int, ...] = (60, 80), seed: int = 0, count: int = 14) -> np.ndarray:
    """uint8: bright round and long objects, (y, x) or (z, y, x), on a dark ground."""
    rng = np.random.default_rng(seed)
    bright = np.zeros(shape, np.float32)
    for i in range(count):
        half = np.array([2, 2, 2] if i % 2 else [1, 1, 6])[-len(shape) :]
        low = [int(rng.integers(0, max(1, n - 2 * h - 1))) for n, h in zip(shape, half, strict=True)]
        bright[tuple(slice(a, a + 2 * h + 1) for a, h in zip(low, half, strict=True))] = 90 + 60 * (i % 2)
    return (ndimage.gaussian_filter(bright, 0.7) + rng.normal(20, 4, shape)).clip(0, 255).astype(np.uint8)


def pixel_classifier(image: np.ndarray, axes: str = "yx") -> PixelClassifier:
    labels = np.where(image > 90, 2, np.where(image < 40, 1, 0))
    labels[np.random.default_rng(0).random(image.shape) > 0.05] = 0
    return PixelClassifier(FILTERS, axes=axes, n_estimators=8, backend="cpu").fit(image, labels)


def trained(image: np.ndarray, axes: str = "yx", features=FEATURES) -> Pipeline:
    """All three stages, the last one telling long from round ones."""
    pixel = pixel_classifier(image, axes)
    proba = pixel.predict_proba(image)
    found = gpuseg.segment(proba, axes=f"{axes}c", backend="cpu", **SEGMENT)
    table = gpuseg.measure(found, image, raw_axes=axes, features=features, margin=(5, 5, 2), backend="cpu")
    kind = np.where(table["Size in pixels"] > table["Size in pixels"].median(), 2, 1)
    kind[len(kind) * 3 // 4 :] = 0
    model = ObjectClassifier(classes=["small", "large"], n_estimators=10, backend="cpu").fit(table, kind)
    return Pipeline(pixel, SEGMENT, model)
