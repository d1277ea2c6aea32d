"""Trees grown on all cores, each by one of them; `_reference_grow.py` says what is grown.

Rows lie in memory one after the other, so that the codes of a row that the drawn features ask for stand
in one or two cache lines. A node counts the classes of all of them in one pass over its rows. Most nodes
hold few rows: a bit mask of the codes that occurred leads to the counts that are not zero.

Nodes are visited depth-first, for the rows of a small subtree stay in the first-level cache, and numbered
breadth-first at the end.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import apart, inline, kernel
from gpuseg.backends._numba.threads import spread
from gpuseg.backends._reference_grow import BAG, CHILD, CODES, GOLDEN, MASK, REST, ROOT, joined, mix
from gpuseg.backends.base import Grown, Growth

TOGETHER = 8  # features counted in one pass: the counts of two classes take 16 KiB
WORDS = CODES // 64  # of a bit mask of codes
SPARSE = 256  # rows: with fewer, marking the codes that occur costs less than looking at all of them
WEIGHT, ROW = 8, 32  # an entry is class | times drawn << WEIGHT | row << ROW


@dataclass(frozen=True, slots=True)
class Scratch:
    """What one thread needs to grow a tree."""

    entries: NDArray[np.int64]  # (2, rows): rows of the bag, those of a node together; and room to sort
    nodes: NDArray[np.int64]  # (6, nodes) key, first and last entry, feature, code, left
    counts: NDArray[np.uint32]  # (nodes, classes)
    table: NDArray[np.int32]  # counts by feature, code and class: zero between nodes
    marks: NDArray[np.int64]  # bit masks of the codes that occurred
    order: NDArray[np.int64]  # (2, features) a permutation to draw from, and what was drawn
    sums: NDArray[np.int64]  # (3, classes) place of a class in the table, its rows, those left of a code

    @classmethod
    def of(cls, rows: int, features: int, how: Growth) -> "Scratch":
        most = 2 * rows
        order = np.stack([np.arange(features), np.zeros(features, np.int64)])
        return cls(
            np.empty((2, rows), np.int64),
            np.empty((6, most), np.int64),
            np.empty((most, how.classes), np.uint32),
            np.zeros(TOGETHER * CODES * how.classes, np.int32),
            np.zeros(TOGETHER * WORDS, np.int64),
            order,
            np.zeros((3, how.classes), np.int64),
        )

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.entries, self.nodes, self.counts, self.table, self.marks, self.order, self.sums


def grow(codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
    """`Backend.grow`."""
    rows = np.ascontiguousarray(codes.T)
    n, features = rows.shape
    leaf = np.zeros((how.trees, n), np.int32)
    trees: list[Any] = [None] * how.trees
    seed, pieces = mix(how.seed), min(how.trees, how.threads or how.trees)

    def piece(i: int, scratch: Scratch) -> None:
        for t in range(i, how.trees, pieces):
            feature, code, left, counts = _tree(rows, target, how.tried, seed, t, leaf[t], *scratch.arrays)
            size = np.array([len(feature)], np.int32)
            trees[t] = Grown(feature, code, left, counts, size, leaf[t : t + 1])

    spread(pieces, piece, lambda: Scratch.of(n, features, how))
    return joined(trees)


@kernel
def _tree(rows, target, tried, seed, tree, leaf, entries, nodes, counts, table, marks, order, sums):
    """One tree: feature, code, left, counts of its nodes; `leaf` (zeros) gets the node of each row."""
    key = _draw(seed, tree)
    _bag(_draw(key, BAG), target, leaf, entries, nodes, counts)
    nodes[0, 0] = _draw(key, ROOT)
    size = _nodes(rows, tried, entries, nodes, counts, table, marks, order, sums)
    feature, code, left = np.empty(size, np.int32), np.empty(size, np.uint8), np.empty(size, np.int32)
    numbered = np.empty((size, counts.shape[1]), np.uint32)
    _number(size, nodes, counts, feature, code, left, numbered)
    _answer(rows, feature, code, left, leaf)
    return feature, code, left, numbered


@inline
def _draw(key, i):
    """32 bits in an int64: products overflow above the bits that are kept."""
    x = (key + (i + 1) * GOLDEN) & MASK
    x = ((x ^ x >> 16) * 0x7FEB352D) & MASK
    x = ((x ^ x >> 15) * 0x846CA68B) & MASK
    return x ^ x >> 16


@inline
def _bag(key, target, leaf, entries, nodes, counts):
    """Rows drawn with replacement, each once with its number of times; that stays in `leaf`."""
    n, m = target.size, 0
    for i in range(n):
        leaf[_draw(key, i) * n >> 32] += 1
    for k in range(counts.shape[1]):
        counts[0, k] = 0
    for i in range(n):
        if leaf[i]:
            entries[0, m] = np.int64(i) << ROW | np.int64(leaf[i]) << WEIGHT | np.int64(target[i])
            counts[0, target[i]] += np.uint32(leaf[i])
            m += 1
    nodes[1, 0], nodes[2, 0] = 0, m


@inline
def _nodes(rows, tried, entries, nodes, counts, table, marks, order, sums):
    """Split nodes until each is pure or all its rows are alike; how many there are."""
    size, waiting = 1, np.empty(nodes.shape[1], np.int64)
    waiting[0], top = 0, 1
    while top:
        top -= 1
        node = waiting[top]
        key, first, last = nodes[0, node], nodes[1, node], nodes[2, node]
        kinds = _kinds(counts[node], sums)
        feature, code = -1, -1
        if kinds > 1:
            feature, code = _split(rows, tried, key, entries, first, last, kinds, table, marks, order, sums)
        nodes[3, node], nodes[4, node], nodes[5, node] = feature, code, size
        if feature >= 0:
            middle = _part(rows, feature, code, entries, first, last, counts, node, size)
            for side in range(2):
                nodes[0, size] = _draw(key ^ CHILD, side)
                nodes[1, size] = middle if side else first
                nodes[2, size] = last if side else middle
                waiting[top] = size
                top, size = top + 1, size + 1
    return size


@inline
def _kinds(counts, sums):
    """Classes that the node holds: each gets a place in the table, and its count there."""
    kinds = 0
    for k in range(counts.size):
        if counts[k]:
            sums[0, k] = kinds
            sums[1, kinds] = counts[k]
            kinds += 1
    return kinds


@apart
def _split(rows, tried, key, entries, first, last, kinds, table, marks, order, sums):
    """Feature and code that divide the entries best, -1 if no feature does."""
    _draw_features(key, tried, order)
    best, feature, code = -1.0, np.int64(-1), np.int64(-1)
    for start in range(0, tried, TOGETHER):
        some = order[1, start : min(tried, start + TOGETHER)]
        _count(rows, entries, first, last, some, kinds, table, marks, sums)
        for j in range(some.size):
            quality, at = _threshold(j, kinds, table, marks, sums)
            if quality > best:
                best, feature, code = quality, some[j], at
    if feature < 0:
        feature = _another(rows, key, entries, first, last)
        if feature >= 0:
            some = order[1, :1]
            some[0] = feature
            _count(rows, entries, first, last, some, kinds, table, marks, sums)
            best, code = _threshold(0, kinds, table, marks, sums)
    return feature, code


@inline
def _draw_features(key, tried, order):
    """The first `tried` of a random permutation, left in order[1]."""
    features = order.shape[1]
    for i in range(tried):
        other = i + (_draw(key, i) * (features - i) >> 32)
        order[0, i], order[0, other] = order[0, other], order[0, i]
        order[1, i] = other
    for i in range(tried - 1, -1, -1):  # put back, so that the next node starts from the same
        other = order[1, i]
        order[1, i] = order[0, i]
        order[0, i], order[0, other] = order[0, other], order[0, i]


@apart
def _count(rows, entries, first, last, some, kinds, table, marks, sums):
    """Add the entries to the table of each of `some` features, and mark their codes."""
    sparse = last - first < SPARSE
    for word in range(WORDS * some.size):
        marks[word] = 0 if sparse else -1
    for i in range(first, last):
        entry = entries[0, i]
        row, times, kind = entry >> ROW, (entry & MASK) >> WEIGHT, sums[0, entry & 255]
        for j in range(some.size):
            code = np.int64(rows[row, some[j]])
            table[(j * CODES + code) * kinds + kind] += np.int32(times)
            if sparse:
                marks[WORDS * j + (code >> 6)] |= np.int64(1) << (code & 63)


@intrinsic
def _lowest(typing: Any, bits: Any) -> Any:
    """Place of the lowest bit that is set."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@apart
