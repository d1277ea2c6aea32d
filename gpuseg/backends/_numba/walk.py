"""The forest, walked by 256 neighbouring pixels at once.

A node is evaluated for a whole tile: one comparison of 256 numbers gives a bit mask of the pixels that
go left. Pixels that reach the node are another mask, so only nodes that some pixel reaches cost
anything, and neighbours, who decide alike, share nearly all of them.

Nodes wait in a queue, several trees at a time, instead of being followed one by one: whether a child
is reached only moves the end of the queue. So nothing has to be guessed by the processor (on branching
descents it guesses wrong at half of the nodes, which costs more than the comparison), and comparisons
of independent nodes overlap.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import address, apart, inline, splatted
from gpuseg.backends.base import ForestArrays
from gpuseg.backends.order import by_depth

TILE = 256  # pixels that walk together
WORDS = TILE // 64
BATCH = 10  # trees in the queue together: enough to overlap, few enough for the first-level cache
AHEAD = 8  # comparisons made before the first of them is used
COUNTED = 250  # trees whose votes fit a byte
IMPURE = -(2**31)  # in place of a left child: the node is a leaf that holds several classes
_BIT, _BYTE, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
_MASK = ir.VectorType(_I64, WORDS)


@dataclass(frozen=True, slots=True)
class Packed:
    """A forest in the order of its walk.

    nodes: (n, 4) int32: threshold (bits of a float32), feature * TILE, left, right. A child is the
    position of its first number in `nodes`, or ~place of the votes of a class for a pure leaf.
    """

    nodes: NDArray[np.int32]
    roots: NDArray[np.int32]
    leaves: NDArray[np.float32]
    shares: NDArray[np.float32]  # probability that so many votes make
    queue: int  # nodes that can wait at most
    features: int  # columns it may ask for

    def scratch(self) -> "Scratch":
        classes = self.leaves.shape[1]
        return Scratch(
            masks=aligned(WORDS * (classes * BATCH + self.queue), np.uint64),
            waiting=np.empty(self.queue, np.int32),
            compared=aligned(WORDS * AHEAD, np.uint64),
            votes=aligned(classes * TILE, np.uint8),
            sums=np.zeros(classes * TILE, np.float32),
        )


@dataclass(frozen=True, slots=True)
class Scratch:
    """What one thread needs to walk a forest."""

    masks: NDArray[np.uint64]  # votes of a batch, then the pixels that reach each waiting node
    waiting: NDArray[np.int32]
    compared: NDArray[np.uint64]
    votes: NDArray[np.uint8]
    sums: NDArray[np.float32]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.masks, self.waiting, self.compared, self.votes, self.sums


def aligned(n: int, dtype: Any) -> NDArray[Any]:
    """Empty array that starts at a cache line, as vectors of 64 bytes want it."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(n * size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n * size].view(dtype)


def pack(forest: ForestArrays) -> Packed:
    """Put the nodes of each tree in the order of their depth, and votes in place of pure leaves."""
    feature, left = forest.feature, forest.left.astype(np.int64)
    classes = forest.leaves.shape[1]
    pure = np.where(forest.leaves.max(1) == 1, forest.leaves.argmax(1), -1)
    leaf = feature < 0
    kept = ~leaf | (pure[np.where(leaf, left, 0)] < 0)
    kept[forest.roots] = True  # a tree of a single leaf still needs a node to start from
    tree, order = by_depth(forest)
    order = order[kept[order]]
    place = np.full(len(feature), -1, np.int64)
    place[order] = 4 * np.arange(len(order))
    slot = ~(WORDS * (classes * (tree % BATCH) + pure[np.where(leaf, left, 0)]))
    child = np.where(kept, place, slot)
    here = order[~leaf[order]]
    rows = np.flatnonzero(~leaf[order])
    nodes = np.zeros((len(order), 4), np.int32)
    nodes[rows, 0] = forest.threshold[here].view(np.int32)
    nodes[rows, 1] = feature[here] * TILE
    nodes[rows, 2], nodes[rows, 3] = child[left[here]], child[left[here] + 1]
    ends = np.flatnonzero(leaf[order])
    nodes[ends, 2], nodes[ends, 3] = IMPURE, left[order[ends]]
    per_tree = np.bincount(tree[order], minlength=len(forest.roots))
    batches = np.add.reduceat(per_tree, np.arange(0, len(per_tree), BATCH))
    shares = (np.arange(256) / len(forest.roots)).astype(np.float32)
    return Packed(
        nodes,
        place[forest.roots].astype(np.int32),
        forest.leaves,
        shares,
        queue=int(batches.max()) + 2,
        features=int(feature.max(initial=-1)) + 1,
    )


