"""Made-up cells: labels, an image of them, and what a classifier would say, the same on each run.

One cell stands in each square of `PITCH` pixels, moved at random: many touch, many do not. Cells are ellipses
with wavy edges; parts that an edge cuts off are objects of their own, those below `LEAST` pixels are removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

PITCH = 13  # pixels: 100,000 cells on 4096 x 4096
LEAST = 10  # pixels
THRESHOLD = 1.5  # standard deviations of the noise that blobs are made of


@dataclass(frozen=True, eq=False)
class Cells:
    labels: NDArray[np.int32]  # 1 to count
    image: Floats  # 0 to 255
    proba: Floats  # of being a cell

    @cached_property
    def count(self) -> int:
        return int(self.labels.max())

    def cut(self, side: int) -> "Cells":
        """The corner of so many pixels, its objects numbered anew."""
        corner = (slice(side),) * self.labels.ndim
        _, inverse = np.unique(self.labels[corner], return_inverse=True)
        labels = inverse.reshape(self.labels[corner].shape).astype(np.int32)
        image, proba = (np.ascontiguousarray(a[corner]) for a in (self.image, self.proba))
        return Cells(labels, image, proba)


@cache
def flat(side: int, seed: int = 2) -> Cells:
    """Cells of a square image."""
    rng = np.random.default_rng(seed)
    nearest, owner = np.full((side, side), np.inf, np.float32), np.zeros((side, side), np.int32)
    for distance, cell in _neighbours(side, rng):
        closer = distance < nearest
        np.copyto(nearest, distance, where=closer)
        np.copyto(owner, cell, where=closer)
    edge = 1 + 0.2 * _smooth_noise((side, side), 2.0, rng)
    owner[nearest >= edge] = 0
    labels = _parts(owner)
    brightness = rng.uniform(60, 200, labels.max() + 1).astype(np.float32)
    brightness[0] = 0
    image = 25 + brightness[labels] * (1 - 0.4 * np.minimum(nearest, 1) ** 2)
    image += 8 * rng.standard_normal(image.shape, np.float32)
    proba = 1 / (1 + np.exp(8 * (nearest - edge)))
    proba += 0.03 * rng.standard_normal(proba.shape, np.float32)
    return Cells(labels, np.clip(image, 0, 255), np.clip(proba, 0, 1))


@cache
def deep(side: int, seed: int = 3) -> Cells:
    """Blobs of a cube: where smooth noise is high."""
    rng = np.random.default_rng(seed)
    noise = _smooth_noise((side,) * 3, 2.5, rng)
    proba = 1 / (1 + np.exp(-4 * (noise - THRESHOLD)))
    labels = _parts((noise > THRESHOLD).astype(np.int32))
    image = 40 + 60 * noise * (labels > 0) + 8 * rng.standard_normal(noise.shape, np.float32)
    return Cells(labels, np.clip(image, 0, 255), proba)


def _neighbours(side: int, rng: np.random.Generator) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Of every pixel, the distance (1 at the edge) to the cell of each square around, and its number."""
    n = side // PITCH + 1
    moved = rng.uniform(-2.5, 2.5, (2, n + 2, n + 2)).astype(np.float32)
    half = rng.uniform(3, 6, (2, n + 2, n + 2)).astype(np.float32)
    angle = rng.uniform(0, np.pi, (n + 2, n + 2)).astype(np.float32)
    numbers = np.arange(1, (n + 2) ** 2 + 1, dtype=np.int32).reshape(n + 2, n + 2)
    square, within = np.divmod(np.arange(side), PITCH)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            at = np.ix_(square + dy, square + dx)
            y = ((within - PITCH // 2 - (dy - 1) * PITCH)[:, None] - moved[0][at]).astype(np.float32)
            x = ((within - PITCH // 2 - (dx - 1) * PITCH)[None, :] - moved[1][at]).astype(np.float32)
            sin, cos = np.sin(angle)[at], np.cos(angle)[at]
            yield np.hypot((cos * y - sin * x) / half[0][at], (sin * y + cos * x) / half[1][at]), numbers[at]


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Floats:
    noise: Floats = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, truncate=3)
    noise /= noise.std()
    return noise


def _parts(owner: NDArray[np.int32]) -> NDArray[np.int32]:
    """Connected parts of equal value, numbered from 1, without small ones."""
    measure: Any = import_module("skimage.measure")
    parts: NDArray[np.int64] = measure.label(owner, background=0, connectivity=1)
    kept = np.bincount(parts.ravel()) >= LEAST
    kept[0] = False
    table = (np.cumsum(kept) * kept).astype(np.int32)
    return np.asarray(table[parts])
