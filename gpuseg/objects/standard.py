"""Standard Object Features: ilastik's, which are vigra's region accumulators, from region sums.

Where a sum of squares is 0 (an object of one value, or of one pixel), skewness and kurtosis are NaN, as in
ilastik. An eigenvector has no sign of its own: here its largest part is positive, the first of equal ones.
Lengths are in units of `Objects.spacing`, along each axis its own. Those that ilastik's dialog hides are in
`advanced.py` and `weighted.py`.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._reference_regions import bins, label_ranges
from gpuseg.objects.context import Objects
from gpuseg.objects.table import INTENSITY, LOCATION, SHAPE, object_feature

Numbers = NDArray[np.float64]
Eigen = tuple[Numbers, Numbers]  # values (n, d), largest first; vectors in the columns of (n, d, d)
QUANTILES = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
PLACED = ("count", "box", "center", "scatter")
standard = partial(object_feature, family="Standard Object Features")


@standard("Size in pixels", group=SHAPE, ilastik="Count", needs=("count",), unit="d")
def count(o: Objects) -> Numbers:
    """Pixels; their area or volume where the size of a pixel is known."""
    return np.asarray(o.sums("count") * pixel_size(o), np.float64)


@standard("Mean Intensity", group=INTENSITY, ilastik="Mean", channels="SM", needs=("count", "sum"))
def mean(o: Objects) -> Numbers:
    """Of each channel."""
    return ratio(o.sums("sum"), o.sums("count")[:, None])


@standard(
    "Variance of Intensity", group=INTENSITY, ilastik="Variance", channels="SM", needs=("count", "moments")
)
def variance(o: Objects) -> Numbers:
    """Mean square of the difference to the mean."""
    return ratio(o.sums("moments")[..., 0], o.sums("count")[:, None])


@standard(
    "Skewness of Intensity", group=INTENSITY, ilastik="Skewness", channels="SM", needs=("count", "moments")
)
def skewness(o: Objects) -> Numbers:
    """NaN for objects of one value."""
    s2, s3, _ = np.moveaxis(o.sums("moments"), -1, 0)
    return skew(o.sums("count")[:, None], s2, s3)


@standard(
    "Kurtosis of Intensity", group=INTENSITY, ilastik="Kurtosis", channels="SM", needs=("count", "moments")
)
def kurtosis(o: Objects) -> Numbers:
    """Excess kurtosis, 0 for a normal distribution; NaN for objects of one value."""
    s2, _, s4 = np.moveaxis(o.sums("moments"), -1, 0)
    return excess(o.sums("count")[:, None], s2, s4)


@standard("Minimum intensity", group=INTENSITY, ilastik="Minimum", channels="SM", needs=("extremes",))
def minimum(o: Objects) -> Numbers:
    """Of each channel."""
    return o.sums("extremes")[..., 0].astype(np.float64)


@standard("Maximum intensity", group=INTENSITY, ilastik="Maximum", channels="SM", needs=("extremes",))
def maximum(o: Objects) -> Numbers:
    """Of each channel."""
    return o.sums("extremes")[..., 1].astype(np.float64)


@standard("Total Intensity", group=INTENSITY, ilastik="Sum", channels="SM", needs=("sum",))
def total(o: Objects) -> Numbers:
    """Sum over the pixels, of each channel."""
    return o.sums("sum")


@standard("Histogram of Intensity", group=INTENSITY, ilastik="Histogram", channels="S", needs=("histogram",))
def histogram(o: Objects) -> NDArray[np.int64]:
    """Pixels in 64 equal bins over the range of all labelled pixels, as integers: 512 bytes an object."""
    return o.sums("histogram")[:, 0]


@standard(
    "Quantiles of Intensity",
    group=INTENSITY,
    ilastik="Quantiles",
    channels="S",
    needs=("count", "extremes", "histogram"),
)
def quantiles(o: Objects) -> Numbers:
    """Values below which 0, 10, 25, 50, 75, 90, 100 % of the pixels lie, from the histogram."""
    from gpuseg.backends._numba import quantiles

    extremes = o.sums("extremes")[:, 0]
    low, _, per = bins(label_ranges(extremes[:, None], o.sums("count")))[0, 0]
    return quantiles.quantiles(o.sums("histogram")[:, 0], extremes, low, per, QUANTILES)


@standard(
    "Covariance of Channel Intensity",
    group=INTENSITY,
    ilastik="Covariance",
    channels="M",
    needs=("count", "covariance"),
)
def covariance(o: Objects) -> Numbers:
    """Of all pairs of channels, row by row."""
    return ratio(flat(o.sums("covariance")), o.sums("count")[:, None])


@standard("Center of the object", group=LOCATION, ilastik="RegionCenter", needs=("count", "center"), unit=1)
def center(o: Objects) -> Numbers:
    """Mean coordinate, x first; the centre of the first pixel is 0."""
    return o.in_order(ratio(o.sums("center"), o.sums("count")[:, None]) * o.spacing)


@standard("Bounding Box Minimum", group=LOCATION, ilastik="Coord<Minimum>", needs=("box",), unit=1)
def box_minimum(o: Objects) -> Numbers:
    """Least coordinates, x first."""
    return o.in_order(o.sums("box")[:, :, 0] * np.array(o.spacing))


@standard("Bounding Box Maximum", group=LOCATION, ilastik="Coord<Maximum>", needs=("box",), unit=1)
def box_maximum(o: Objects) -> Numbers:
    """Largest coordinates plus 1, as in ilastik: where the box ends."""
    return o.in_order((o.sums("box")[:, :, 1] + 1) * np.array(o.spacing))


@standard("Radii of the object", group=SHAPE, ilastik="RegionRadii", needs=PLACED, unit=1)
def radii(o: Objects) -> Numbers:
    """Standard deviations of the coordinates along the principal axes, largest first."""
    return np.sqrt(spread(o)[0])


@standard("Principal components of the object", group=SHAPE, ilastik="RegionAxes", needs=PLACED)
def axes(o: Objects) -> Numbers:
    """Principal axes, x first, in the columns of a matrix that is given row by row."""
    return flat(spread(o)[1])


@standard("PrincipalAxes", group="", ilastik="PrincipalAxes", channels="M", needs=("covariance",))
def principal_axes(o: Objects) -> Numbers:
    """Principal axes of the channels' intensities, in the columns of a matrix that is given row by row."""
    return flat(eigen(o.sums("covariance"))[1])


