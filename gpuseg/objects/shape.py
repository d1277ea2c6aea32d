"""Features that ilastik does not have: outlines, axes and diameters, and Haralick's texture.

Perimeter and surface are by Crofton's formula: from how often lines along the 4 or 13 directions between
neighbours enter the object. Pixels are squares (cubes) here: hulls and Feret diameters are those of their
corners, so that a square has solidity 1. Neighbours share a face. Where the image ends, so do objects.
"""

from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import SphericalVoronoi

from gpuseg.objects.context import Objects
from gpuseg.objects.standard import PLACED, pixel_size, ratio, spread
from gpuseg.objects.table import INTENSITY, LOCATION, SHAPE, object_feature

Numbers = NDArray[np.float64]
shape = partial(object_feature, group=SHAPE, family="More Shape Features")
outline = partial(shape, local=True)
texture = partial(
    object_feature,
    group=INTENSITY,
    family="More Intensity Features",
    channels="SM",
    needs=("box",),
    local=True,
)


def steps(ndim: int) -> NDArray[np.int64]:
    """From a pixel to half of its neighbours along z, y, x: the directions of lines, 4 or 13."""
    every = product((0,) if ndim == 2 else (-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
    return np.array([s for s in every if s > (0, 0, 0)])


@cache
def _crofton(ndim: int, spacing: tuple[float, float, float]) -> Numbers:
    """What an entry in each direction adds to perimeter or surface.

    Distance (area) between lines of the direction, by the part of the half circle (sphere) nearest to it.
    """
    along = steps(ndim) * np.array(spacing)
    lengths = np.linalg.norm(along, axis=1)
    unit = np.concatenate([along, -along]) / np.tile(lengths, 2)[:, None]
    if ndim == 2:
        angle = np.sort(np.arctan2(unit[:, 1], unit[:, 2]))
        gap = np.diff(angle, append=angle[0] + 2 * np.pi)
        order = np.argsort(np.arctan2(unit[:, 1], unit[:, 2]))
        part = np.empty(len(unit))
        part[order] = (gap + np.roll(gap, 1)) / (4 * np.pi)
        factor, size = np.pi, spacing[1] * spacing[2]
    else:
        part = SphericalVoronoi(unit).calculate_areas() / (4 * np.pi)
        factor, size = 4.0, float(np.prod(spacing))
    weights: Numbers = factor * 2 * part[: len(along)] * size / lengths
    return weights


def _outlines(o: Objects) -> Any:
    from gpuseg.backends._numba.outlines import outlines  # takes a second to import

    if "outlines" not in o.cache:
        o.cache["outlines"] = outlines(o.host_labels, o.sums("box"), steps(o.ndim), o.spacing[1:])
    return o.cache["outlines"]


def _border(o: Objects) -> Numbers:
    return np.asarray(_outlines(o).entries @ _crofton(o.ndim, tuple(map(float, o.spacing))), np.float64)


def _size(o: Objects) -> Numbers:
    return np.asarray(o.sums("count") * pixel_size(o), np.float64)


@outline("Perimeter", ndims=(2,), needs=("box",), unit=1)
def perimeter(o: Objects) -> Numbers:
    """Length of the border, that of holes included; 2 % off for smooth shapes, 4 % short for squares."""
    return _border(o)


@outline("Surface Area", ndims=(3,), needs=("box",), unit=2)
def surface(o: Objects) -> Numbers:
    """Area of the border, that of cavities included."""
    return _border(o)


@outline("Circularity", ndims=(2,), needs=("box", "count"))
def circularity(o: Objects) -> Numbers:
    """4 pi area / perimeter^2: 1 for a disc, less for other shapes; more for a handful of pixels."""
    return ratio(4 * np.pi * _size(o), _border(o) ** 2)


@outline("Sphericity", ndims=(3,), needs=("box", "count"))
def sphericity(o: Objects) -> Numbers:
    """Surface of a ball of the same volume / surface: 1 for a ball, less for other shapes."""
    return ratio(np.pi ** (1 / 3) * (6 * _size(o)) ** (2 / 3), _border(o))


@outline("Euler Number", needs=("box",))
def euler_number(o: Objects) -> NDArray[np.int64]:
    """Parts less holes; in volumes, parts less tunnels plus cavities."""
    found: NDArray[np.int64] = _outlines(o).euler
    return found


@outline("Solidity", ndims=(2,), needs=("box", "count"))
def solidity(o: Objects) -> Numbers:
    """Area / area of the convex hull; in volumes see convexity."""
    return ratio(_size(o), _outlines(o).hull[:, 0])


@outline("Largest Feret Diameter", ndims=(2,), needs=("box",), unit=1)
def feret_max(o: Objects) -> Numbers:
    """Largest distance of two of its points."""
    found: Numbers = _outlines(o).hull[:, 1]
    return found


@outline("Smallest Feret Diameter", ndims=(2,), needs=("box",), unit=1)
def feret_min(o: Objects) -> Numbers:
    """Width of the narrowest gap that it fits through."""
    found: Numbers = _outlines(o).hull[:, 2]
    return found


@shape("Equivalent Diameter", needs=("count",), unit=1)
def equivalent_diameter(o: Objects) -> Numbers:
    """Diameter of a disc (ball) of the same size."""
    return np.sqrt(4 / np.pi * _size(o)) if o.ndim == 2 else np.cbrt(6 / np.pi * _size(o))


@shape("Extent", needs=("count", "box"))
def extent(o: Objects) -> Numbers:
    """Pixels / pixels of the bounding box."""
    box = o.sums("box")
    return ratio(o.sums("count"), np.prod(box[:, :, 1] - box[:, :, 0] + 1, axis=1))


def _axes(o: Objects) -> Numbers:
    """Axes of the ellipse (ellipsoid) with the object's variances, largest first."""
    lengths: Numbers = 2 * np.sqrt((o.ndim + 2) * spread(o)[0])
    return lengths


@shape("Major Axis Length", needs=PLACED, unit=1)
def major_axis(o: Objects) -> Numbers:
    """Longest axis of the ellipse (ellipsoid) that has the object's variances."""
    return _axes(o)[:, 0]


@shape("Minor Axis Length", needs=PLACED, unit=1)
def minor_axis(o: Objects) -> Numbers:
    """Shortest axis of that ellipse (ellipsoid)."""
    return _axes(o)[:, -1]


@shape("Eccentricity", ndims=(2,), needs=PLACED)
def eccentricity(o: Objects) -> Numbers:
    """Of that ellipse: 0 for a circle, near 1 for a line; NaN for a single pixel."""
    large, small = spread(o)[0].T
    return np.sqrt(1 - ratio(small, large))


@shape("Orientation", ndims=(2,), needs=PLACED)
def orientation(o: Objects) -> Numbers:
    """Angle from x to the major axis, towards y, in radians between -pi/2 and pi/2; NaN where it has none."""
    values, vectors = spread(o)
    x, y = vectors[:, 0, 0], vectors[:, 1, 0]
    angle = np.arctan2(np.where(x < 0, -y, y), np.abs(x))
    return np.where(values[:, 0] > values[:, 1], angle, np.nan)


@object_feature("Touches the Border", group=LOCATION, family="More Shape Features", needs=("box",))
def touches_border(o: Objects) -> Numbers:
    """1 if a pixel lies at the border of the image, else 0."""
    box, last = o.sums("box"), np.array(o.shape) - 1
    touches = (box[:, :, 0] == 0) | (box[:, :, 1] == last)
    return np.asarray(touches[:, -o.ndim :].any(1), np.float64)


def _haralick(o: Objects, k: int) -> Numbers:
    """Number k of all channels, (n, c)."""
    from gpuseg.backends._numba.cooccurrence import cooccurrences

    if "cooccurrences" not in o.cache:
        every = o.host_raw if o.host_raw is not None else ()
        found = [cooccurrences(o.host_labels, c, o.sums("box"), steps(o.ndim)) for c in every]
        o.cache["cooccurrences"] = np.stack(found, 1)
    numbers: Numbers = o.cache["cooccurrences"][:, :, k]
    return numbers


@texture("Texture Contrast")
def texture_contrast(o: Objects) -> Numbers:
    """Mean squared difference of neighbours, in 16 grey levels between least and largest value."""
    return _haralick(o, 0)


@texture("Texture Correlation")
def texture_correlation(o: Objects) -> Numbers:
    """Correlation of neighbours' grey levels; NaN where all are equal."""
    return _haralick(o, 1)


@texture("Texture Energy")
def texture_energy(o: Objects) -> Numbers:
    """Sum of squared frequencies of pairs of grey levels: 1 where all pairs are alike."""
    return _haralick(o, 2)


@texture("Texture Homogeneity")
def texture_homogeneity(o: Objects) -> Numbers:
    """Mean of 1 / (1 + squared difference) of neighbours' grey levels."""
    return _haralick(o, 3)


@texture("Texture Entropy")
def texture_entropy(o: Objects) -> Numbers:
    """Entropy of pairs of grey levels, in bits."""
    return _haralick(o, 4)
