"""Convex hulls of objects and what they lack to them, in 2D and 3D (SPEC 5.5).

The hull is that of the pixel centres; its pixels are those whose centres are in it or on its border. Defects
are the direct-neighbourhood components of hull minus object. What vigra leaves undefined is 0 for an object
without defects (its defect centre is the object's centre), and for skewness and kurtosis of equal defects.
vigra starts hulls from half a pixel around the centre, which may add a pixel to objects in several parts.

In ilastik the plug-in is called "2D Convex Hull Features" in images of one slice, else "3D Convex Hull
Features"; titles say "Area" in both. Computed on the host whatever the backend, in whole numbers.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.objects.context import Objects
from gpuseg.objects.standard import pixel_size
from gpuseg.objects.table import LOCATION, SHAPE, Formula, object_feature

Numbers = NDArray[Any]
NEEDS = ("box", "count", "center")


def hulls(o: Objects) -> dict[str, Numbers]:
    """Numbers of all hulls, computed once: `hull`, `defects`, `sizes`, `away` (backends/_numba/hulls.py)."""
    from gpuseg.backends._numba import hulls as numba_hulls  # late: it takes a second to import

    if "hulls" not in o.cache:
        labels, (box, count, center) = np.ascontiguousarray(o.host_labels), map(o.sums, NEEDS)
        o.cache["hulls"] = numba_hulls.hulls(labels, box, count, center, o.spacing)
    found: dict[str, Numbers] = o.cache["hulls"]
    return found


def _of_hulls(
    title: str, ilastik: str, *, group: str = SHAPE, unit: int | Literal["d"] = 0
) -> Callable[[Formula], Formula]:
    return object_feature(
        title,
        group=group,
        family="Convex Hull Features",
        ilastik=ilastik,
        needs=NEEDS,
        unit=unit,
        local=True,
    )


def _ratio(a: Numbers, b: Numbers) -> Numbers:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b != 0)


def _place(o: Objects, sums: Numbers, count: Numbers) -> Numbers:
    """Centroid in units of length, from sums of z, y, x over `count` pixels; the object's where that is 0."""
    none = count == 0
    sums = np.where(none[:, None], o.sums("center"), sums)
    count = np.where(none, o.sums("count"), count)
    return o.in_order(sums / np.maximum(count, 1)[:, None] * o.spacing)


def _missing(o: Objects) -> Numbers:
    """Pixels of the hull that are not of the object."""
    missing: Numbers = hulls(o)["hull"][:, 0] - o.sums("count")
    return missing


@_of_hulls("Object Area", "InputVolume", unit="d")
def input_volume(o: Objects) -> Numbers:
    """Area of the object, in 3D its volume."""
    return o.sums("count") * pixel_size(o)


@_of_hulls("Convex Hull Area", "HullVolume", unit="d")
def hull_volume(o: Objects) -> Numbers:
    """Area of the hull, in 3D its volume."""
    return hulls(o)["hull"][:, 0] * pixel_size(o)


@_of_hulls("Convexity", "Convexity")
def convexity(o: Objects) -> Numbers:
    """Part of the hull that the object fills."""
    return _ratio(o.sums("count"), hulls(o)["hull"][:, 0])


@_of_hulls("Number of Defects", "DefectCount")
def defect_count(o: Objects) -> Numbers:
    """Number of defects."""
    return hulls(o)["defects"]


@_of_hulls("Mean Defect Area", "DefectVolumeMean", unit="d")
def defect_volume_mean(o: Objects) -> Numbers:
    """Mean area of a defect, in 3D its volume; 0 without defects."""
    return _ratio(_missing(o), hulls(o)["defects"]) * pixel_size(o)


@_of_hulls("Variance of Defect Area", "DefectVolumeVariance")
def defect_volume_variance(o: Objects) -> Numbers:
    """Unbiased variance of the pixels of defects, always in pixels; 0 below two defects."""
    return _ratio(hulls(o)["sizes"][:, 0], np.maximum(hulls(o)["defects"] - 1, 0))


@_of_hulls("Skewness of Defect Area", "DefectVolumeSkewness")
def defect_volume_skewness(o: Objects) -> Numbers:
    """Unbiased skewness of the areas of defects; 0 below three."""
    m, (s2, s3, _) = hulls(o)["defects"], hulls(o)["sizes"].T
    bias = _ratio(np.sqrt(m * np.maximum(m - 1, 0)), np.maximum(m - 2, 0))
    return bias * _ratio(np.sqrt(m) * s3, s2**1.5)


@_of_hulls("Kurtosis of Defect Area", "DefectVolumeKurtosis")
def defect_volume_kurtosis(o: Objects) -> Numbers:
    """Unbiased kurtosis of the areas of defects, 0 of a normal distribution; 0 below four."""
    m, (s2, _, s4) = hulls(o)["defects"], hulls(o)["sizes"].T
    bias = _ratio(m - 1, np.maximum(m - 2, 0) * np.maximum(m - 3, 0))
    return np.where(s2 > 0, bias * ((m + 1) * (_ratio(m * s4, s2**2) - 3) + 6), 0)


@_of_hulls("Mean Defect Displacement", "DefectDisplacementMean", unit=1)
def defect_displacement_mean(o: Objects) -> Numbers:
    """Mean distance of defects from the centre of the object, weighted by their areas; 0 without defects."""
    return _ratio(hulls(o)["away"], _missing(o))


@_of_hulls("Object Center", "InputCenter", group=LOCATION, unit=1)
def input_center(o: Objects) -> Numbers:
    """Centroid of the object."""
    return _place(o, o.sums("center"), o.sums("count"))


@_of_hulls("Convex Hull Center", "HullCenter", group=LOCATION, unit=1)
def hull_center(o: Objects) -> Numbers:
    """Centroid of the pixels of the hull."""
    return _place(o, hulls(o)["hull"][:, 1:], hulls(o)["hull"][:, 0])


@_of_hulls("Defect Center", "DefectCenter", group=LOCATION, unit=1)
def defect_center(o: Objects) -> Numbers:
    """Centroid of all pixels of defects; of the object where there are none."""
    return _place(o, hulls(o)["hull"][:, 1:] - o.sums("center"), _missing(o))
