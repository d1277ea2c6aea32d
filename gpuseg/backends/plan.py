"""Jobs as the flat arrays that kernels take."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import taps
from gpuseg.backends.base import Job

FILTERS = (
    "gaussian_smoothing",
    "laplacian_of_gaussian",
    "gaussian_gradient_magnitude",
    "difference_of_gaussians",
    "structure_tensor_eigenvalues",
    "hessian_of_gaussian_eigenvalues",
)  # what the kernels know, in the order of their `planes`
VECTORS = FILTERS[4:]
TAPS = 13  # smooth 0-2, first 3-4, second 5-7, second Gaussian 8-9, tensor: smooth 10-11, first 12


@dataclass(frozen=True, slots=True)
class Step:
    """One job: its pre-smoothing taps per axis, the taps of its filters, where its planes go."""

    channel: int
    flat: bool
    smooth: tuple[NDArray[np.float32], ...]
    taps: NDArray[np.float32]  # (axes, TAPS)
    planes: NDArray[np.int64]  # (6,), -1 for what is not wanted


def plan(jobs: Sequence[Job]) -> list[Step] | None:
    """The steps, or None if a job holds a filter that the kernels do not know."""
    if any(name not in FILTERS for job in jobs for name, _ in job.planes):
        return None
    return [_step(job) for job in jobs]


@lru_cache(maxsize=256)  # asked for every tile, and taps take a tenth of a millisecond
def _step(job: Job) -> Step:
    planes = np.full(len(FILTERS), -1, np.int64)
    for name, first in job.planes:
        planes[FILTERS.index(name)] = first
    smooth = tuple(taps.half(s, 0, taps.SMOOTH_WINDOW) for s in job.smooth)
    return Step(job.channel, job.flat, smooth, np.stack([_filter_taps(s) for s in job.sigma]), planes)


def _filter_taps(sigma: float) -> NDArray[np.float32]:
    def half(ratio: float, order: int, count: int) -> NDArray[np.float32]:
        right = taps.half(ratio * sigma, order, taps.FILTER_WINDOW)
        return (
            np.pad(right, (0, 3 - len(right)))[:count]
            if order != 1
            else np.pad(right, (0, 3 - len(right)))[1 : 1 + count]
        )

    return np.concatenate(
        [half(1, 0, 3), half(1, 1, 2), half(1, 2, 3), half(0.66, 0, 2), half(0.5, 0, 2), half(0.5, 1, 1)]
    )


def plane_count(steps: Sequence[Step]) -> int:
    """Number of planes that the steps write."""
    return sum(
        sum(len(s.smooth) if FILTERS[i] in VECTORS else 1 for i in np.flatnonzero(s.planes >= 0))
        for s in steps
    )
