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
from gpuseg.forests.arrays import Forest, Tree, float32_threshold

LEAF = 0x40000000
ROOT = 2
INNER_SIZE, LEAF_SIZE = 5, 2


@dataclass(frozen=True, slots=True, eq=False)
class VigraForest:
    """One sub-forest as stored."""

    n_features: int
    labels: tuple[int, ...]  # label value of each of its columns
    trees: tuple[tuple[NDArray[np.int32], NDArray[np.float64]], ...]  # (topology, parameters)


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
                trees.append(_decode(topology, parameters, n_features, columns, len(values)))
            except ModelError as e:
                raise e.at(f"Forest{i:04}, tree {j}") from e
    return Forest.from_trees(trees, n_features)


def _columns(labels: Sequence[int], values: Sequence[int]) -> NDArray[np.intp]:
    unknown = [v for v in labels if v not in values]
    if unknown or len(set(labels)) != len(labels) or not labels:
        raise ModelError(
            f"the stored forest predicts the labels {list(labels)}, the project has {list(values)}",
            hint="open the project in ilastik, train again and save",
        )
    return np.array([list(values).index(v) for v in labels])


def _decode(
    topology: NDArray[np.int32],
    parameters: NDArray[np.float64],
    p: int,
    columns: NDArray[np.intp],
    classes: int,
) -> Tree:
    """One tree, level by level from the root, so that a cycle meets a node it has seen."""
    k = len(columns)
    if topology.ndim != 1 or parameters.ndim != 1 or len(topology) < ROOT + LEAF_SIZE:
        raise ModelError("its arrays are too short to hold a node")
    if (topology[0], topology[1]) != (p, k):
        raise ModelError(
            f"is made for {topology[0]} features and {topology[1]} classes, the forest for {p} and {k}"
        )
    seen = np.zeros(len(topology), bool)
    level = np.array([ROOT])
    levels, count = [], 1
    while len(level):
        inner, leaf = _sorted(topology, level, seen)
        n = len(level)
        feature, left = np.full(n, -1, np.int32), np.zeros(n, np.intp)
        threshold, proba = np.zeros(n, np.float32), np.zeros((n, classes))
        feature[inner], threshold[inner] = _tests(topology, parameters, level[inner], p)
        left[inner] = count + 2 * np.arange(np.count_nonzero(inner))
        proba[np.flatnonzero(leaf)[:, None], columns] = _probabilities(topology, parameters, level[leaf], k)
        levels.append(Tree(feature, threshold, left, left + 1, proba))
        level = topology[level[inner][:, None] + [2, 3]].ravel().astype(np.intp)
        count += len(level)
    return Tree(*(np.concatenate(part) for part in zip(*levels, strict=True)))


def _sorted(
    topology: NDArray[np.int32], level: NDArray[np.intp], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which nodes of a level are inner nodes and which are leaves; marks them as seen."""
    if level.min() < ROOT or level.max() + LEAF_SIZE > len(topology):
        raise ModelError(f"a node at address {_farthest(level, ROOT)}: its entries end at {len(topology)}")
    if seen[level].any() or len(np.unique(level)) < len(level):
        raise ModelError("a node has two parents: the tree is a cycle or a net")
    seen[level] = True
    kind = topology[level]
    if strange := set(kind.tolist()) - {0, LEAF}:
        raise ModelError(f"a node of type {min(strange)}; threshold nodes are type 0, leaves {LEAF}")
    return kind == 0, kind == LEAF


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
    return column, float32_threshold(parameters[where + 1], inclusive=False)


def _probabilities(
    topology: NDArray[np.int32], parameters: NDArray[np.float64], leaf: NDArray[np.intp], k: int
) -> NDArray[np.float64]:
    """Class probabilities of leaves, (leaves, k)."""
    where = topology[leaf + 1].astype(np.intp)
    _within(where, 1 + k, len(parameters))
    rows: NDArray[np.float64] = parameters[where[:, None] + 1 + np.arange(k)]
    if not ((rows >= 0) & (rows <= 1)).all():
        raise ModelError("the class probabilities of a leaf are not numbers from 0 to 1")
    return rows


def _within(where: NDArray[np.intp], size: int, length: int) -> None:
    if len(where) and not (where.min() >= 0 and where.max() + size <= length):
        raise ModelError(f"a node reads parameter {_farthest(where, 0)}, there are {length}")


def _farthest(values: NDArray[np.intp] | NDArray[np.int32], least: int) -> int:
    """The value to name in an error: the least if it is too small, else the greatest."""
    return int(values.min() if values.min() < least else values.max())
