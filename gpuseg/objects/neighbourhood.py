"""Intensities around objects: of the ring that surrounds each, and of the object with its ring (SPEC 5.4).

The ring is what lies nearer than M, the largest margin, to a pixel of the object, in steps of
floor(M / margin) along each axis, and no farther from its bounding box than the margins. Pixels of other
objects belong to it. An object that fills the image has no ring: its sums are 0, the rest is NaN.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.rings import ring_sums
from gpuseg.errors import InputError
from gpuseg.objects.context import Objects
from gpuseg.objects.standard import excess, ratio, skew
from gpuseg.objects.table import INTENSITY, Channels, Formula, object_feature

Numbers = NDArray[Any]
Sums = dict[str, Numbers]
Of = Callable[[Sums], Numbers]  # sums of one region of each object, by name -> a row for each
REGIONS = ("in neighborhood", "in object and neighborhood")


def rings(o: Objects) -> Sums:
    """Sums over the rings and over objects with their rings, by the names of region sums: (2, n, ...)."""
    if "rings" not in o.cache:
        o.cache["rings"] = ring_sums(o.backend, o.labels, o.raw, o.sums("box"), _margin(o))
    found: Sums = o.cache["rings"]
    return found


def _margin(o: Objects) -> tuple[int, int, int]:
    """Pixels along z, y, x; InputError if they leave no neighbourhood."""
    z, y, x = o.margin if o.ndim == 3 else (0, *o.margin[1:])
    if max(z, y, x) < 2:
        raise InputError(
            f"a margin of {max(z, y, x)} leaves objects no neighbourhood: it is what lies nearer than that",
            hint="give a margin from 2 pixels, or leave features in the neighborhood out",
        )
    return z, y, x


def _mean(s: Sums) -> Numbers:
    """Mean value."""
    return ratio(s["sum"], s["count"][:, None])


def _variance(s: Sums) -> Numbers:
    """Mean square of what values are above their mean."""
    return ratio(s["moments"][..., 0], s["count"][:, None])


def _skewness(s: Sums) -> Numbers:
    """Skewness of the values."""
    return skew(s["count"][:, None], s["moments"][..., 0], s["moments"][..., 1])


def _kurtosis(s: Sums) -> Numbers:
    """Excess kurtosis: 0 of a normal distribution."""
    return excess(s["count"][:, None], s["moments"][..., 0], s["moments"][..., 2])


def _minimum(s: Sums) -> Numbers:
    """Least value."""
    return s["extremes"][..., 0]


def _maximum(s: Sums) -> Numbers:
    """Largest value."""
    return s["extremes"][..., 1]


def _total(s: Sums) -> Numbers:
    """Sum of the values."""
    return s["sum"]


def _histogram(s: Sums) -> Numbers:
    """Values in 64 equal bins between the least and the largest."""
    return s["histogram"]


def _covariance(s: Sums) -> Numbers:
    """Covariance of each channel with each."""
    return ratio(s["covariance"], s["count"][:, None, None])


ROWS: tuple[tuple[str, str, str, Channels, Of], ...] = (  # id, title, ilastik's id, channels, from sums
    ("mean", "Mean Intensity", "Mean", "SM", _mean),
    ("variance", "Variance of Intensity", "Variance", "SM", _variance),
    ("skewness", "Skewness of Intensity", "Skewness", "SM", _skewness),
    ("kurtosis", "Kurtosis of Intensity", "Kurtosis", "SM", _kurtosis),
    ("minimum", "Minimum intensity", "Minimum", "SM", _minimum),
    ("maximum", "Maximum intensity", "Maximum", "SM", _maximum),
    ("total", "Total Intensity", "Sum", "SM", _total),
    ("histogram", "Histogram of Intensity", "Histogram", "S", _histogram),
    ("covariance", "Covariance of Channel Intensity", "Covariance", "M", _covariance),
)


def _formula(name: str, region: int, of: Of) -> Formula:
    def formula(o: Objects) -> Numbers:
        values = of({key: sums[region] for key, sums in rings(o).items()})
        return np.asarray(values, np.float64).reshape(o.count, prod(values.shape[1:]))

    formula.__name__ = name
    formula.__doc__ = of.__doc__
    return formula


for _region, _where in enumerate(REGIONS):
    for _name, _title, _ilastik, _channels, _of in ROWS:
        object_feature(
            f"{_title} {_where}",
            group=INTENSITY,
            family="Standard Object Features",
            ilastik=f"{_ilastik} {_where}",
            channels=_channels,
            needs=("box",),
            local=True,
        )(_formula(f"{_name}_{_where.replace(' ', '_')}", _region, _of))
