"""Nodes of a forest in breadth-first order: the order in which pixels meet them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import ForestArrays


def by_depth(forest: ForestArrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tree of every node, and all nodes sorted by tree, then depth, siblings side by side."""
    tree = np.zeros(len(forest.feature), np.int64)
    level: NDArray[Any] = forest.roots.astype(np.int64)
    tree[level] = np.arange(len(level))
    found = [level]
    while (inner := level[forest.feature[level] >= 0]).size:
        first = forest.left[inner].astype(np.int64)
        tree[first] = tree[first + 1] = tree[inner]
        level = np.stack([first, first + 1], 1).ravel()
        found.append(level)
    nodes = np.concatenate(found)
    return tree, nodes[np.argsort(tree[nodes], kind="stable")]
