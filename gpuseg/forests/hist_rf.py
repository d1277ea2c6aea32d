"""Train a forest of our own on codes of 8 bits, on the CPU or a GPU, with ilastik's settings (SPEC 2.2, 2.3).

Features become codes: 0 to 255, in the order of their values. Between the values of two codes lies an edge, a
float32, so that `code <= c` says exactly what `value < edges[c]` says: what grew on codes is walked by pixels
as they are. One seed gives one forest, on every backend and on any number of threads.
"""

from collections.abc import Sequence
from math import floor, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.backends.base import Grown, Growth
from gpuseg.errors import InputError
from gpuseg.forests.arrays import Forest, float32_threshold, shared_rows
from gpuseg.forests.training import (
    Trained,
    canonical_order,
    check_labels,
    check_rows,
    check_trees,
    confusion_matrix,
)

CODES = 256
PLACE = 2**29 - 1  # bits of a float64 that are zero if it was a float32: they hold where it stood
EACH_BYTE = np.uint64(0x0101010101010101)
SORTED = 2**14  # values sorted at once: so small, their memory is not given back to the system each time
TOGETHER = 2**15  # answers of trees to rows looked up at once: they stay in the cache
MOST_ROWS = 2**24  # a row and how often it was drawn share 64 bits with its class


class Coded(NamedTuple):
    """Rows of features as codes."""

    codes: NDArray[np.uint8]  # (features, rows): how many of the feature's edges are no larger than the value
    edges: NDArray[np.float32]  # (features, 255), ascending; what a feature does not need is infinite


class Nodes(NamedTuple):
    """Of grown trees what several ask for."""

    inner: NDArray[np.intp]  # nodes that test a feature
    leaf: NDArray[np.intp]  # the others
    tree: NDArray[np.intp]  # (nodes,) each one's tree
    left: NDArray[np.int32]  # (nodes,) first child, counted from the first node of all
    counts: NDArray[np.float64]  # (classes, nodes): NumPy adds along nodes 20 times as fast
    total: NDArray[np.float64]  # (nodes,) of all classes


