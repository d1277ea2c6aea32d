"""What is asked of label images and done to them, pixel by pixel, on all cores."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import address, kernel, splatted
from gpuseg.backends._numba.threads import cores, spread

GROUP = 16  # labels that are compared at once
PART = 2**18  # pixels that one thread takes at a time


@intrinsic
def _same(typing: Any, labels: Any, at: Any) -> Any:
    """Whether GROUP labels from `at` on are equal: most are, and one comparison says so."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(sig.args[0].dtype), GROUP)
        value = builder.load(address(context, builder, sig.args[0], args[0], args[1], vector))
        value.align = sig.args[0].dtype.bitwidth // 8
        first = builder.extract_element(value, ir.Constant(ir.IntType(32), 0))
        other = builder.bitcast(
            builder.icmp_unsigned("!=", value, splatted(builder, first, vector)), ir.IntType(GROUP)
        )
        return builder.icmp_unsigned("==", other, ir.Constant(ir.IntType(GROUP), 0))

    return types.boolean(labels, types.intp), emit


@kernel
def _sizes(labels, out):
    i = 0
    while i < labels.size:
        if i + GROUP <= labels.size and _same(labels, i):
            out[labels[i]] += GROUP
            i += GROUP
            continue
        end = min(i + GROUP, labels.size)
        start = i
        for j in range(i + 1, end + 1):  # run by run: adding to one place again and again waits for itself
            if j == end or labels[j] != labels[start]:
                out[labels[start]] += j - start
                start = j
        i = end


@kernel
def _touch(labels, marks, good, out):
    i = 0
    while i < labels.size:
        end = min(i + GROUP, labels.size)
        if marks[i] != 0 or end - i < GROUP or not _same(marks, i):
            for j in range(i, end):
                if marks[j] != 0 and good[marks[j]]:
                    out[labels[j]] = True
        i = end


@kernel
def _pick(labels, values, out):
    for i in range(labels.size):
        if labels[i]:
            out[labels[i]] = values[i]


@kernel
def _rename(labels, table, out):
    for i in range(labels.size):
        out[i] = table[labels[i]]


@kernel
def _firsts(labels, out):
    found = 0
    for i in range(labels.size):
        if labels[i] and out[labels[i]] < 0:
            out[labels[i]] = i
            found += 1
            if found == out.size - 1:
                return


@kernel
def _tally(labels, core, out, box):
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            inside = z < core[0] and y < core[1]
            for x in range(labels.shape[2]):
                k = labels[z, y, x]
                if k:
                    if inside and x < core[2]:
                        out[k] += 1
                    low, high = box[k, 0], box[k, 1]
                    low[0], high[0] = min(low[0], z), max(high[0], z)
                    low[1], high[1] = min(low[1], y), max(high[1], y)
                    low[2], high[2] = min(low[2], x), max(high[2], x)


def _parts(size: int) -> int:
    return -(-size // PART)


def _part(i: int) -> slice:
    return slice(i * PART, (i + 1) * PART)


def sizes(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pixels of each of the objects 1 to `count`."""
    flat = labels.reshape(-1)
    groups = max(1, min(cores(), flat.size // (8 * count + 8)))  # else adding up takes longer than counting
    partial = np.zeros((groups, count + 1), np.int64)
    ends = np.linspace(0, flat.size, groups + 1).astype(np.int64)
    spread(groups, lambda i, _: _sizes(flat[ends[i] : ends[i + 1]], partial[i]), lambda: None)
    total: NDArray[np.int64] = partial.sum(axis=0)[1:]
    return total


def touched(
    labels: NDArray[np.int32], count: int, marks: NDArray[Any], good: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the objects 1 to `count` have a pixel of a good mark; good[k]: whether mark k is."""
    flat, marked, out = labels.reshape(-1), marks.reshape(-1), np.zeros(count + 1, np.bool_)
    spread(_parts(flat.size), lambda i, _: _touch(flat[_part(i)], marked[_part(i)], good, out), lambda: None)
    return out[1:]


def picked(labels: NDArray[np.int32], count: int, values: NDArray[Any]) -> NDArray[Any]:
    """The value of each of the objects 1 to `count`, where all pixels of one have the same."""
    flat, given, out = labels.reshape(-1), values.reshape(-1), np.zeros(count + 1, values.dtype)
    spread(_parts(flat.size), lambda i, _: _pick(flat[_part(i)], given[_part(i)], out), lambda: None)
    return out[1:]


def renamed(labels: NDArray[np.int32], table: NDArray[Any]) -> NDArray[Any]:
    """`table[labels]`, put in the place of `labels` if it has their type."""
    out = labels if labels.dtype == table.dtype else np.empty(labels.shape, table.dtype)
    flat, to = labels.reshape(-1), out.reshape(-1)
    spread(_parts(flat.size), lambda i, _: _rename(flat[_part(i)], table, to[_part(i)]), lambda: None)
    return out


def firsts(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Place in memory of the first pixel of each of the objects 1 to `count`, -1 where there is none."""
    out = np.full(count + 1, -1, np.int64)
    _firsts(labels.reshape(-1), out)
    return out[1:]


def tally(
    labels: NDArray[np.int32], count: int, core: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of each of the objects 1 to `count` in the first `core` places, and boxes of whole objects.

    Boxes: (n, 2, 3), first and last place along z, y, x.
    """
    found, box = np.zeros(count + 1, np.int64), np.zeros((count + 1, 2, 3), np.int64)
    box[:, 0] = np.iinfo(np.int64).max
    _tally(labels, np.array(core), found, box)
    return found[1:], box[1:]