@intrinsic
def _compare(typing: Any, pixels: Any, at: Any, nodes: Any, node: Any, compared: Any, to: Any) -> Any:
    """Bit mask of the pixels whose number at `at` is below the threshold of the node."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.FloatType(), 64)
        threshold = builder.load(address(context, builder, sig.args[2], args[2], args[3], ir.FloatType()))
        limit = splatted(builder, threshold, kind)
        for word in range(WORDS):
            at = builder.add(args[1], ir.Constant(_I64, 64 * word))
            value = builder.load(address(context, builder, sig.args[0], args[0], at, kind))
            value.align = 64
            mask = builder.bitcast(builder.fcmp_ordered("<", value, limit), _I64)
            place = builder.add(args[5], ir.Constant(_I64, word))
            builder.store(mask, address(context, builder, sig.args[4], args[4], place, _I64))
        return context.get_dummy_value()

    return types.void(pixels, types.intp, nodes, types.intp, compared, types.intp), emit


@intrinsic
def _descend(
    typing: Any, masks: Any, queue: Any, waiting: Any, i: Any, end: Any, nodes: Any, compared: Any, at: Any
) -> Any:
    """Hand the pixels of the i-th waiting node to its children; the new end of the queue.

    An inner child takes the place at the end of the queue, and keeps it if any pixel came. A pure leaf
    adds the pixels to the votes of its class, at ~child.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        masks, queue, waiting, i, end, nodes, compared, at = args

        def place(k: int, array: Any, index: Any, kind: Any) -> Any:
            return address(context, builder, sig.args[k], array, index, kind)

        def slot(n: Any) -> Any:
            return builder.add(queue, builder.mul(n, ir.Constant(_I64, WORDS)))

        node = builder.sext(builder.load(place(2, waiting, i, _I32)), _I64)
        less, pixels = (
            builder.load(place(6, compared, at, _MASK)),
            builder.load(place(0, masks, slot(i), _MASK)),
        )
        less.align = pixels.align = 32
        left = builder.and_(pixels, less)
        for field, going in ((2, left), (3, builder.xor(pixels, left))):
            child = builder.load(place(5, nodes, builder.add(node, ir.Constant(_I64, field)), _I32))
            builder.store(child, place(2, waiting, end, _I32))
            child = builder.sext(child, _I64)
            is_leaf = builder.icmp_signed("<", child, ir.Constant(_I64, 0))
            to = place(0, masks, builder.select(is_leaf, builder.not_(child), slot(end)), _MASK)
            before = builder.load(to)
            before.align = 32
            votes = builder.and_(before, splatted(builder, builder.sext(is_leaf, _I64), _MASK))
            builder.store(builder.or_(votes, going), to).align = 32
            wide = ir.IntType(64 * WORDS)
            reached = builder.icmp_unsigned("!=", builder.bitcast(going, wide), ir.Constant(wide, 0))
            stays = builder.and_(reached, builder.not_(is_leaf))
            end = builder.add(end, builder.zext(stays, _I64))
        return end

    signature = types.intp(masks, types.intp, waiting, types.intp, types.intp, nodes, compared, types.intp)
    return signature, emit


@intrinsic
def _vote(typing: Any, votes: Any, at: Any, masks: Any, mask: Any) -> Any:
    """Add one vote for every pixel of a mask."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for word in range(WORDS):
            index = builder.add(args[3], ir.Constant(_I64, word))
            bits = builder.load(address(context, builder, sig.args[2], args[2], index, _I64))
            kind = ir.VectorType(_BYTE, 64)
            one = builder.zext(builder.bitcast(bits, ir.VectorType(_BIT, 64)), kind)
            at = builder.add(args[1], ir.Constant(_I64, 64 * word))
            place = address(context, builder, sig.args[0], args[0], at, kind)
            count = builder.load(place)
            count.align = 64
            builder.store(builder.add(count, one), place).align = 64
        return context.get_dummy_value()

    return types.void(votes, types.intp, masks, types.intp), emit


@intrinsic
def _at(typing: Any, array: Any, index: Any) -> Any:
    """`array[index]` of int32 as an index: no bounds check, no negative indices."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sext(
            builder.load(address(context, builder, sig.args[0], args[0], args[1], _I32)), _I64
        )

    return types.intp(array, types.intp), emit


@apart
def walk(pixels, start, nodes, roots, leaves, masks, waiting, compared, votes, sums):
    """Votes of all trees for one tile: `votes` for pure leaves, `sums` for the others; True if any.

    pixels: aligned float32, feature f of pixel i at start + f * TILE + i.
    """
    classes = leaves.shape[1]
    queue = WORDS * classes * BATCH
    impure = False
    votes[:] = 0
    for first in range(0, roots.size, BATCH):
        trees = min(BATCH, roots.size - first)
        if first and first % COUNTED == 0:
            impure = True
            for i in range(votes.size):
                sums[i] += votes[i]
                votes[i] = 0
        masks[: WORDS * classes * trees] = 0
        masks[queue : queue + WORDS * trees] = ~np.uint64(0)
        waiting[:trees] = roots[first : first + trees]
        done, end = 0, trees
        while done < end:
            stop = min(end, done + AHEAD)
            for i in range(done, stop):
                node = _at(waiting, i)
                _compare(pixels, start + _at(nodes, node + 1), nodes, node, compared, WORDS * (i - done))
            for i in range(done, stop):
                node = _at(waiting, i)
                if _at(nodes, node + 2) == IMPURE:
                    impure = True
                    _share(masks, queue + WORDS * i, leaves[_at(nodes, node + 3)], sums)
                else:
                    end = _descend(masks, queue, waiting, i, end, nodes, compared, WORDS * (i - done))
            done = stop
        for tree in range(trees):
            for k in range(classes):
                _vote(votes, k * TILE, masks, WORDS * (classes * tree + k))
    return impure


@inline
def _share(masks, at, leaf, sums):
    """Add the probabilities of a leaf that holds several classes."""
    for i in range(TILE):
        if masks[at + (i >> 6)] >> np.uint64(i & 63) & np.uint64(1):
            for k in range(leaf.size):
                sums[k * TILE + i] += leaf[k]


@inline
def finish(votes, sums, shares, impure, trees, out, o, first, count):
    """Probabilities of `count` pixels of the tile, from `first` on, at `out` from o, classes innermost."""
    flat = out.reshape(-1)
    classes = votes.size // TILE
    for k in range(classes):
        for i in range(count):
            share = shares[votes[k * TILE + first + i]]
            if impure:
                share += sums[k * TILE + first + i] / np.float32(trees)
            flat[o + i * classes + k] = share