class Leaves(NamedTuple):
    """Answers of all leaves."""

    share: NDArray[np.float64]  # (classes, leaves)
    table: NDArray[np.float32]  # (rows, classes) the different ones
    row: NDArray[np.intp]  # (leaves,) of `table`


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

    rows: float32 (n, features), finite, at most 2**24; labels: integers (n,), at least two classes.
    backend: which grows the trees. threads: None, or -1 as scikit-learn has it, for all cores. Row order,
    threads and backend change nothing. LabelError, InputError.

    >>> trained = train(np.array([[0.0], [1.0], [2.0], [3.0]], np.float32), np.array([1, 1, 2, 2]))
    >>> trained.classes, len(trained.forest.roots)
    (array([1, 2]), 100)
    """
    check_trees(trees)
    classes = check_labels(labels)
    rows = check_rows(rows, labels)
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"{len(rows)} labelled pixels, a forest learns from at most {MOST_ROWS}",
            hint="label fewer pixels: strokes instead of areas",
        )
    order = canonical_order(rows, labels)
    codes, edges = coded(rows[order])
    target = np.searchsorted(classes, labels[order]).astype(np.uint8)
    tried = max(1, floor(sqrt(len(codes)) + 0.5))
    how = Growth(len(classes), trees, tried, int(seed), threads if threads and threads > 0 else None)
    grown = get_backend(backend).grow(codes, target, how)

    nodes = _nodes(grown)
    leaves = _leaves(nodes)
    proba = np.empty((len(rows), len(classes)), np.float32)
    proba[order] = _out_of_bag(grown, nodes, leaves)
    return Trained(
        _forest(grown, nodes, leaves, edges),
        classes,
        proba,
        confusion_matrix(labels, proba, classes),
        _importances(grown, nodes, len(codes)),
    )


def coded(rows: NDArray[np.float32]) -> Coded:
    """Codes of each feature's values, and the edges between them.

    A feature of at most 256 different values has a code for each of them; of more, ranges of about a 255th of
    the rows, which end at the widest gap there is: quantiles alone would put values on both sides of a gap
    between two classes into one range, and cost 0.2 to 0.4 points of accuracy on three of eight data sets.
    """
    n, features = rows.shape
    codes = np.empty((features, n), np.uint8)
    edges = np.full((features, CODES - 1), np.inf, np.float32)
    chunk = max(1, SORTED // n)
    for some in (slice(i, i + chunk) for i in range(0, features, chunk)):
        _code(rows[:, some], codes[some], edges[some])
    return Coded(codes, edges)


def _code(rows: NDArray[np.float32], codes: NDArray[np.uint8], edges: NDArray[np.float32]) -> None:
    """Fill in codes (features, rows) and edges (features, 255)."""
    features, n = codes.shape
    place, values = _sorted(rows)
    ends = np.zeros((features, n), np.bool_)  # where the next value has another code
    np.not_equal(values[:, 1:], values[:, :-1], out=ends[:, :-1])
    many = np.array([np.count_nonzero(e) for e in ends]) >= CODES  # four times as fast as by axis
    if many.any():
        ends[many] = _gaps(values[many])
    sorted_codes = _before(ends).ravel()
    codes.reshape(-1)[place] = sorted_codes

    last = np.flatnonzero(ends)
    middle = (values.take(last).astype(np.float64) + values.take(last + 1)) / 2
    edges[last // n, sorted_codes.take(last)] = float32_threshold(middle, inclusive=True)  # as scikit-learn's


def _sorted(rows: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Values of each feature, ascending, and where in (features, rows) they stand.

    A float64 has room for the place below the bits of a float32: sorted three times as fast as by argsort.
    """
    keys = rows.T.astype(np.float64, order="C")
    bits = keys.view(np.int64)
    bits |= np.arange(bits.size).reshape(bits.shape)
    keys.sort(axis=1)
    place = bits.ravel() & PLACE
    bits &= ~PLACE
    return place, keys.astype(np.float32)


