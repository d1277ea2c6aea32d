"""Forests that ilastik trained, decoded from the arrays of a project file (SPEC 10.3).

vigra writes a tree as two flat arrays. `topology` holds the nodes by address:

    [features, classes, node at address 2, ...]
    inner node  [0, a, c0, c1, column]   value < parameters[a + 1] goes to address c0, else c1
    leaf        [LEAF, a]                parameters[a + 1 : a + 1 + classes] are the probabilities

The answer is the plain mean over all trees: ilastik weighs its sub-forests by their number of trees, and
each of them averages its own (SPEC 2.4). One difference remains: for a pixel with a NaN feature vigra
answers zero in every class, while here a NaN goes to c1 like any value that is not below the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ModelError
from gpuseg.forests.arrays import Forest

LEAF = 0x40000000
ROOT = 2
INNER_SIZE, LEAF_SIZE = 5, 2
_SUM_TOLERANCE = 1e-6  # vigra divides counts by their sum in float64


@dataclass(frozen=True, slots=True, eq=False)
class VigraForest:
    """One sub-forest as stored."""

    n_features: int
    labels: tuple[int, ...]  # label value of each of its columns
    trees: tuple[tuple[NDArray[np.int32], NDArray[np.float64]], ...]  # (topology, parameters)


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """Nodes in an order where siblings stand side by side; `left` counts from the tree's own root."""

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    leaves: NDArray[np.float64]


def from_vigra(forests: Sequence[VigraForest], values: Sequence[int]) -> Forest:
    """One forest of all trees of `forests`, with a column for each label value of `values`.

    Labels that no forest knows, because nobody painted them, get a column of zeros. ModelError if an
    address, a column or a number in a tree is not possible; a tree whose nodes form a cycle too.
    """
    if not forests or not any(f.trees for f in forests):
        raise ModelError("the stored forest has no trees", hint="train again in ilastik and save")
    n_features = forests[0].n_features
    trees = []
    for i, forest in enumerate(forests):
        if forest.n_features != n_features:
            raise ModelError(f"Forest{i:04} wants {forest.n_features} features, Forest0000 {n_features}")
        columns = _columns(forest.labels, values)
        for j, (topology, parameters) in enumerate(forest.trees):
            try:
                tree = _decode(topology, parameters, n_features, len(forest.labels))
            except ModelError as e:
                raise e.at(f"Forest{i:04}, tree {j}") from e
            leaves = np.zeros((len(tree.leaves), len(values)))
            leaves[:, columns] = tree.leaves
            trees.append(_Tree(tree.feature, tree.threshold, tree.left, leaves))
    return _join(trees, n_features)


def _columns(labels: Sequence[int], values: Sequence[int]) -> list[int]:
    unknown = [v for v in labels if v not in values]
    if unknown or len(set(labels)) != len(labels) or not labels:
        raise ModelError(
            f"the stored forest predicts the labels {list(labels)}, the project has {list(values)}",
            hint="open the project in ilastik, train again and save",
        )
    return [list(values).index(v) for v in labels]


def _decode(topology: NDArray[np.int32], parameters: NDArray[np.float64], p: int, k: int) -> _Tree:
    """One tree, level by level from the root, so that a cycle meets a node it has seen."""
    if topology.ndim != 1 or parameters.ndim != 1 or len(topology) < ROOT + LEAF_SIZE:
        raise ModelError("its arrays are too short to hold a node")
    if (topology[0], topology[1]) != (p, k):
        raise ModelError(
            f"is made for {topology[0]} features and {topology[1]} classes, the forest for {p} and {k}"
        )
    seen = np.zeros(len(topology), bool)
    level = np.array([ROOT])
    levels, leaves, count, rows = [], [], 1, 0
    while len(level):
        kind = _kinds(topology, level, seen)
        inner, leaf = level[kind == 0], level[kind == LEAF]
        feature = np.full(len(level), -1, np.int32)
        threshold, left = np.zeros(len(level), np.float32), np.empty(len(level), np.int32)
        feature[kind == 0], threshold[kind == 0] = _tests(topology, parameters, inner, p)
        left[kind == 0] = count + 2 * np.arange(len(inner))
        left[kind == LEAF] = rows + np.arange(len(leaf))
        leaves.append(_probabilities(topology, parameters, leaf, k))
        levels.append((feature, threshold, left))
        count, rows = count + 2 * len(inner), rows + len(leaf)
        level = topology[inner[:, None] + [2, 3]].ravel().astype(np.intp)
    feature, threshold, left = (np.concatenate(part) for part in zip(*levels, strict=True))
    return _Tree(feature, threshold, left, np.concatenate(leaves))


