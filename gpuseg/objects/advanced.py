"""Standard Object Features that ilastik's dialog hides: moments, along principal axes too.

They are measured if asked for by name. Where pixels themselves are looked at, this happens on the host, in
one pass of NumPy for all objects.
"""

from functools import partial
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._reference_regions import FOURS, TRIPLES, label_ranges
from gpuseg.objects.context import Objects
from gpuseg.objects.standard import (
    PLACED,
    Numbers,
    eigen,
    excess,
    mean,
    ratio,
    skew,
    spread,
    standard,
)
from gpuseg.objects.table import INTENSITY, LOCATION, SHAPE

COLORED = ("count", "sum", "covariance")
advanced = partial(standard, advanced=True)
pixelwise = partial(advanced, local=True)


@advanced(
    "Sum of squared deviations",
    group=INTENSITY,
    ilastik="Central<PowerSum<2>>",
    channels="SM",
    needs=("moments",),
)
def power_sum_2(o: Objects) -> Numbers:
    """Of intensity from its mean."""
    return o.sums("moments")[..., 0]


@advanced(
    "Sum of cubed deviations",
    group=INTENSITY,
    ilastik="Central<PowerSum<3>>",
    channels="SM",
    needs=("moments",),
)
def power_sum_3(o: Objects) -> Numbers:
    """Of intensity from its mean."""
    return o.sums("moments")[..., 1]


@advanced(
    "Sum of deviations to the fourth",
    group=INTENSITY,
    ilastik="Central<PowerSum<4>>",
    channels="SM",
    needs=("moments",),
)
def power_sum_4(o: Objects) -> Numbers:
    """Of intensity from its mean."""
    return o.sums("moments")[..., 2]


@advanced("Sum of coordinates", group=LOCATION, ilastik="Coord<PowerSum<1>>", needs=("center",), unit=1)
def sum_of_coordinates(o: Objects) -> Numbers:
    """x first."""
    return o.in_order(o.sums("center") * np.array(o.spacing))


@advanced(
    "Sum of squares along principal axes",
    group=SHAPE,
    ilastik="Coord<Principal<PowerSum<2>>>",
    needs=PLACED,
    unit=2,
)
def axis_power_sum_2(o: Objects) -> Numbers:
    """Of coordinates from the centre."""
    return np.asarray(spread(o)[0] * o.sums("count")[:, None])


@advanced(
    "Sum of cubes along principal axes",
    group=SHAPE,
    ilastik="Coord<Principal<PowerSum<3>>>",
    needs=(*PLACED, "third"),
    unit=3,
)
def axis_power_sum_3(o: Objects) -> Numbers:
    """Of coordinates from the centre."""
    return _along(o, TRIPLES, o.sums("third"), spread(o)[1])


@advanced(
    "Sum of fourth powers along principal axes",
    group=SHAPE,
    ilastik="Coord<Principal<PowerSum<4>>>",
    needs=(*PLACED, "fourth"),
    unit=4,
)
def axis_power_sum_4(o: Objects) -> Numbers:
    """Of coordinates from the centre."""
    return _along(o, FOURS, o.sums("fourth"), spread(o)[1])


@advanced(
    "Skewness along principal axes",
    group=SHAPE,
    ilastik="Coord<Principal<Skewness>>",
    needs=(*PLACED, "third"),
)
def axis_skewness(o: Objects) -> Numbers:
    """Of coordinates; NaN along an axis without extent."""
    return skew(o.sums("count")[:, None], axis_power_sum_2(o), axis_power_sum_3(o))


@advanced(
    "Kurtosis along principal axes",
    group=SHAPE,
    ilastik="Coord<Principal<Kurtosis>>",
    needs=(*PLACED, "fourth"),
)
def axis_kurtosis(o: Objects) -> Numbers:
    """Excess kurtosis of coordinates; NaN along an axis without extent."""
    return excess(o.sums("count")[:, None], axis_power_sum_2(o), axis_power_sum_4(o))


@advanced(
    "Variance along principal axes",
    group=SHAPE,
    ilastik="Coord<DivideByCount<Principal<PowerSum<2>>>>",
    needs=PLACED,
    unit=2,
)
def axis_variance(o: Objects) -> Numbers:
    """Squares of the radii."""
    return spread(o)[0]


@advanced(
    "Darkest pixel",
    group=LOCATION,
    ilastik="Coord<ArgMinWeight>",
    channels="S",
    needs=("extreme_places",),
    unit=1,
)
def darkest(o: Objects) -> Numbers:
    """Its coordinates, x first; of equally dark ones the first in scan order."""
    return o.in_order(o.sums("extreme_places")[:, 0, 0] * np.array(o.spacing))


@advanced(
    "Brightest pixel",
    group=LOCATION,
    ilastik="Coord<ArgMaxWeight>",
    channels="S",
    needs=("extreme_places",),
    unit=1,
)
def brightest(o: Objects) -> Numbers:
    """Its coordinates, x first; of equally bright ones the first in scan order."""
    return o.in_order(o.sums("extreme_places")[:, 0, 1] * np.array(o.spacing))


