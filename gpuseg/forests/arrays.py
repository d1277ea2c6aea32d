"""A trained forest as flat arrays: what is saved, and what every backend predicts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ModelError

MAX_DEPTH = 4096  # levels; forests grown to purity on real scribbles have 10 to 60
SUM_TOLERANCE = 1e-4  # of a leaf's probabilities: float32 rounding of many classes stays far below


class Tree(NamedTuple):
    """One tree as trainers give it: parents before children, node 0 the root."""

    feature: NDArray[Any]  # (nodes,) column to test, negative in a leaf
    threshold: NDArray[Any]  # float32 (nodes,), from `float32_threshold`
    left: NDArray[Any]  # (nodes,) child for a value below the threshold
    right: NDArray[Any]  # (nodes,)
    proba: NDArray[Any]  # (nodes, classes); rows of inner nodes are not read


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Forest:
    """Decision trees on float32 features.

    A value below the threshold goes to `left`, any other (NaN too) to `left + 1`. Thresholds are
    rounded so that comparing float32 gives the answer the trainer's float64 comparison gave.
    """

    feature: NDArray[np.int32]  # (nodes,) column to test, -1 in a leaf
    threshold: NDArray[np.float32]  # (nodes,)
    left: NDArray[np.int32]  # (nodes,) first child; in a leaf its row of `leaves`
    roots: NDArray[np.int32]  # (trees,)
    leaves: NDArray[np.float32]  # (rows, classes) class probabilities
    n_features: int

    @classmethod
    def from_trees(cls, trees: Sequence[Tree], n_features: int) -> Self:
        """Lay trees out flat: siblings side by side, children after parents, equal leaves shared.

        The pair of children of the r-th inner node of a tree stands at 1 + 2 r: no search, no recursion,
        all trees at once. ModelError where the trees are none.
        """
        if not trees:
            raise ModelError("a forest needs at least one tree, this one has none")
        sizes = np.array([len(t.feature) for t in trees])
        start = np.repeat(sizes.cumsum() - sizes, sizes)  # of the tree that a node belongs to
        feature, threshold, left, right, proba = (np.concatenate(part) for part in zip(*trees, strict=True))
        inner = np.flatnonzero(feature >= 0)
        children = np.concatenate([left[inner], right[inner]]) + np.tile(start[inner], 2)
        _check_children(inner, children, start, len(feature))

        rank = np.arange(len(inner)) - np.searchsorted(inner, start[inner])  # within its tree
        first = start[inner] + 1 + 2 * rank
        place = start.copy()  # of roots; every other node is some node's child
        place[children] = np.concatenate([first, first + 1])
        table, rows = shared_rows(proba[feature < 0].astype(np.float32))
        target = np.empty(len(feature), np.int64)
        target[inner], target[feature < 0] = first, rows

        columns = [np.where(feature >= 0, feature, -1), np.where(feature >= 0, threshold, 0), target]
        for column in columns:
            column[place] = column.copy()
        return cls(
            columns[0].astype(np.int32),
            columns[1].astype(np.float32),
            columns[2].astype(np.int32),
            (sizes.cumsum() - sizes).astype(np.int32),
            table,
            n_features,
        ).validate()

    @classmethod
    def join(cls, forests: Sequence[Self]) -> Self:
        """One forest of all the trees, each of them with the same say."""
        kinds = {(f.n_features, f.leaves.shape[1]) for f in forests}
        if len(kinds) != 1:
            raise ModelError(f"forests of different (features, classes) cannot be joined: {sorted(kinds)}")
        nodes = np.cumsum([0, *(len(f.feature) for f in forests)])
        rows = np.cumsum([0, *(len(f.leaves) for f in forests)])
        table, row = shared_rows(np.concatenate([f.leaves for f in forests]))
        left = [
            np.where(f.feature >= 0, f.left + n, row[r + np.where(f.feature < 0, f.left, 0)])
            for f, n, r in zip(forests, nodes[:-1], rows[:-1], strict=True)
        ]
        return cls(
            np.concatenate([f.feature for f in forests]),
            np.concatenate([f.threshold for f in forests]),
            np.concatenate(left).astype(np.int32),
            np.concatenate([f.roots + n for f, n in zip(forests, nodes[:-1], strict=True)]).astype(np.int32),
            table,
            forests[0].n_features,
        ).validate()

    def validate(self) -> Self:
        """Itself, if it is a forest that any backend can walk without looking; else ModelError.

        Every index is in bounds, every node is reached from one root in one way, at most `MAX_DEPTH`
        steps down, thresholds are finite, leaves hold probabilities.
        """
        self._check_layout()
        self._check_nodes()
        self._check_leaves()
        if self.depth > MAX_DEPTH:
            raise ModelError(f"forest: a tree is more than {MAX_DEPTH} levels deep")
        return self

    @property
    def depth(self) -> int:
        """Decisions on the longest way from a root to a leaf; counting stops beyond MAX_DEPTH."""
        level, depth = self.roots, 0
        while depth <= MAX_DEPTH:
            level = self.left.take(level.compress(self.feature.take(level) >= 0))
            if not level.size:
                break
            level = np.concatenate([level, level + 1])
            depth += 1
        return depth

    def descend(self, rows: NDArray[np.float32], row: NDArray[Any], node: NDArray[Any]) -> NDArray[np.intp]:
        """Row of `leaves` for each pair of a feature row and a node to start at, one NumPy step a level."""
        at, here = np.array(node, np.intp), np.arange(len(node))
        while here.size:
            here = here[self.feature[at[here]] >= 0]
            nodes = at[here]
            goes_left = rows[row[here], self.feature[nodes]] < self.threshold[nodes]
            at[here] = self.left[nodes] + ~goes_left
        return self.left[at].astype(np.intp)

    def _check_layout(self) -> None:
        n = len(self.feature)
        expected = {
            "feature": (np.int32, (n,)),
            "threshold": (np.float32, (n,)),
            "left": (np.int32, (n,)),
            "roots": (np.int32, (len(self.roots),)),
            "leaves": (np.float32, (len(self.leaves), *self.leaves.shape[1:2])),
        }
        for name, (dtype, shape) in expected.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or array.ndim != 1 + (name == "leaves"):
                raise ModelError(
                    f"forest: {name} is {array.dtype} {array.shape}, it must be {np.dtype(dtype)} {shape}"
                )
            if array.size == 0:
                raise ModelError(f"forest: {name} is empty, shape {array.shape}")

    def _check_nodes(self) -> None:
        n, lowest, highest = len(self.feature), self.feature.min(), self.feature.max()
        if lowest < -1 or highest >= self.n_features:
            column = lowest if lowest < -1 else highest
            raise ModelError(f"forest: a node tests column {column}, there are {self.n_features} features")
        if not np.isfinite(self.threshold).all():
            raise ModelError(
                f"forest: a node's threshold is {self.threshold[~np.isfinite(self.threshold)][0]}"
            )
        inner = np.flatnonzero(self.feature >= 0)
        first, rows = self.left.take(inner), self.left.take(np.flatnonzero(self.feature < 0))
        if (first <= inner).any() or (first >= n - 1).any():
            raise ModelError(f"forest: a child stands before its parent or beyond the last of {n} nodes")
        if rows.size and (rows.min() < 0 or rows.max() >= len(self.leaves)):
            raise ModelError(f"forest: a leaf points outside the table of {len(self.leaves)} rows")
        if self.roots.min() < 0 or self.roots.max() >= n:
            raise ModelError(f"forest: a root stands outside the {n} nodes")
        _check_ways(np.bincount(np.concatenate([self.roots, first, first + 1]), minlength=n))

    def _check_leaves(self) -> None:
        total = self.leaves.sum(axis=1)
        wrong = ~((self.leaves >= 0) & (self.leaves <= 1)).all(axis=1)
        wrong |= ~((np.abs(total - 1) <= SUM_TOLERANCE) | (total == 0))  # all zero: "no answer"
        if wrong.any():
            row = self.leaves[np.flatnonzero(wrong)[0]]
            raise ModelError(f"forest: a leaf's probabilities {row} add to {row.sum()}, they must add to 1")


def float32_threshold(threshold: NDArray[Any], *, inclusive: bool) -> NDArray[np.float32]:
    """The float32 T for which `x < T` says what the trainer's test says, for every float32 x.

    threshold: float64. inclusive: the test is `x <= threshold` (scikit-learn), else `x < threshold` (vigra).
    Infinite where no finite T does; NaN stays NaN.
    """
    exact = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        short = near <= exact if inclusive else near < exact  # compared in float64
        return np.where(short, np.nextafter(near, np.float32(np.inf)), near)


def _check_children(inner: NDArray[np.intp], children: NDArray[Any], start: NDArray[Any], n: int) -> None:
    if children.size and (children.min() < 0 or children.max() >= n):
        raise ModelError(f"forest: a child stands outside the {n} nodes")
    stray = (children <= np.tile(inner, 2)) | (start[children] != np.tile(start[inner], 2))
    if stray.any():
        raise ModelError("forest: a child stands before its parent or in another tree")
    _check_ways(np.bincount(children, minlength=n) + (start == np.arange(n)))


def _check_ways(ways: NDArray[np.intp]) -> None:
    """Every node a root or one node's child: with children after parents, this is what makes it trees."""
    if (ways != 1).any():
        node = np.flatnonzero(ways != 1)[0]
        raise ModelError(f"forest: node {node} is reached in {ways[node]} ways, each must be in one")


def shared_rows(proba: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Distinct rows of a leaf table, certain ones first (row k: class k for sure), and each one's row."""
    # Almost all leaves of a fully grown forest are certain; sorting those too would cost 20 times as much.
    columns = np.ascontiguousarray(proba.T)  # along rows NumPy counts many times as fast as along classes
    classes, some = len(columns), columns != 0
    mixed = (columns.max(axis=0) != 1) | (some.sum(axis=0) != 1)
    row = np.arange(classes) @ some  # of a single class its number
    if not mixed.any():
        return np.eye(classes, dtype=np.float32), row
    others, where = np.unique(proba[mixed], axis=0, return_inverse=True)
    row[mixed] = classes + where.ravel()
    return np.concatenate([np.eye(classes, dtype=np.float32), others]), row
