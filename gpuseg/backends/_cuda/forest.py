"""The forest on the device: packed for its walk, and walked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._kernels import Kernels
from gpuseg.backends.base import ForestArrays
from gpuseg.backends.order import by_depth

THREADS = 256  # pixels of a block, as in walk.cu and classify2d.cu
EDGES = 256  # places for thresholds of a feature; the last is never one
STAGED = 48 * 1024  # bytes of nodes kept in shared memory: more would leave too little for other blocks
SUMMED = 16  # classes whose sums are kept in shared memory, 1 KiB each
NARROW_FEATURES, NARROW_PLACES = 16383, 2**18
LEAF, LEAF_NARROW, LEAF_WIDE = 255, 16383, 2**32 - 1


@dataclass(frozen=True, slots=True)
class Packed:
    """A forest in one of the packings of walk.cuh."""

    packing: str  # "Coded", "Narrow" or "Wide"
    nodes: Any  # uint32 (nodes, words)
    roots: Any  # int32 (trees,)
    leaves: Any  # float32 (rows, classes): what leaves of several classes answer
    edges: Any  # float32 (features, EDGES), or empty unless coded
    features: int  # columns it may ask for

    most: int  # bytes of dynamic shared memory that a block of this device can have

    @property
    def classes(self) -> int:
        return int(self.leaves.shape[1])

    @property
    def value_bytes(self) -> int:
        """Shared memory for the features of a block's pixels."""
        return _value_bytes(self.packing, self.features)

    def arguments(self, values: int) -> tuple[tuple[Any, ...], int]:
        """What walking kernels are given of it, and their shared memory if values take so much of it.

        What fits beside the values is kept there too: the sums of all classes, and the nodes, all or none.
        """
        sums = self.classes * THREADS * 4
        summed = self.classes <= SUMMED and values + sums <= self.most
        shared = values + summed * sums
        staged = (
            self.packing == "Coded"
            and self.nodes.nbytes <= STAGED
            and shared + self.nodes.nbytes <= self.most
        )
        given = (
            *(self.nodes, np.int32(staged * len(self.nodes)), self.roots, np.int32(len(self.roots))),
            *(self.leaves, np.int32(self.classes), self.edges, np.int32(summed)),
        )
        return given, shared + staged * self.nodes.nbytes


def _value_bytes(packing: str, features: int) -> int:
    return THREADS * 4 * (-(-features // 4) if packing == "Coded" else features)


def pack(xp: Any, forest: ForestArrays, most: int) -> Packed:
    """The smallest packing that holds the forest, on a device whose blocks have so much shared memory.

    A place in front of each tree stays empty: a tree has an odd number of nodes, so all pairs of children
    begin at even places, and a pair is fetched in one load.
    """
    tree, order = by_depth(forest)
    feature, threshold = forest.feature[order].astype(np.int64), forest.threshold[order]
    inner = feature >= 0
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    places = np.arange(len(order)) + tree[order] + 1
    roots = places[rank[forest.roots]]
    child = places[rank[forest.left[order[inner]]]] - roots[tree[order[inner]]]
    answers, mixed = _answers(forest, order[~inner])

    said = np.empty(len(order), np.int64)
    said[inner], said[~inner] = child, answers
    edges = _edges(feature[inner], threshold[inner])
    used = int(feature.max(initial=-1)) + 1
    fits = edges is not None and _value_bytes("Coded", used) <= most
    if edges is not None and fits and said.max() < 2**16:
        packing, nodes = "Coded", _coded(feature, threshold, said, edges)
    elif used < NARROW_FEATURES and said.max() < NARROW_PLACES:
        low = np.where(inner, feature, LEAF_NARROW) | said << 14
        packing, nodes = "Narrow", np.stack([threshold.view(np.uint32), low.astype(np.uint32)], 1)
    else:
        zero = np.zeros_like(said)
        wide = [threshold.view(np.uint32), np.where(inner, feature, LEAF_WIDE), said, zero]
        packing, nodes = "Wide", np.stack([part.astype(np.uint32) for part in wide], 1)
    apart = np.zeros((len(nodes) + len(roots), nodes.shape[1]), np.uint32)
    apart[places] = nodes
    return Packed(
        packing,
        xp.asarray(apart),
        xp.asarray(roots.astype(np.int32)),
        xp.asarray(mixed),
        xp.asarray(np.zeros((1, 1), np.float32) if edges is None else edges),
        used,
        most,
    )


def _answers(forest: ForestArrays, leaf: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """What each leaf says: a class, or a row of the second array beyond the classes."""
    rows, classes = forest.leaves, forest.leaves.shape[1]
    pure = (rows.max(axis=1) == 1) & (np.count_nonzero(rows, axis=1) == 1)
    says = np.where(pure, rows.argmax(axis=1), classes + np.cumsum(~pure) - 1)
    mixed = rows[~pure] if not pure.all() else np.zeros((1, classes), np.float32)
    return says[forest.left[leaf]], np.ascontiguousarray(mixed, np.float32)


def _edges(feature: NDArray[Any], threshold: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Distinct thresholds of every feature, ascending; None where codes of a byte cannot tell them apart."""
    count = int(feature.max(initial=0)) + 1
    if count > LEAF:
        return None
    order = np.lexsort((threshold, feature))
    f, t = feature[order], threshold[order]
    new = np.ones(len(f), bool)
    new[1:] = (f[1:] != f[:-1]) | (t[1:] != t[:-1])
    f, t = f[new], t[new]
    begin = np.searchsorted(f, np.arange(count + 1))
    if np.diff(begin).max(initial=0) >= EDGES:
        return None
    edges = np.full((count, EDGES), np.inf, np.float32)
    edges[f, np.arange(len(f)) - begin[f]] = t
    return edges


def _coded(
    feature: NDArray[Any], threshold: NDArray[np.float32], said: NDArray[Any], edges: NDArray[np.float32]
) -> NDArray[np.uint32]:
    inner = np.flatnonzero(feature >= 0)
    code = np.zeros(len(feature), np.int64)
    for f in np.unique(feature[inner]):
        mine = inner[feature[inner] == f]
        code[mine] = np.searchsorted(edges[f], threshold[mine])
    feature = np.where(feature >= 0, feature, LEAF)
    nodes: NDArray[np.int64] = said << 16 | feature // 4 << 10 | code << 2 | feature % 4
    return nodes.astype(np.uint32)[:, None]


def walk_planes(kernels: Kernels, planes: Any, forest: Packed, out: Any, blocks: int) -> None:
    """Fill `out` (pixels, classes) from `planes` (features, pixels). blocks: that the device runs at once."""
    count = planes.shape[1]
    kept = forest.features if forest.value_bytes <= forest.most else 0
    given, shared = forest.arguments(forest.value_bytes if kept else 0)
    kernels.launch(
        f"walk_planes<{forest.packing}>",
        (min(-(-count // THREADS), blocks),),
        (THREADS,),
        (planes, np.int64(count), np.int32(kept), *given, out),
        shared=shared,
    )
