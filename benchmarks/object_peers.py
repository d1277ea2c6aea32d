"""What other programs do with objects: OpenCV, cc3d with fastremap, scikit-image, one object at a time.

vigra runs in its own process (see vigra_worker.py). All of these give what gpuseg gives, up to numbering.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.machine import CORES

Labels = NDArray[Any]

NO_CC3D = "connected-components-3d and fastremap are not installed: pip install 'gpuseg[bench]'"
BINS = 64
COUNTERPARTS = (  # scikit-image's, of Standard Object Features
    *("label", "area", "bbox", "centroid", "centroid_weighted"),
    *("intensity_mean", "intensity_min", "intensity_max", "intensity_std"),
    *("axis_major_length", "axis_minor_length", "orientation"),
    *("inertia_tensor_eigvals", "eccentricity", "equivalent_diameter_area"),
)
HULL = ("label", "area_convex", "solidity")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Cores reach `high` and have the right size; objects reach `low`, hold a core, have the right size."""

    low: float = 0.5
    high: float = 0.8
    least: int = 10
    most: int = 1_000_000


def no_cc3d() -> str:
    return "" if find_spec("cc3d") and find_spec("fastremap") else NO_CC3D


def opencv_components(mask: NDArray[np.uint8]) -> Callable[[], Labels]:
    cv2: Any = import_module("cv2")
    cv2.setNumThreads(CORES)
    return lambda: np.asarray(cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)[1])


def cc3d_components(mask: NDArray[np.uint8]) -> Callable[[], Labels]:
    faces = 2 * mask.ndim
    cc3d: Any = import_module("cc3d")
    return lambda: np.asarray(cc3d.connected_components(mask, connectivity=faces))


def cc3d_objects(proba: NDArray[np.float32], t: Thresholds) -> Labels:
    """Objects of a probability map: the quickest of what the two libraries offer for each step."""
    cc3d: Any = import_module("cc3d")
    faces = 2 * proba.ndim
    cores, count = cc3d.connected_components(proba >= t.high, connectivity=faces, return_N=True)
    core = np.take(_right_size(cores, count, t), cores)
    labels, count = cc3d.connected_components(proba >= t.low, connectivity=faces, return_N=True)
    kept = np.zeros(count + 1, np.bool_)
    kept[labels[core]] = True
    kept &= _right_size(labels, count, t)
    return np.asarray(np.take((np.cumsum(kept) * kept).astype(np.uint32), labels))


def _right_size(labels: Labels, count: int, t: Thresholds) -> NDArray[np.bool_]:
    import fastremap

    found, sizes = fastremap.unique(labels, return_counts=True)
    good = np.zeros(count + 1, np.bool_)
    good[found] = (sizes >= t.least) & (sizes <= t.most)
    good[0] = False
    return good


def skimage_table(labels: Labels, image: NDArray[np.float32] | None, names: tuple[str, ...]) -> Any:
    """`regionprops_table`, which computes objects one after the other."""
    skimage: Any = import_module("skimage.measure")
    return skimage.regionprops_table(labels, image, properties=names)


def one_by_one(labels: Labels, image: NDArray[np.float32], margin: int) -> NDArray[np.float64]:
    """The sixteen numbers or histograms of every neighbourhood: crop, distance transform, accumulate."""
    rows = []
    for i, (y, x) in enumerate(ndimage.find_objects(labels)):
        crop = (
            slice(max(y.start - margin, 0), y.stop + margin),
            slice(max(x.start - margin, 0), x.stop + margin),
        )
        mine, values = labels[crop] == i + 1, image[crop]
        both = ndimage.distance_transform_edt(~mine) < margin
        rows.append(np.concatenate([_statistics(values[both & ~mine]), _statistics(values[both])]))
    return np.array(rows)


def means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of what `one_by_one` gives: (ring, ring and object; objects)."""
    return rows[:, [0, rows.shape[1] // 2]].T


def _statistics(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean, variance, skewness, kurtosis, least, largest, sum and histogram."""
    mean = values.mean(dtype=np.float64)
    away = values - mean
    square = away * away
    variance = square.mean()
    skewness = (square * away).mean() / variance**1.5
    kurtosis = (square * square).mean() / variance**2 - 3
    low, high, total = values.min(), values.max(), values.sum(dtype=np.float64)
    bins = np.histogram(values, BINS, (low, high))[0]
    return np.array([mean, variance, skewness, kurtosis, low, high, total, *bins])


def same_objects(found: Labels, expected: Labels) -> str:
    """Whether two label images hold the same objects, whatever their numbers."""
    table = np.zeros(int(expected.max()) + 1, np.int64)
    table[expected.ravel()] = found.ravel()
    same = np.array_equal(table[expected], found) and len(np.unique(table)) == len(table)
    return f"{'the same' if same else 'NOT the same'} {len(table) - 1:,} objects"


def largest_deviation(found: NDArray[Any], expected: NDArray[Any]) -> str:
    """The largest difference of two arrays, each row on the scale of its largest value."""
    scale = np.abs(expected).max(axis=-1, keepdims=True, initial=0)
    away = np.abs(np.asarray(found, np.float64) - expected) / np.where(scale == 0, 1, scale)
    return f"{float(away.max(initial=0)):.1g}"
