"""Objects that touch, parted where they are thin: a watershed of the distance to their edge."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend


def split_touching(b: Backend, image: Array, least: float) -> tuple[Array, int]:
    """Labels of the parts of what is non-zero, by value, and how many there are: int32 (z, y, x).

    A part has a peak of the distance to the edge that is `least` pixels higher than the neck to a wider
    part. Parts hang together by faces.
    """
    host = b.to_numpy(image)
    distance = np.zeros(host.shape, np.float32)
    for value in _values(host):
        own = host == value
        distance += _depth(own) * own
    from gpuseg.backends._numba.peaks import prominent

    seeds = prominent(distance, least)
    if not (count := int(seeds.max(initial=0))):
        return b.asarray(seeds), 0
    return _grow(b, image, host, distance, seeds), count


def _values(image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype == np.bool_:
        return np.ones(1, np.bool_)
    found = np.unique(image)
    return found[found > 0]


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest one outside; the border of the image is no edge."""
    from scipy import ndimage

    if mask.all():  # there is no outside to be far from
        return np.ones(mask.shape, np.float32)
    return np.asarray(ndimage.distance_transform_edt(mask), np.float32)


def _grow(
    b: Backend, image: Array, host: NDArray[Any], distance: NDArray[np.float32], seeds: NDArray[np.int32]
) -> Array:
    """Seeds grown downhill over their own value; what lies outside costs too much."""
    cost = np.where(distance > 0, -distance, np.float32(np.inf))
    values = _values(host)
    if len(values) == 1:
        labels = b.flood(b.asarray(cost), b.asarray(seeds), 0.0)
        return labels * (image != 0)
    labels = b.asarray(np.zeros(host.shape, np.int32))
    for value in values:  # values that touch must not flow into each other
        own = host == value
        grown = b.flood(
            b.asarray(np.where(own, cost, np.inf).astype(np.float32)), b.asarray(seeds * own), 0.0
        )
        labels = labels + grown * (image == value)
    return labels
