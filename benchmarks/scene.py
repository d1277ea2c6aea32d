"""An image, its scribbles and the forest trained under them: what all sections start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images
from benchmarks.machine import CORES
from benchmarks.measure import Size
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend, Job
from gpuseg.backends.taps import FILTER_WINDOW, SMOOTH_WINDOW, radius
from gpuseg.features.filters import DOG_RATIO, TENSOR_RATIO
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, features_at, whole
from gpuseg.forests.arrays import Forest, Tree, float32_threshold


@dataclass(frozen=True, slots=True)
class Scene:
    backend: Backend
    image: NDArray[np.float32]  # (c, z, y, x)
    selection: Selection
    jobs: tuple[Job, ...]
    planes: int
    where: NDArray[np.intp]  # (n, 3): pixels under scribbles
    labels: NDArray[np.uint8]  # (n,)

    @property
    def plain(self) -> NDArray[np.float32]:
        """The image as the other programs want it: (y, x) or (z, y, x)."""
        plain: NDArray[np.float32] = self.image[0, 0] if self.image.shape[1] == 1 else self.image[0]
        return plain

    @property
    def pixels(self) -> int:
        return int(self.image[0].size)

    @property
    def traffic(self) -> float:
        """Bytes to read the image and write the planes once."""
        return 4.0 * self.pixels * (1 + self.planes)

    @property
    def flops(self) -> float:
        return self.pixels * sum(flops(job) for job in self.jobs)

    def path(self) -> str:
        """How the backend computes planes: its fused way, or formula by formula."""
        fused = self.backend.bank(self.image, self.jobs, whole(self.image)) is not None
        return "fused" if fused else "not fused: formula by formula"

    def rows(self) -> NDArray[np.float32]:
        return features_at(self.backend, self.image, self.selection, self.where)

    def stack(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        planes: NDArray[np.float32] = feature_stack(self.backend, self.image, self.selection, out=out)
        return planes


def flat(kind: str, size: Size) -> Scene:
    """The mosaic of photographs with scribbles on "texture" or on "intensity"."""
    grey = images.mosaic(size.side)
    truth = images.texture(size.side) if kind == "texture" else images.intensity(grey)
    return _scene(grey[None], images.scribbles(truth, size.labelled)[None])


def deep(size: Size) -> Scene:
    """The volume, filtered in 3D."""
    grey, truth = images.volume(size.cube)
    return _scene(grey, images.scribbles(truth, size.labelled))


def flops(job: Job) -> float:
    """2 per tap of every 1-D pass that the filters of a full job need, shared where they can be."""
    n = len(job.sigma)
    taps = {r: 2 * radius(r * job.sigma[0], FILTER_WINDOW) + 1 for r in (1.0, DOG_RATIO, TENSOR_RATIO)}
    smooth = n * (2 * radius(job.smooth[0], SMOOTH_WINDOW) + 1)
    if len(job.planes) == 1:
        return 2.0 * (smooth + n * taps[1.0])
    derivatives = sum((m + 1) * (m + 2) // 2 for m in range(1, n + 1))  # of order <= 2, axis by axis
    gradient = sum(m + 1 for m in range(1, n)) + n
    products = n * (n + 1) // 2 * n
    filters = taps[1.0] * (derivatives + products) + taps[DOG_RATIO] * n + taps[TENSOR_RATIO] * gradient
    return 2.0 * (smooth + filters)


def forests(rows: NDArray[np.float32], labels: NDArray[Any], trees: int) -> tuple[Forest, Any]:
    """The same forest twice: as gpuseg keeps it, and as scikit-learn grew it."""
    theirs = sklearn_forest(trees, rows.shape[1]).fit(rows, labels)
    grown = [estimator.tree_ for estimator in theirs.estimators_]
    flat = [
        Tree(
            tree.feature,
            float32_threshold(tree.threshold, inclusive=True),
            tree.children_left,
            tree.children_right,
            tree.value[:, 0],
        )
        for tree in grown
    ]
    return Forest.from_trees(flat, rows.shape[1]), theirs


def sklearn_forest(trees: int, features: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    tried = floor(sqrt(features) + 0.5)
    return RandomForestClassifier(trees, max_features=tried, random_state=0, n_jobs=CORES)


def as_rows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(pixels, planes) in C order, as scikit-learn wants them."""
    return np.ascontiguousarray(planes.reshape(len(planes), -1).T)


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> str:
    return f"differs by at most {float(np.abs(a.ravel() - b.ravel()).max()):.2g}"


def differing_labels(a: NDArray[Any], b: NDArray[Any]) -> str:
    """Of two probability arrays, how many pixels they would label differently."""
    classes = a.shape[-1]
    first, second = (p.reshape(-1, classes).argmax(1) for p in (a, b))
    return f"{np.count_nonzero(first != second) / len(first):.3%} of pixels get another label"


def _scene(grey: NDArray[np.uint8], painted: NDArray[np.uint8]) -> Scene:
    image = grey.astype(np.float32)[None]
    selection = Selection.all(dict(zip("zyx", grey.shape, strict=True)))
    where = np.argwhere(painted)
    return Scene(
        backend=get_backend("cpu"),
        image=image,
        selection=selection,
        jobs=selection.jobs(1, len(grey)),
        planes=selection.count(1, len(grey)),
        where=where,
        labels=painted[tuple(where.T)],
    )


def shape_text(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
