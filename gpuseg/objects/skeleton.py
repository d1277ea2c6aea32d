"""What the lines in the middle of objects are like, as vigra measures them (SPEC 5.6); images of one slice.

A tree of lines runs through the object, its branches reach into corners; those shallower than a fifth of
the main one are pruned. If an object has several parts, that of the last pixel in scan order is measured.
Objects of a pixel or two have none: lengths and counts are 0 as in vigra, places NaN. One that fills the
image has no border to be in the middle of: all is NaN.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.objects.context import Objects
from gpuseg.objects.table import LOCATION, SHAPE, Formula, object_feature

Column = Callable[[Objects], NDArray[Any]]


def skeletons(o: Objects) -> NDArray[np.float64]:
    """All numbers of the skeletons, (n, 12), computed once (backends/_numba/skeleton.py has their order)."""
    from gpuseg.backends._numba import skeleton  # takes a second to import

    if "skeletons" not in o.cache:
        o.cache["skeletons"] = skeleton.skeletons(o.host_labels[0], o.sums("box")[:, 1:], o.spacing[1:])
    result: NDArray[np.float64] = o.cache["skeletons"]
    return result


def _place(o: Objects, column: int) -> NDArray[np.float64]:
    """x and y of a point, in units of length."""
    place: NDArray[np.float64] = skeletons(o)[:, column : column + 2] * np.asarray(o.spacing)[:0:-1]
    return place


def _of_skeletons(
    title: str,
    ilastik: str,
    *,
    group: str = SHAPE,
    unit: int | Literal["d"] = 1,
    advanced: bool = False,
) -> Callable[[Formula], Formula]:
    return object_feature(
        title,
        group=group,
        family="2D Skeleton Features",
        ilastik=ilastik,
        ndims=(2,),
        needs=("box",),
        unit=unit,
        local=True,
        advanced=advanced,
    )


@_of_skeletons("Number of Branches", "Branch Count", unit=0)
def branch_count(o: Objects) -> NDArray[Any]:
    """Ends of the skeleton that survive pruning and are not part of a cycle."""
    return skeletons(o)[:, 0]


@_of_skeletons("Number of Holes", "Hole Count", unit=0)
def hole_count(o: Objects) -> NDArray[Any]:
    """Cycles of the skeleton that go around something else."""
    return skeletons(o)[:, 1]


@_of_skeletons("Diameter", "Diameter")
def skeleton_diameter(o: Objects) -> NDArray[Any]:
    """Length of the longest of the shortest paths along the skeleton."""
    return skeletons(o)[:, 2]


@_of_skeletons("Euclidean Diameter", "Euclidean Diameter")
def skeleton_euclidean_diameter(o: Objects) -> NDArray[Any]:
    """Straight distance between the ends of that path."""
    return skeletons(o)[:, 3]


@_of_skeletons("Length of the Skeleton", "Total Length")
def skeleton_length(o: Objects) -> NDArray[Any]:
    """Lengths of all branches, each up to the centre along the main path, and of all cycles."""
    return skeletons(o)[:, 4]


@_of_skeletons("Average Branch Length", "Average Length")
def branch_length(o: Objects) -> NDArray[Any]:
    """Mean length of the branches."""
    return skeletons(o)[:, 5]


@_of_skeletons("Center of the Skeleton", "Skeleton Center", group=LOCATION)
def skeleton_center(o: Objects) -> NDArray[Any]:
    """Point half way along the longest path."""
    return _place(o, 6)


@_of_skeletons("Terminal 1", "Terminal 1", group=LOCATION, advanced=True)
def skeleton_terminal_1(o: Objects) -> NDArray[Any]:
    """One end of the longest path."""
    return _place(o, 8)


@_of_skeletons("Terminal 2", "Terminal 2", group=LOCATION, advanced=True)
def skeleton_terminal_2(o: Objects) -> NDArray[Any]:
    """Its other end."""
    return _place(o, 10)