def _threshold(j, kinds, table, marks, sums):
    """Quality and code of the best split of the j-th feature; clears its table."""
    best, at = -1.0, np.int64(-1)
    before, lower, upper = np.int64(0), np.int64(0), np.int64(0)
    squares_low, squares_high = np.int64(0), np.int64(0)
    for k in range(kinds):
        sums[2, k] = 0
        upper += sums[1, k]
        squares_high += sums[1, k] * sums[1, k]
    for word in range(WORDS):
        bits = marks[WORDS * j + word]
        while bits:
            code = 64 * word + _lowest(bits)
            bits &= bits - 1
            place = (j * CODES + code) * kinds
            here = np.int64(0)
            for k in range(kinds):
                here += table[place + k]
            if not here:
                continue
            if lower:
                quality = squares_low / lower + squares_high / upper
                if quality > best:
                    best, at = quality, before + code >> 1
            for k in range(kinds):
                count = np.int64(table[place + k])
                table[place + k] = 0
                squares_low += count * (2 * sums[2, k] + count)
                sums[2, k] += count
                squares_high -= count * (2 * (sums[1, k] - sums[2, k]) + count)
            lower, upper, before = lower + here, upper - here, code
    return best, at


@inline
def _another(rows, key, entries, first, last):
    """The feature that divides the entries and comes first in an order of its own, -1 if none does."""
    best, feature = np.int64(MASK) + 1, np.int64(-1)
    for f in range(rows.shape[1]):
        rank = _draw(key ^ REST, f)
        if rank < best and _varies(rows, f, entries, first, last):
            best, feature = rank, np.int64(f)
    return feature


