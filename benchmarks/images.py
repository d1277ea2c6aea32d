"""The images and scribbles that are measured: real photographs side by side, and a made-up volume.

The photographs come with scikit-image; nothing is downloaded and everything is the same on each run.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Labels = NDArray[np.uint8]

STROKE = 40  # pixels
CLASSES = 3
MOSAIC = {  # photograph: class of its square in `texture`
    "camera": 3, "coins": 2, "cell": 2, "moon": 3,
    "brick": 1, "grass": 1, "gravel": 1, "page": 3,
    "ihc": 2, "retina": 2, "astronaut": 3, "chelsea": 3,
    "coffee": 3, "hubble_deep_field": 2, "text": 1, "microaneurysms": 2,
}  # fmt: skip


@cache
def mosaic(side: int) -> NDArray[np.uint8]:
    """Sixteen photographs in grey, each (side / 4) squared, reflected where too small."""
    return _squares([_grey(name, side // 4) for name in MOSAIC])


def texture(side: int) -> Labels:
    """Which kind of picture each square of the mosaic is: a hard task, the trees grow deep."""
    return _squares([np.full((side // 4,) * 2, c, np.uint8) for c in MOSAIC.values()])


def intensity(image: NDArray[np.uint8]) -> Labels:
    """Dark, bright, edge: an easy task, the trees stay small."""
    grey = image.astype(np.float32)
    smooth = ndimage.gaussian_filter(grey, 2.0)
    edge = ndimage.gaussian_gradient_magnitude(grey, 2.0)
    labels = np.where(smooth > np.median(smooth), 2, 1).astype(np.uint8)
    labels[edge > np.quantile(edge, 0.85)] = 3
    return labels


def volume(side: int, seed: int = 1) -> tuple[NDArray[np.uint8], Labels]:
    """Blurred blobs with membranes under noise, and which of the three each voxel is."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((side,) * 3).astype(np.float32), 4.0)
    field /= field.std()
    truth = np.where(field > 0.5, 2, 1).astype(np.uint8)
    truth[np.abs(field - 0.5) < 0.12] = 3
    grey = np.array([0, 80, 130, 190], np.float32)[truth]
    grey = ndimage.gaussian_filter(grey, 0.8) + rng.normal(0, 18, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8), truth


def scribbles(truth: Labels, pixels: int, seed: int = 0) -> Labels:
    """Straight strokes within one class each, classes in turn, until about `pixels` are painted."""
    rng = np.random.default_rng(seed)
    painted = np.zeros_like(truth)
    turn = 0
    while np.count_nonzero(painted) < pixels:
        label = turn % CLASSES + 1
        start = rng.integers(truth.shape)
        if truth[tuple(start)] != label:
            continue
        direction = rng.normal(size=truth.ndim)
        direction /= np.linalg.norm(direction)
        points = np.rint(start + np.arange(STROKE)[:, None] * direction).astype(int)
        points = points[((points >= 0) & (points < truth.shape)).all(axis=1)]
        points = points[truth[tuple(points.T)] == label]
        painted[tuple(points.T)] = label
        turn += 1
    return painted


def bands(array: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """The first `rows` rows of each of the four rows of squares: every photograph, fewer pixels."""
    h, w = array.shape[-2:]
    parts = array.reshape(*array.shape[:-2], 4, h // 4, w)[..., : min(rows, h // 4), :]
    return np.ascontiguousarray(parts.reshape(*array.shape[:-2], -1, w))


def _grey(name: str, side: int) -> NDArray[np.uint8]:
    import skimage
    from skimage.io import imread

    data = Path(skimage.__file__).parent / "data"
    image = imread(next(p for s in (".png", ".jpg") if (p := data / f"{name}{s}").exists()))
    if image.ndim == 3:
        image = np.rint(image[..., :3] @ np.array([0.2989, 0.5870, 0.1140]))
    missing = [(0, max(0, side - n)) for n in image.shape]
    return np.pad(image.astype(np.uint8), missing, mode="symmetric")[:side, :side]


def _squares(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.block([parts[i : i + 4] for i in range(0, 16, 4)])