def _kinds(
    topology: NDArray[np.int32], level: NDArray[np.intp], seen: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Type of each node of a level; marks them as seen."""
    if level.min() < ROOT or level.max() + LEAF_SIZE > len(topology):
        raise ModelError(f"a node at address {_farthest(level, ROOT)}: its entries end at {len(topology)}")
    if seen[level].any() or len(np.unique(level)) < len(level):
        raise ModelError("a node has two parents: the tree is a cycle or a net")
    seen[level] = True
    kind: NDArray[np.int32] = topology[level]
    if strange := set(kind.tolist()) - {0, LEAF}:
        raise ModelError(f"a node of type {min(strange)}; threshold nodes are type 0, leaves {LEAF}")
    return kind


def _tests(
    topology: NDArray[np.int32], parameters: NDArray[np.float64], inner: NDArray[np.intp], p: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Column and float32 threshold of inner nodes."""
    if len(inner) and inner.max() + INNER_SIZE > len(topology):
        raise ModelError(f"a node at address {inner.max()}: its entries end at {len(topology)}")
    column, where = topology[inner + 4], topology[inner + 1].astype(np.intp)
    if len(column) and not (column.min() >= 0 and column.max() < p):
        raise ModelError(f"a node tests feature {_farthest(column, 0)} of {p}")
    _within(where, 2, len(parameters))
    return column, _least_above(parameters[where + 1])


def _probabilities(
    topology: NDArray[np.int32], parameters: NDArray[np.float64], leaf: NDArray[np.intp], k: int
) -> NDArray[np.float64]:
    """Class probabilities of leaves, (leaves, k)."""
    where = topology[leaf + 1].astype(np.intp)
    _within(where, 1 + k, len(parameters))
    rows: NDArray[np.float64] = parameters[where[:, None] + 1 + np.arange(k)]
    if not ((rows >= 0).all() and (abs(rows.sum(1) - 1) <= _SUM_TOLERANCE).all()):
        raise ModelError("the class probabilities of a leaf do not sum to 1")
    return rows


def _within(where: NDArray[np.intp], size: int, length: int) -> None:
    if len(where) and not (where.min() >= 0 and where.max() + size <= length):
        raise ModelError(f"a node reads parameter {_farthest(where, 0)}, there are {length}")


def _farthest(values: NDArray[np.intp] | NDArray[np.int32], least: int) -> int:
    """The value to name in an error: the least if it is too small, else the greatest."""
    return int(values.min() if values.min() < least else values.max())


def _least_above(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Smallest float32 not below each threshold: `x < result` is then `x < threshold` for float32 x."""
    if not (abs(threshold) <= np.finfo(np.float32).max).all():
        raise ModelError("a threshold is not a finite float32 number")
    rounded = threshold.astype(np.float32)
    return np.where(rounded < threshold, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _join(trees: Sequence[_Tree], n_features: int) -> Forest:
    nodes = np.cumsum([0, *(len(t.feature) for t in trees)], dtype=np.int64)
    if nodes[-1] > np.iinfo(np.int32).max:
        raise ModelError(f"{nodes[-1]} nodes: more than a forest can hold")
    rows, row = np.unique(np.concatenate([t.leaves for t in trees]), axis=0, return_inverse=True)
    feature = np.concatenate([t.feature for t in trees])
    left = np.concatenate([t.left + start for t, start in zip(trees, nodes[:-1], strict=True)])
    left[feature < 0] = row.ravel()  # leaves of all trees, in the order of their nodes
    return Forest(
        feature=feature,
        threshold=np.concatenate([t.threshold for t in trees]),
        left=left.astype(np.int32),
        roots=nodes[:-1].astype(np.int32),
        leaves=rows.astype(np.float32),
        n_features=n_features,
    )