@inline
def _varies(rows, f, entries, first, last):
    code = rows[entries[0, first] >> ROW, f]
    i = first + 1
    while i < last and rows[entries[0, i] >> ROW, f] == code:
        i += 1
    return i < last


@inline
def _part(rows, feature, code, entries, first, last, counts, node, child):
    """Put the entries that go left first; counts of both children. Where those that go right begin."""
    for k in range(counts.shape[1]):
        counts[child, k] = 0
    low = high = first
    for i in range(first, last):
        entry = entries[0, i]
        goes_left = rows[entry >> ROW, feature] <= code
        entries[0, low] = entries[1, high] = entry  # without a branch, which would be guessed wrong
        low, high = low + goes_left, high + (not goes_left)
        counts[child, entry & 255] += np.uint32(((entry & MASK) >> WEIGHT) * goes_left)
    for i in range(low, last):
        entries[0, i] = entries[1, first + i - low]
    for k in range(counts.shape[1]):
        counts[child + 1, k] = counts[node, k] - counts[child, k]
    return low


@inline
def _number(size, nodes, counts, feature, code, left, numbered):
    """Nodes breadth-first instead of in the order they were made."""
    place = nodes[0]  # keys have done their work
    place[0], end = 0, 1
    for i in range(size):
        node = place[i]
        for k in range(counts.shape[1]):
            numbered[i, k] = counts[node, k]
        feature[i], code[i], left[i] = nodes[3, node], 0, 0
        if nodes[3, node] >= 0:
            code[i], left[i] = nodes[4, node], end
            place[end], place[end + 1] = nodes[5, node], nodes[5, node] + 1
            end += 2


@inline
def _answer(rows, feature, code, left, leaf):
    """The node in which each row ends that was not in the bag, -1 for the others."""
    for i in range(leaf.size):
        if leaf[i]:
            leaf[i] = -1
            continue
        node = 0
        while feature[node] >= 0:
            node = left[node] + (rows[i, feature[node]] > code[node])
        leaf[i] = node
