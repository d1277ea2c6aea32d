"""How good is a forest on strokes it has not seen: cross-validation that never splits a stroke.

Pixels of one brush stroke are near copies of each other. Held out singly, as out-of-bag accuracy does,
their neighbours give them away; held out by stroke they tell what to expect where nobody painted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.errors import InputError
from gpuseg.forests.training import (
    Trainer,
    accuracy,
    canonical_order,
    check_labels,
    check_rows,
    confusion_matrix,
)


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What held-out strokes were taken for."""

    confusion: NDArray[np.int64]  # (classes, classes): row the label, column the answer
    classes: NDArray[np.int64]
    strokes: NDArray[np.int64]  # (classes,) painted strokes of each class
    folds: int  # forests trained
    what: str = "stroke"  # was held out as one

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN if no class could be scored."""
        return accuracy(self.confusion)

    @property
    def notice(self) -> str:
        """One sentence about classes that could not be scored, "" if all were."""
        return self.told({})

    def told(self, names: Mapping[int, str]) -> str:
        """The same with names of classes."""
        single = [int(c) for c, n in zip(self.classes, self.strokes, strict=True) if n < 2]
        lone = [names.get(c, str(c)) for c in single]
        if not lone:
            return ""
        which = f"class {lone[0]} has" if len(lone) == 1 else f"classes {', '.join(lone)} have"
        more = "paint" if self.what == "stroke" else "label"
        return f"{which} a single {self.what}, which was always learned from and never scored: {more} another"


def strokes(where: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Number of the stroke that each labelled pixel belongs to: touching pixels (8 or 26) of equal label.

    where: integers (n, axes), the last three being z, y, x; pixels that differ in an axis before those
    (image, time) never touch. labels: (n,).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A border of one empty pixel around z, y, x keeps a step off one edge from landing on the next row.
    where = np.column_stack([labels, where]).astype(np.int64)
    if not len(where):
        return np.zeros(0, np.int64)
    where = where - where.min(axis=0)
    shape = where.max(axis=0) + 1
    shape[-3:] += 2
    key = np.zeros(len(where), np.int64)
    for column, size in zip(where.T, shape, strict=True):
        key = key * size + column
    order = key.argsort()
    sorted_key = key[order]
    edges = []
    for z, y, x in product((-1, 0, 1), repeat=3):
        step = (z * shape[-2] + y) * shape[-1] + x
        if step > 0:
            at = np.minimum(np.searchsorted(sorted_key, sorted_key + step), len(key) - 1)
            found = np.flatnonzero(sorted_key[at] == sorted_key + step)
            edges.append(np.stack([order[found], order[at[found]]]))
    pairs = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(len(key), len(key)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def cross_validate(
    rows: NDArray[np.float32],
    labels: NDArray[Any],
    groups: NDArray[Any],
    train: Trainer,
    *,
    folds: int = 5,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    what: str = "stroke",
) -> Validation:
    """Train `folds` times on all strokes but a few, and ask for those.

    groups: the stroke of each row, from `strokes`; or any other `what` that must not be split. A class with
    fewer strokes than folds is held out in as many folds as it has strokes; with a single one it is never
    held out, and `notice` says so.
    """
    if folds < 2:
        raise InputError(f"{folds} folds: at least 2 are needed")
    classes = check_labels(labels)
    rows = check_rows(rows, labels)
    order = canonical_order(rows, labels)  # strokes are told apart by what is in them, not by when they came
    rows, labels, groups = rows[order], labels[order], _by_appearance(groups[order])
    fold, counts = _deal(labels, groups, classes, folds, seed)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    used = [k for k in range(folds) if (fold == k).any()]
    for k in used:
        held = fold == k
        trained = train(rows[~held], labels[~held], trees=trees, seed=seed, threads=threads)
        planes = np.ascontiguousarray(rows[held].T)[:, None, None]  # an image of one row
        proba = get_backend("cpu").forest_proba(planes, trained.forest)[0, 0]
        confusion += confusion_matrix(labels[held], proba, classes)
    return Validation(confusion, classes, counts, len(used), what)


def _by_appearance(groups: NDArray[Any]) -> NDArray[np.intp]:
    """The same groups, numbered as they come."""
    _, first, at = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[at]


def _deal(
    labels: NDArray[Any], groups: NDArray[Any], classes: NDArray[np.int64], folds: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fold of each row, -1 for never held out, and the number of strokes of each class.

    Strokes go, the largest first, to the fold with the fewest pixels of their class.
    """
    fold, counts = np.full(len(labels), -1), []
    for value in classes:
        mine = labels == value
        names, at, pixels = np.unique(groups[mine], return_inverse=True, return_counts=True)
        counts.append(len(names))
        if len(names) < 2:
            continue
        load = np.zeros(folds, np.int64)
        where = np.empty(len(names), np.int64)
        shuffled = np.random.RandomState(seed).permutation(len(names))
        for stroke in shuffled[np.argsort(-pixels[shuffled], kind="stable")]:
            where[stroke] = load.argmin()
            load[where[stroke]] += pixels[stroke]
        fold[mine] = where[at]
    return fold, np.array(counts)
