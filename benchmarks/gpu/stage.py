"""An image on the device, its scribbles, and the forest trained under them: what all sections start from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, measure, scene
from benchmarks.gpu.size import Size
from gpuseg.backends.base import Array, Backend
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.forests.arrays import Forest

SAMPLE = 4096  # pixels that visits are counted on
GRAIN = 128  # side of the made-up volume that larger ones repeat, mirrored: blurring 512 cubed takes a minute


@dataclass(frozen=True, slots=True)
class Stage:
    cupy: Any
    scene: scene.Scene  # its backend is the card's
    image: Array  # of the scene, on the device
    forest: Forest

    @property
    def backend(self) -> Backend:
        return self.scene.backend

    @property
    def plain(self) -> str:
        """2D or 3D."""
        return "2D" if self.scene.image.shape[1] == 1 else "3D"

    @property
    def unit(self) -> str:
        return "Mpx" if self.plain == "2D" else "Mvox"

    @property
    def data(self) -> str:
        s = self.scene
        return f"{scene.shape_text(s.plain.shape)} float32, {s.planes} planes, {len(self.forest.roots)} trees"

    def empty(self) -> Array:
        """Room for all planes, on the device."""
        return self.cupy.empty((self.scene.planes, *self.scene.image.shape[1:]), np.float32)

    def fill(self, out: Array) -> Array:
        """All planes into `out`, as users get them."""
        return feature_stack(self.backend, self.image, self.scene.selection, out=out)

    def proba(self) -> Array:
        """Image to probabilities, as users get them."""
        return probabilities(self.backend, self.image, self.scene.selection, self.forest)

    def visits(self, planes: Array) -> float:
        """Nodes that a pixel meets in all trees, on the average of some pixels."""
        shape = self.scene.image.shape[1:]
        some = np.arange(0, self.scene.pixels, max(1, self.scene.pixels // SAMPLE))
        where = np.stack(np.unravel_index(some, shape), 1)
        return visits(self.forest, self.backend.rows(planes, where))


def flat(cupy: Any, backend: Backend, kind: str, side: int, size: Size, *, exact: bool = False) -> Stage:
    """Photographs side by side, with scribbles on "texture" or on "intensity".

    exact: a forest of scikit-learn's, with more thresholds than codes tell apart; else the default one.
    """
    made = scene.flat(kind, measure.Size(side=side, labelled=size.labelled))
    return _staged(cupy, replace(made, backend=backend), size, exact)


def deep(cupy: Any, backend: Backend, side: int, size: Size) -> Stage:
    """A volume of blobs and membranes, filtered in 3D."""
    grey, truth = (_mirrored(v, side) for v in images.volume(min(GRAIN, side)))
    painted = images.scribbles(truth, size.labelled)
    selection = Selection.all(dict(zip("zyx", grey.shape, strict=True)))
    where = np.argwhere(painted)
    made = scene.Scene(
        backend=backend,
        image=grey.astype(np.float32)[None],
        selection=selection,
        jobs=selection.jobs(1, side),
        planes=selection.count(1, side),
        where=where,
        labels=painted[tuple(where.T)],
    )
    return _staged(cupy, made, size)


def visits(forest: Forest, rows: NDArray[np.float32]) -> float:
    """Nodes that a row of features meets in all trees, roots and leaves counted, on average."""
    node = np.tile(forest.roots, (len(rows), 1))
    met = node.size
    places = np.arange(len(rows))[:, None]
    while (inner := forest.feature[node] >= 0).any():
        test = np.where(inner, forest.feature[node], 0)
        right = ~(rows[places, test] < forest.threshold[node])
        node = np.where(inner, forest.left[node] + right, node)
        met += int(inner.sum())
    return met / len(rows)


def _staged(cupy: Any, made: scene.Scene, size: Size, exact: bool = False) -> Stage:
    if exact:
        forest, _ = scene.forests(made.rows(), made.labels, size.trees)
    else:
        forest = get_trainer(DEFAULT)(made.rows(), made.labels, trees=size.trees, backend="cpu").forest
    return Stage(cupy, made, made.backend.asarray(made.image), forest)


def _mirrored(volume: NDArray[Any], side: int) -> NDArray[Any]:
    missing: Sequence[tuple[int, int]] = [(0, side - n) for n in volume.shape]
    return np.pad(volume, missing, mode="symmetric")