@advanced(
    "Minimum of all objects",
    group=INTENSITY,
    ilastik="Global<Minimum>",
    channels="S",
    needs=("count", "extremes"),
)
def global_minimum(o: Objects) -> Numbers:
    """The same for each."""
    return np.repeat(label_ranges(o.sums("extremes"), o.sums("count"))[:1, 0], o.count)


@advanced(
    "Maximum of all objects",
    group=INTENSITY,
    ilastik="Global<Maximum>",
    channels="S",
    needs=("count", "extremes"),
)
def global_maximum(o: Objects) -> Numbers:
    """The same for each."""
    return np.repeat(label_ranges(o.sums("extremes"), o.sums("count"))[:1, 1], o.count)


@advanced(
    "Variance along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<Variance>",
    channels="M",
    needs=COLORED,
)
def color_variance(o: Objects) -> Numbers:
    """Of intensities along the principal axes of the channels, largest first."""
    return ratio(color_power_sum_2(o), o.sums("count")[:, None])


@advanced(
    "Sum of squares along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<PowerSum<2>>",
    channels="M",
    needs=COLORED,
)
def color_power_sum_2(o: Objects) -> Numbers:
    """Of intensities from their mean."""
    return eigen(o.sums("covariance"))[0]


@pixelwise(
    "Sum of cubes along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<PowerSum<3>>",
    channels="M",
    needs=COLORED,
)
def color_power_sum_3(o: Objects) -> Numbers:
    """Of intensities from their mean."""
    index, along = _colors(o)
    return added(index, along**3, o.count)


@pixelwise(
    "Sum of fourth powers along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<PowerSum<4>>",
    channels="M",
    needs=COLORED,
)
def color_power_sum_4(o: Objects) -> Numbers:
    """Of intensities from their mean."""
    index, along = _colors(o)
    return added(index, along**4, o.count)


@pixelwise(
    "Skewness along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<Skewness>",
    channels="M",
    needs=COLORED,
)
def color_skewness(o: Objects) -> Numbers:
    """Of intensities."""
    return skew(o.sums("count")[:, None], color_power_sum_2(o), color_power_sum_3(o))


@pixelwise(
    "Kurtosis along PrincipalAxes",
    group=INTENSITY,
    ilastik="Principal<Kurtosis>",
    channels="M",
    needs=COLORED,
)
def color_kurtosis(o: Objects) -> Numbers:
    """Excess kurtosis of intensities."""
    return excess(o.sums("count")[:, None], color_power_sum_2(o), color_power_sum_4(o))


@pixelwise(
    "Minimum along PrincipalAxes", group=INTENSITY, ilastik="Principal<Minimum>", channels="M", needs=COLORED
)
def color_minimum(o: Objects) -> Numbers:
    """Of intensities from their mean."""
    return _color_extremes(o, np.minimum)


@pixelwise(
    "Maximum along PrincipalAxes", group=INTENSITY, ilastik="Principal<Maximum>", channels="M", needs=COLORED
)
def color_maximum(o: Objects) -> Numbers:
    """Of intensities from their mean."""
    return _color_extremes(o, np.maximum)


def _along(o: Objects, products: tuple[tuple[int, ...], ...], sums: Numbers, axes: Numbers) -> Numbers:
    """Sums of powers of coordinates along axes (n, d, d), from those of all products of z, y, x."""
    parts = np.zeros((o.count, 3, o.ndim))
    parts[:, 3 - o.ndim :] = axes[:, ::-1]
    parts *= np.array(o.spacing)[:, None]
    total = np.zeros((o.count, o.ndim))
    for k, which in enumerate(products):
        times = factorial(len(which)) / np.prod([factorial(which.count(a)) for a in range(3)])
        total += times * sums[:, k, None] * parts[:, which].prod(1)
    return total


def _colors(o: Objects) -> tuple[NDArray[Any], Numbers]:
    """Object of each pixel, and its intensities from the mean along the principal axes of the channels."""
    raw = o.host_raw
    if raw is None:
        return np.zeros(0, np.intp), np.zeros((0, 0))
    at = np.nonzero(o.host_labels > 0)
    index = o.host_labels[at] - 1
    away = np.stack([channel[at] for channel in raw], -1) - mean(o)[index]
    return index, np.einsum("pi,pij->pj", away, eigen(o.sums("covariance"))[1][index])


def _color_extremes(o: Objects, function: np.ufunc) -> Numbers:
    index, along = _colors(o)
    order = np.argsort(index, kind="stable")
    there, start = np.unique(index[order], return_index=True)
    made = np.full((o.count, along.shape[1]), np.nan)
    made[there] = function.reduceat(along[order], start) if len(start) else 0
    return made


def added(index: NDArray[Any], parts: Numbers, count: int) -> Numbers:
    return np.stack([np.bincount(index, column, count).astype(np.float64) for column in parts.T], 1)
