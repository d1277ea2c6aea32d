"""Standard Object Features that ilastik's dialog hides: of mass, for which intensities are taken.

They are NaN, or say nothing, where intensities add up to 0 or some are negative. Moments of third and fourth
order look at the pixels, on the host, in one pass of NumPy for all objects.
"""

import numpy as np

from gpuseg.objects.advanced import added, advanced, pixelwise
from gpuseg.objects.context import Objects
from gpuseg.objects.standard import Eigen, Numbers, about_mean, eigen, excess, flat, ratio, skew
from gpuseg.objects.table import INTENSITY, LOCATION

WEIGHED = ("count", "box", "sum", "weighted")


@advanced("Weight", group=INTENSITY, ilastik="Weighted<PowerSum<0>>", channels="S", needs=("sum",))
def weight(o: Objects) -> Numbers:
    """Sum of intensities."""
    return o.sums("sum")[:, 0]


@advanced(
    "Weighted sum of coordinates",
    group=LOCATION,
    ilastik="Weighted<Coord<PowerSum<1>>>",
    channels="S",
    needs=WEIGHED,
    unit=1,
)
def weighted_sum_of_coordinates(o: Objects) -> Numbers:
    """x first."""
    return o.in_order(o.sums("weighted")[:, 0, :3] * np.array(o.spacing))


@advanced(
    "Weighted center", group=LOCATION, ilastik="Weighted<RegionCenter>", channels="S", needs=WEIGHED, unit=1
)
def weighted_center(o: Objects) -> Numbers:
    """Centre of mass, x first."""
    return ratio(weighted_sum_of_coordinates(o), weight(o)[:, None])


@advanced(
    "Weighted radii", group=INTENSITY, ilastik="Weighted<RegionRadii>", channels="S", needs=WEIGHED, unit=1
)
def weighted_radii(o: Objects) -> Numbers:
    """Standard deviations of the mass along its principal axes, largest first."""
    return np.sqrt(_weighted_spread(o)[0])


@advanced("Weighted axes", group=INTENSITY, ilastik="Weighted<RegionAxes>", channels="S", needs=WEIGHED)
def weighted_axes(o: Objects) -> Numbers:
    """Principal axes of the mass, x first, in the columns of a matrix that is given row by row."""
    return flat(_weighted_spread(o)[1])


@advanced(
    "Weighted variance along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<DivideByCount<Principal<PowerSum<2>>>>>",
    channels="S",
    needs=WEIGHED,
    unit=2,
)
def weighted_variance(o: Objects) -> Numbers:
    """Squares of the weighted radii."""
    return _weighted_spread(o)[0]


@advanced(
    "Weighted sum of squares along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<Principal<PowerSum<2>>>>",
    channels="S",
    needs=WEIGHED,
    unit=2,
)
def weighted_power_sum_2(o: Objects) -> Numbers:
    """Of coordinates from the centre of mass."""
    return np.asarray(_weighted_spread(o)[0] * weight(o)[:, None])


@pixelwise(
    "Weighted sum of cubes along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<Principal<PowerSum<3>>>>",
    channels="S",
    needs=WEIGHED,
    unit=3,
)
def weighted_power_sum_3(o: Objects) -> Numbers:
    """Of coordinates from the centre of mass."""
    return _weighted_powers(o, 3)


@pixelwise(
    "Weighted sum of fourth powers along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<Principal<PowerSum<4>>>>",
    channels="S",
    needs=WEIGHED,
    unit=4,
)
def weighted_power_sum_4(o: Objects) -> Numbers:
    """Of coordinates from the centre of mass."""
    return _weighted_powers(o, 4)


@pixelwise(
    "Weighted skewness along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<Principal<Skewness>>>",
    channels="S",
    needs=WEIGHED,
)
def weighted_skewness(o: Objects) -> Numbers:
    """Of the mass."""
    return skew(weight(o)[:, None], weighted_power_sum_2(o), weighted_power_sum_3(o))


@pixelwise(
    "Weighted kurtosis along principal axes",
    group=INTENSITY,
    ilastik="Weighted<Coord<Principal<Kurtosis>>>",
    channels="S",
    needs=WEIGHED,
)
def weighted_kurtosis(o: Objects) -> Numbers:
    """Excess kurtosis of the mass."""
    return excess(weight(o)[:, None], weighted_power_sum_2(o), weighted_power_sum_4(o))


def _weighted_spread(o: Objects) -> Eigen:
    """Variances of the mass along its principal axes, and these axes."""
    n, sums = weight(o), o.sums("weighted")[:, 0]
    return eigen(ratio(about_mean(o, n, sums[:, :3], sums[:, 3:]), n[:, None, None]))


def _weighted_powers(o: Objects, power: int) -> Numbers:
    """Sums of mass times coordinate from its centre to a power, along the principal axes."""
    raw = o.host_raw
    if raw is None:
        return np.full((o.count, o.ndim), np.nan)
    at = np.nonzero(o.host_labels > 0)
    index = o.host_labels[at] - 1
    away = o.in_order(np.stack(at, 1) * np.array(o.spacing)) - weighted_center(o)[index]
    along = np.einsum("pi,pij->pj", away, _weighted_spread(o)[1][index])
    return added(index, raw[0][at][:, None].astype(np.float64) * along**power, o.count)