def flat(matrices: Numbers) -> Numbers:
    """Matrices (n, d, d) row by row: (n, d * d)."""
    n, d, _ = matrices.shape
    return matrices.reshape(n, d * d)


def ratio(a: NDArray[Any], b: NDArray[Any]) -> Numbers:
    """a / b; NaN for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a / b, np.float64)


def skew(n: NDArray[Any], s2: Numbers, s3: Numbers) -> Numbers:
    """Skewness from sums of powers of differences to the mean."""
    return ratio(np.sqrt(n) * s3, s2**1.5)


def excess(n: NDArray[Any], s2: Numbers, s4: Numbers) -> Numbers:
    """Excess kurtosis from sums of powers of differences to the mean."""
    return ratio(n * s4, s2**2) - 3


def pixel_size(o: Objects) -> float:
    """Area or volume of a pixel."""
    return float(np.prod(o.in_order(np.array(o.spacing))))


def eigen(matrices: Numbers) -> Eigen:
    """Eigenvalues, none below 0, and eigenvectors of sums of squares and products."""
    from gpuseg.backends._numba.principal import principal

    values, vectors = principal(matrices)
    return np.maximum(values, 0), vectors  # rounding may leave less than 0


def spread(o: Objects) -> Eigen:
    """Variances of the coordinates along the principal axes, and these axes."""
    if "spread" not in o.cache:
        n = o.sums("count")
        sums = about_mean(o, n, o.sums("center"), o.sums("scatter"))
        o.cache["spread"] = eigen(ratio(sums, n[:, None, None]))
    found: Eigen = o.cache["spread"]
    return found


def about_mean(o: Objects, n: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> Numbers:
    """Sums of products of coordinates about the mean, (n, d, d), x first, from those about the origin."""
    from gpuseg.backends._numba import principal

    size = o.in_order(np.array(o.spacing))
    return principal.about_mean(n, first, second, o.sums("box")[:, :, 0], o.ndim) * np.outer(size, size)
