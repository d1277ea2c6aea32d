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

    @property
    def classes(self) -> int:
        return int(self.leaves.shape[1])

    @property
    def value_bytes(self) -> int:
        """Shared memory for the features of a block's pixels."""
        return THREADS * 4 * (-(-self.features // 4) if self.packing == "Coded" else self.features)

    @property
    def staged(self) -> int:
        """Nodes that blocks keep in shared memory: all of them or none."""
        fits = self.packing == "Coded" and self.nodes.nbytes <= STAGED
        return len(self.nodes) if fits else 0

    @property
    def summed(self) -> bool:
        """Whether blocks keep the sums of all classes in shared memory."""
        return self.classes <= SUMMED

    def shared(self, values: int) -> int:
        """Bytes of dynamic shared memory of a block whose values take so many."""
        return self.staged * self.nodes.shape[1] * 4 + values + self.summed * self.classes * THREADS * 4

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What walking kernels are given of it."""
        return (
            *(self.nodes, np.int32(self.staged), self.roots, np.int32(len(self.roots))),
            *(self.leaves, np.int32(self.classes), self.edges, np.int32(self.summed)),
        )


def pack(xp: Any, forest: ForestArrays) -> Packed:
    """The smallest packing that holds the forest."""
    tree, order = by_depth(forest)
    feature, threshold = forest.feature[order], forest.threshold[order]
    inner = feature >= 0
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    roots = place[forest.roots]
    child = place[forest.left[order[inner]]] - roots[tree[order[inner]]]
    answers, mixed = _answers(forest, order[~inner])

    said = np.empty(len(order), np.int64)
    said[inner], said[~inner] = child, answers
    edges = _edges(feature[inner], threshold[inner])
    used = int(feature.max(initial=-1)) + 1
    if edges is not None and child.max(initial=0) < 2**16 and answers.max() < 2**24:
        packing, nodes = "Coded", _coded(feature, threshold, said, edges)
    elif used < NARROW_FEATURES and said.max() < NARROW_PLACES:
        low = np.where(inner, feature, LEAF_NARROW) | said << 14
        packing, nodes = "Narrow", np.stack([threshold.view(np.uint32), low.astype(np.uint32)], 1)
    else:
        zero = np.zeros_like(said)
        wide = [threshold.view(np.uint32), np.where(inner, feature, LEAF_WIDE), said, zero]
        packing, nodes = "Wide", np.stack([part.astype(np.uint32) for part in wide], 1)
    return Packed(
        packing,
        xp.asarray(np.ascontiguousarray(nodes)),
        xp.asarray(roots.astype(np.int32)),
        xp.asarray(mixed),
        xp.asarray(np.zeros((1, 1), np.float32) if edges is None else edges),
        used,
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
    nodes = np.where(feature >= 0, feature | code << 8 | said << 16, LEAF | said << 8)
    return nodes.astype(np.uint32)[:, None]


def walk_planes(kernels: Kernels, planes: Any, forest: Packed, out: Any, blocks: int) -> None:
    """Fill `out` (pixels, classes) from `planes` (features, pixels). blocks: that the device runs at once."""
    count = planes.shape[1]
    coded = forest.packing == "Coded"
    kernels.launch(
        f"walk_planes<{forest.packing}>",
        (min(-(-count // THREADS), blocks) if forest.staged else -(-count // THREADS),),
        (THREADS,),
        (planes, np.int64(count), np.int32(forest.features), *forest.arguments, out),
        shared=forest.shared(forest.value_bytes if coded else 0),
    )
