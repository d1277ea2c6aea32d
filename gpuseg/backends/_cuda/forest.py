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
SUMMED = 16  # classes whose sums are kept in shared memory, 1 KiB each
CODED_FEATURES, CODED_NUMBERS, MORE = 256, 2**15, 255
NARROW_FEATURES, NARROW_NUMBERS = 2**14, 2**17


@dataclass(frozen=True, slots=True)
class Packed:
    """A forest in one of the packings of walk.cuh."""

    packing: str  # "Coded", "Narrow" or "Wide"
    nodes: Any  # int32 (places, words)
    answers: Any  # int32: of the leaf that stands twice at a pair
    firsts: Any  # int32 (trees,): first pair of children
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

        What fits beside the values is kept there too: the sums of all classes, all or none.
        """
        sums = self.classes * THREADS * 4
        summed = self.classes <= SUMMED and values + sums <= self.most
        given = (
            *(self.nodes, self.answers, self.firsts, np.int32(len(self.firsts))),
            *(self.leaves, np.int32(self.classes), self.edges, np.int32(summed)),
        )
        return given, values + summed * sums


def _value_bytes(packing: str, features: int) -> int:
    return THREADS * 4 * (-(-features // 4) if packing == "Coded" else features)


def pack(xp: Any, forest: ForestArrays, most: int) -> Packed:
    """The smallest packing that holds the forest, on a device whose blocks have so much shared memory.

    A tree has an odd number of nodes, and a place in front of it is empty: so all pairs begin at even places.
    """
    tree, order = by_depth(forest)
    tree = tree[order]
    feature, threshold = forest.feature[order].astype(np.int64), forest.threshold[order]
    inner = feature >= 0
    said, mixed = _answers(forest, order[~inner])
    most_said = int(said.max()) + 1
    own, which = np.unique(tree[~inner] * most_said + said, return_inverse=True)
    of, answer = np.divmod(own, most_said)  # the answers of each tree
    sizes, given = (np.bincount(t, minlength=len(forest.roots)) for t in (tree, of))
    begin = _starts(2 * given + 1 + sizes)  # of each tree, with the pairs of its answers
    roots = begin + 2 * given + 1
    places = roots[tree] + np.arange(len(order)) - _starts(sizes)[tree]
    place_of = np.empty(len(order), np.int64)
    place_of[order] = places
    left = place_of[forest.left[order[inner]]]
    behind = np.arange(len(own)) - _starts(given)[of]
    stays = roots[of] - 3 - 2 * behind  # first place of the pair of an answer

    number, says = np.empty(len(order), np.int64), np.zeros(len(order), np.int64)
    number[inner], number[~inner] = (left - roots[tree[inner]] - 1) // 2, -2 - behind[which]
    says[~inner] = said
    leaf = np.full(len(own), -1), np.zeros(len(own), np.float32), -2 - behind, answer
    node = _Nodes(
        *(np.concatenate([a, b, b]) for a, b in zip((feature, threshold, number, says), leaf, strict=True))
    )
    places = np.concatenate([places, stays, stays + 1])
    used, edges = int(feature.max(initial=-1)) + 1, np.zeros((1, 1), np.float32)
    found = _edges(feature[inner], threshold[inner]) if _value_bytes("Coded", used) <= most else None
    if found is not None and node.most() < CODED_NUMBERS:
        edges, code = found
        packing, words = "Coded", node.coded(code)
    elif used <= NARROW_FEATURES and node.most() < NARROW_NUMBERS:
        packing, words = "Narrow", node.narrow()
    else:
        packing, words = "Wide", node.wide()
    nodes = np.zeros((int(places.max()) + 1, words.shape[1]), np.int32)
    nodes[places] = words
    answers = np.zeros(len(nodes) // 2 + 1, np.int32)
    answers[stays // 2] = answer
    return Packed(
        packing,
        xp.asarray(nodes),
        xp.asarray(answers),
        xp.asarray(((roots + 1) // 2).astype(np.int32)),
        xp.asarray(mixed),
        xp.asarray(edges),
        used,
        most,
    )


@dataclass(frozen=True, slots=True)
class _Nodes:
    """What nodes are made of: an entry for each, features -1 and answers in leaves."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    number: NDArray[np.int64]
    answer: NDArray[np.int64]

    def most(self) -> int:
        """The largest number, whatever its sign."""
        return int(np.abs(self.number).max())

    def coded(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """codes: of inner nodes, in their order."""
        code, asked = np.minimum(self.answer, MORE), np.maximum(self.feature, 0)
        code[self.feature >= 0] = codes
        words: NDArray[np.int64] = self.number << 16 | asked // 4 << 10 | code << 2 | asked % 4
        return words[:, None]

    def narrow(self) -> NDArray[np.int64]:
        return np.stack([self._threshold(), self.number << 14 | np.maximum(self.feature, 0)], 1)

    def wide(self) -> NDArray[np.int64]:
        asked = np.maximum(self.feature, 0)
        return np.stack([self._threshold(), asked, self.number, np.zeros_like(asked)], 1)

    def _threshold(self) -> NDArray[Any]:
        return np.where(self.feature < 0, self.answer, self.threshold.view(np.int32))


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each begins if they lie one after the other."""
    begins: NDArray[np.int64] = np.cumsum(sizes) - sizes
    return begins


def _answers(forest: ForestArrays, leaf: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """What each leaf says: a class, or a row of the second array beyond the classes."""
    rows, classes = forest.leaves, forest.leaves.shape[1]
    pure = (rows.max(axis=1) == 1) & (np.count_nonzero(rows, axis=1) == 1)
    says = np.where(pure, rows.argmax(axis=1), classes + np.cumsum(~pure) - 1)
    mixed = rows[~pure] if not pure.all() else np.zeros((1, classes), np.float32)
    return says[forest.left[leaf]], np.ascontiguousarray(mixed, np.float32)


def _edges(
    feature: NDArray[Any], threshold: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Distinct thresholds of every feature, ascending, and the place of each one given.

    None where codes of a byte cannot tell them apart.
    """
    count = int(feature.max(initial=0)) + 1
    if count > CODED_FEATURES:
        return None
    bits = threshold.view(np.int32)
    ascending = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # as whole numbers ordered like the floats
    order = np.argsort(feature.astype(np.int64) << 32 | ascending.astype(np.int64) + 2**31)
    f, t = feature[order], threshold[order]
    new = np.ones(len(f), bool)
    new[1:] = (f[1:] != f[:-1]) | (t[1:] != t[:-1])
    distinct = np.cumsum(new) - 1
    begin = np.searchsorted(f[new], np.arange(count + 1))
    if np.diff(begin).max(initial=0) >= EDGES:
        return None
    code = np.empty(len(f), np.int64)
    code[order] = distinct - begin[f]
    edges = np.full((count, EDGES), np.inf, np.float32)
    edges[feature, code] = threshold
    return edges, code


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
