"""The contract of a backend: what arithmetic the rest of gpuseg may ask for.

shapes     image   float32 (c, z, y, x); a plane or volume inside it is (y, x) or (z, y, x)
           planes  float32 (features, z, y, x)
           proba   float32 (z, y, x, classes)
borders    mirrored without repeating the edge sample (index -1 -> 1), the array's edge
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gpuseg.tiles import Region

Array = Any  # numpy.ndarray on "cpu", cupy.ndarray on "cuda"; the two never meet
Sigmas = tuple[float, ...]  # one per filtered axis: (y, x) or (z, y, x)


@dataclass(frozen=True, slots=True)
class Job:
    """Filters that share a pre-smoothed channel: one scale of the feature table."""

    channel: int
    flat: bool  # each z slice by itself
    smooth: Sigmas  # pre-smoothing, window SMOOTH_WINDOW
    sigma: Sigmas  # the filters themselves, window FILTER_WINDOW
    planes: tuple[tuple[str, int], ...]  # (filter id, its first plane in the stack)


SUMS = {  # name of region sums -> dtype, shape, meaning; axes in the order z, y, x
    "count": "int64 (n,): pixels",
    "box": "int64 (n, 3, 2): least and largest coordinate",
    "center": "int64 (n, 3): sum of coordinates",
    "scatter": "int64 (n, 6): sums of products of coordinates zz zy zx yy yx xx",
    "third": "float64 (n, 10): of coordinates about the centroid: zzz zzy zzx zyy zyx zxx yyy yyx yxx xxx",
    "fourth": "float64 (n, 15): likewise, products of four in that order",
    "extremes": "float32 (n, c, 2): least and largest value",
    "extreme_places": "int64 (n, c, 2, 3): where they are, the first in scan order",
    "sum": "float64 (n, c): of values",
    "moments": "float64 (n, c, 3): sums of (value - mean) to the powers 2, 3, 4",
    "covariance": "float64 (n, c, c): sums of products of (value - mean) of two channels",
    "histogram": "int64 (n, c, 64): values in equal bins over `ranges`, the largest in the last bin",
    "weighted": "float64 (n, c, 9): sums of value * coordinate (3), of value * product of coordinates (6)",
}


class ForestArrays(Protocol):
    """What a backend needs of a trained forest; `forests.arrays.Forest` is one."""

    @property
    def feature(self) -> NDArray[Any]: ...  # int32 (nodes,): column to test, -1 in a leaf
    @property
    def threshold(self) -> NDArray[Any]: ...  # float32 (nodes,): value < threshold: `left`, else `left + 1`
    @property
    def left(self) -> NDArray[Any]: ...  # int32 (nodes,): first child; in a leaf its row of `leaves`
    @property
    def roots(self) -> NDArray[Any]: ...  # int32 (trees,)
    @property
    def leaves(self) -> NDArray[Any]: ...  # float32 (rows, classes): class probabilities


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are to be grown."""

    classes: int
    trees: int
    tried: int  # features looked at in a node before it may become a leaf
    seed: int  # of counter-based draws: it decides the trees, threads and devices do not
    threads: int | None = None  # of the CPU; None for all


class Grown(NamedTuple):
    """Trees as they grew: one after the other, each breadth-first, children next to each other."""

    feature: NDArray[np.int32]  # (nodes,) feature to test, -1 in a leaf
    code: NDArray[np.uint8]  # (nodes,) codes up to this one go to `left`, others to `left + 1`
    left: NDArray[np.int32]  # (nodes,) counted from the tree's first node
    counts: NDArray[np.uint32]  # (nodes, classes) bootstrapped rows that reached the node
    sizes: NDArray[np.int32]  # (trees,) nodes
    leaf: NDArray[np.int32]  # (trees, rows) node that a row ends in, -1 where the tree learned from it


class Backend(Protocol):
    """Fewer than 20 primitives. `cpu.py` is their meaning; any other backend agrees with it."""

    name: str

    def asarray(self, x: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        """Bring an array here."""

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Bring an array back to the host."""

    def gaussian(self, image: Array, sigma: Sigmas, order: Sequence[int] = (), window: float = ...) -> Array:
        """Derivative of the given order per axis of the smoothed plane or volume (SPEC 1.4)."""

    def magnitude(self, parts: Sequence[Array]) -> Array:
        """Square root of the sum of squares."""

    def eigvals_sym(self, upper: Sequence[Array]) -> list[Array]:
        """Eigenvalues, largest first, of symmetric matrices given row by row: xx xy yy, or 6 planes."""

    def bank(self, image: Array, jobs: Sequence[Job], core: Region, out: Array | None = None) -> Array | None:
        """All planes of `jobs` at the pixels of `core` (zyx) in one go, or None: use the formulas."""

    def forest_proba(self, planes: Array, forest: ForestArrays) -> Array:
        """Mean leaf probabilities of every pixel over all trees."""

    def image_proba(
        self, image: Array, jobs: Sequence[Job], core: Region, forest: ForestArrays
    ) -> Array | None:
        """`forest_proba` of `bank` without ever storing the planes, or None: do it in two steps."""

    def likeliest(self, proba: Array) -> Array:
        """Column of the largest probability, the first of equals: uint8 (...) of float32 (..., classes)."""

    def doubt(self, proba: Array) -> Array:
        """1 less the lead of the largest probability over the next: float32 (...); 0 of a single class."""

    def integers(self, values: Array, dtype: DTypeLike) -> Array:
        """float32 of 0..1 stretched over uint8 or uint16, rounded half to even."""

    def components(self, image: Array, connectivity: int = 1) -> tuple[Array, int]:
        """Connected components of equal non-zero value: int32 (z, y, x), and how many there are.

        Numbered from 1 in scan order (x fastest) of their first pixels. image: bool or integers (z, y, x).
        connectivity: neighbours share a face (1), also an edge (2), also a corner (3, in volumes).
        """

    def flood(self, cost: Array, seeds: Array, limit: float) -> Array:
        """Seeded watershed as vigra's: int32 (z, y, x); growth ends beyond `limit` (SPEC 4.2)."""

    def region_sums(
        self,
        labels: Array,
        count: int,
        values: Array | None,
        wants: Collection[str],
        ranges: NDArray[Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Sums over the pixels of each of the objects 1 to n = count, on the host, by name (`SUMS`).

        labels: int32 (z, y, x), 0 is background; values: float32 (c, z, y, x). ranges: of histograms,
        float64 (c, 2) for all objects or (n, c, 2); by default those of all labelled pixels (SPEC 5.3).
        """

    def rows(self, planes: Array, where: NDArray[np.intp]) -> NDArray[np.float32]:
        """All planes at single pixels, on the host: (n, features); where: (n, 3) z, y, x in `planes`."""

    def grow(self, codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
        """Trees of bootstrapped rows; codes: (features, rows), target: (rows,) class of each."""

    def room(self, floats: int) -> int:
        """Pixels to compute at once, if each has so many float32 that are read or answered."""

    def free(self) -> int:
        """Bytes there are for more arrays."""

    def release(self) -> None:
        """Give back memory that was kept for the next call."""
