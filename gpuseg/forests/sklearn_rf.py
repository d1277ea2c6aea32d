"""Train a forest of scikit-learn's trees with ilastik's settings (SPEC 2.2, 2.3).

The trees are grown here and not by RandomForestClassifier: it spends a quarter of the time on two thousand
rows on cloning estimators, and draws every bootstrap sample a second time to say what was out of bag.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import floor, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from gpuseg.backends._numba.threads import cores
from gpuseg.forests.arrays import Forest, Tree, float32_threshold
from gpuseg.forests.training import (
    Trained,
    canonical_order,
    check_labels,
    check_rows,
    check_trees,
    confusion_matrix,
)


class Grown(NamedTuple):
    tree: Any  # sklearn.tree._tree.Tree
    fresh: NDArray[np.intp]  # rows that it did not learn from
    leaf: NDArray[np.intp]  # the node each of those ends in


def train(
    rows: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> Trained:
    """A forest grown to purity on bootstrap samples, sqrt(features) columns tried at each node.

    rows: float32 (n, features), finite; labels: integers (n,), at least two classes.
    threads: None, or -1 as scikit-learn has it, for all cores. Row order and threads change nothing, and
    neither does the backend: scikit-learn knows the CPU only.
    LabelError, InputError.

    >>> trained = train(np.array([[0.0], [1.0], [2.0], [3.0]], np.float32), np.array([1, 1, 2, 2]))
    >>> trained.classes, len(trained.forest.roots)
    (array([1, 2]), 100)
    """
    check_trees(trees)
    classes = check_labels(labels)
    rows = check_rows(rows, labels)
    order = canonical_order(rows, labels)
    grown = _grow(rows[order], np.searchsorted(classes, labels[order]), trees, seed, threads)

    proba = np.empty((len(rows), len(classes)), np.float32)
    proba[order] = _out_of_bag(grown, proba.shape)
    return Trained(
        Forest.from_trees([_flat(g.tree) for g in grown], rows.shape[1]),
        classes,
        proba,
        confusion_matrix(labels, proba, classes),
        _importances(grown, rows.shape[1]),
    )


def _grow(
    rows: NDArray[np.float32], target: NDArray[np.intp], trees: int, seed: int, threads: int | None
) -> list[Grown]:
    n, features = rows.shape
    tried = max(1, floor(sqrt(features) + 0.5))

    def grow(seed: int) -> Grown:
        rng = np.random.RandomState(seed)  # its stream is frozen for good, a Generator's is not
        drawn = np.bincount(rng.randint(0, n, n), minlength=n)
        tree = DecisionTreeClassifier(max_features=tried, random_state=rng)
        tree.fit(rows, target, sample_weight=drawn.astype(np.float64), check_input=False)
        fresh = np.flatnonzero(drawn == 0)
        return Grown(tree.tree_, fresh, tree.tree_.apply(rows[fresh]))

    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=trees)
    with ThreadPoolExecutor(threads if threads and threads > 0 else cores()) as pool:
        return list(pool.map(grow, seeds))


def _flat(tree: Any) -> Tree:
    threshold = float32_threshold(tree.threshold, inclusive=True)
    return Tree(tree.feature, threshold, tree.children_left, tree.children_right, tree.value[:, 0])


def _out_of_bag(grown: Sequence[Grown], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Mean answer to each row of the trees that did not learn from it; zeros where all did."""
    total, asked = np.zeros(shape), np.zeros(shape[0])
    for tree, fresh, leaf in grown:
        total[fresh] += tree.value[leaf, 0]
        asked[fresh] += 1
    return np.asarray(total / np.maximum(asked, 1)[:, None], np.float32)


def _importances(grown: Sequence[Grown], features: int) -> NDArray[np.float64]:
    """Mean over trees of each feature's share of the impurity that splits removed (Breiman 2001)."""
    total = np.zeros(features)
    for tree in (g.tree for g in grown):
        left, right = tree.children_left, tree.children_right
        weighted = tree.weighted_n_node_samples * tree.impurity
        inner = left >= 0
        gain = weighted[inner] - weighted[left[inner]] - weighted[right[inner]]
        share = np.bincount(tree.feature[inner], gain, minlength=features)
        total += share / max(share.sum(), np.finfo(float).tiny)
    return np.asarray(total / max(total.sum(), np.finfo(float).tiny))
