"""Label images: objects of a binary or multi-valued image, or given ids numbered consecutively."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, reorder
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend
from gpuseg.errors import InputError
from gpuseg.objects import sizes
from gpuseg.objects.pixels import Pixels, labelled, numbered

Kind = Literal["components", "ids"]


@dataclass(frozen=True, slots=True, eq=False)
class Relabelled:
    """Objects of an image, numbered from 1 at each time point, and the value each had before."""

    labels: NDArray[np.int32]  # axes of the image
    count: NDArray[np.int64]  # (time points,)
    original: tuple[NDArray[np.int64], ...]  # of each time point: (objects,)
    axes: str


def relabel(
    image: Any,
    *,
    axes: str | None = None,
    kind: Kind = "components",
    connectivity: int = 1,
    backend: str = "auto",
) -> Relabelled:
    """Objects of an image of integers or bools, 0 the background; time points are independent.

    kind: "components" are connected pixels of equal value, in scan order of their first pixels. "ids" keeps
    what has the same value together, also where it does not touch, in ascending order of the values.
    LabelError for floats and negative values.

    >>> relabel(np.array([[7, 0, 7], [0, 0, 3]]), kind="ids").labels
    array([[2, 0, 2],
           [0, 0, 1]], dtype=int32)
    """
    if kind not in ("components", "ids"):
        raise InputError(f"kind {kind!r}", hint="one of 'components', 'ids'")
    if connectivity not in (1, 2, 3):
        raise InputError(f"connectivity {connectivity!r}", hint="one of 1, 2, 3")
    pixels = labelled(image, axes)
    b = get_backend(backend)
    step = _components if kind == "components" else _ids
    found = [step(b, pixels, t, connectivity) for t in range(pixels.sizes["t"])]
    labels = reorder(np.stack([labels for labels, _ in found])[..., None], "t" + SPACE + "c", pixels.axes)
    return Relabelled(
        np.ascontiguousarray(labels),
        np.array([len(original) for _, original in found], np.int64),
        tuple(original for _, original in found),
        pixels.axes,
    )


def _components(
    b: Backend, pixels: Pixels, t: int, connectivity: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """By value as numbered: components take 32-bit values at most, ids may be larger."""
    values, known = numbered(pixels.integers(t, pixels.whole))
    here = b.asarray(values)
    labels, count = b.components(here, connectivity)
    return b.to_numpy(labels), known[sizes.picked(b, labels, count, here) - 1]


def _ids(
    b: Backend, pixels: Pixels, t: int, connectivity: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    return numbered(pixels.integers(t, pixels.whole))