def _before(ends: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many are true before each of a row, at most 255: 8 at once, five times as fast as by cumsum."""
    features, n = ends.shape
    padded = np.zeros((features, -(-n // 8) * 8), np.bool_)
    padded[:, :n] = ends
    words = padded.view("<u8")
    here = words * EACH_BYTE  # in byte k how many of the word's first k + 1 are true
    total = here >> np.uint64(56)
    earlier = total.cumsum(axis=1) - total
    counted: NDArray[np.uint8] = (here - words + earlier * EACH_BYTE).view(np.uint8)
    return counted[:, :n]


def _gaps(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the next of sorted values has another code: at the widest gap, if any, of each 255th of rows."""
    n = values.shape[1]
    gap = np.zeros(values.shape, np.float32)
    with np.errstate(over="ignore"):
        np.subtract(values[:, 1:], values[:, :-1], out=gap[:, :-1])
    keys = gap.astype(np.float64).view(np.int64)
    keys |= np.arange(gap.size - 1, -1, -1).reshape(gap.shape)  # the first of equals is to win
    widest = np.maximum.reduceat(keys, np.arange(CODES - 1) * (n - 1) // (CODES - 1), axis=1)
    ends = np.zeros(gap.size, np.bool_)
    ends[gap.size - 1 - (widest[widest > PLACE] & PLACE)] = True
    return ends.reshape(gap.shape)


def _nodes(grown: Grown) -> Nodes:
    start = grown.sizes.cumsum() - grown.sizes
    counts = grown.counts.T.astype(np.float64, order="C")
    return Nodes(
        np.flatnonzero(grown.feature >= 0),
        np.flatnonzero(grown.feature < 0),
        np.repeat(np.arange(len(start)), grown.sizes),
        grown.left + np.repeat(start.astype(np.int32), grown.sizes),
        counts,
        counts.sum(axis=0),
    )


def _leaves(nodes: Nodes) -> Leaves:
    share = nodes.counts.take(nodes.leaf, axis=1) / nodes.total.take(nodes.leaf)
    return Leaves(share, *shared_rows(share.T.astype(np.float32)))


def _forest(grown: Grown, nodes: Nodes, leaves: Leaves, edges: NDArray[np.float32]) -> Forest:
    inner, left = nodes.inner, nodes.left.copy()
    left[nodes.leaf] = leaves.row
    threshold = np.zeros(len(left), np.float32)
    threshold[inner] = edges.take(grown.feature.take(inner) * np.intp(CODES - 1) + grown.code.take(inner))
    roots = (grown.sizes.cumsum() - grown.sizes).astype(np.int32)
    return Forest(grown.feature, threshold, left, roots, leaves.table, len(edges)).validate()


def _out_of_bag(grown: Grown, nodes: Nodes, leaves: Leaves) -> NDArray[np.float32]:
    """Mean answer to each row of the trees that did not learn from it; zeros where all did."""
    if leaves.row.max() < len(leaves.share):  # each of one class
        total = _votes(grown, nodes, leaves.row, len(leaves.share))
        asked = total.sum(axis=0)
    else:
        *shares, asked = _totals(grown, nodes, [*leaves.share, np.ones(len(leaves.row))])
        total = np.stack(shares)
    return np.asarray((total / np.maximum(asked, 1)).T, np.float32, order="C")


def _votes(grown: Grown, nodes: Nodes, answer: NDArray[np.intp], classes: int) -> NDArray[np.int64]:
    """Trees that answered each class to each row out of bag, (classes, rows): many counts in one integer."""
    bits = len(grown.sizes).bit_length()
    word, slot = np.divmod(np.arange(classes), 63 // bits)
    values = np.where(word == np.arange(word[-1] + 1)[:, None], 1 << bits * slot, 0)
    sums = np.stack(_totals(grown, nodes, list(values.take(answer, axis=1))))
    return np.asarray(sums[word] >> (bits * slot)[:, None] & ((1 << bits) - 1), np.int64)


def _totals(grown: Grown, nodes: Nodes, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Of each of `values`, (leaves,), the sum over leaves that a row ends in, out of bag: (rows,)."""
    trees, n = grown.leaf.shape
    # A place before each tree's nodes is for nobody, node -1.
    tables = [np.zeros(len(grown.feature) + trees, v.dtype) for v in values]
    place = nodes.leaf + nodes.tree.take(nodes.leaf) + 1
    for table, value in zip(tables, values, strict=True):
        table[place] = value
    first = (grown.sizes.cumsum() - grown.sizes + np.arange(trees) + 1)[:, None]
    sums = [np.empty(n, v.dtype) for v in values]
    chunk = max(1, TOGETHER // trees)
    for rows in (slice(i, i + chunk) for i in range(0, n, chunk)):
        node = grown.leaf[:, rows].astype(np.intp)
        node += first
        for table, out in zip(tables, sums, strict=True):
            table.take(node).sum(axis=0, out=out[rows])
    return sums


def _importances(grown: Grown, nodes: Nodes, features: int) -> NDArray[np.float64]:
    """Mean over trees of each feature's share of the impurity that splits removed (Breiman 2001)."""
    trees, inner = len(grown.sizes), nodes.inner
    left = nodes.left.take(inner)
    impurity = nodes.total - (nodes.counts**2).sum(axis=0) / nodes.total
    gain = impurity.take(inner) - impurity.take(left) - impurity.take(left + 1)
    where = nodes.tree.take(inner) * features + grown.feature.take(inner)
    each = np.bincount(where, gain, minlength=trees * features).reshape(trees, features)
    tiny = np.finfo(float).tiny
    mean = (each / np.maximum(each.sum(axis=1, keepdims=True), tiny)).sum(axis=0)
    return np.asarray(mean / max(mean.sum(), tiny))
