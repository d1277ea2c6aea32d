"""Filter taps: one definition for every backend (SPEC 1.4; fastfilters and vigra agree on it)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

FILTER_WINDOW = 2.0  # kernels of the filters end at 2 sigma
LEAST = 0.1
SMOOTH_WINDOW = 3.5  # kernels of the pre-smoothing end at 3.5 sigma


def radius(sigma: float, window: float) -> int:
    """Taps on each side of the centre; at least one, so that a derivative exists."""
    return max(1, int(np.floor(window * sigma + 0.5)))


@cache
def half(sigma: float, order: int, window: float) -> NDArray[np.float32]:
    """Taps 0..radius of the sampled Gaussian or its derivative, read-only float32.

    Orders 0 and 2 are even, order 1 is odd. Normalised to answer 1 to a constant, to the ramp x
    and to x**2/2; order 2 answers 0 to a constant. Without sigma**order: scales are not made comparable.
    """
    r = radius(sigma, window)
    sigma = max(sigma, LEAST)  # below, exp underflows; derivatives of radius 1 are the same for all of these
    x = np.arange(-r, r + 1, dtype=np.float64)
    g = np.exp(-(x**2) / (2 * sigma**2))
    if order == 0:
        k = g / g.sum()
    elif order == 1:
        k = x * g
        k /= (x * k).sum()
    else:
        k = (x**2 / sigma**2 - 1) * g
        k -= k.mean()
        k /= (x**2 * k).sum() / 2
    taps: NDArray[np.float32] = k[r:].astype(np.float32)
    taps.flags.writeable = False
    return taps
