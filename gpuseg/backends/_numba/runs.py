"""Runs, neighbours along x of equal non-zero value: found 64 pixels at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpuseg.backends._numba.simd import address, inline, kernel

PIXELS = 64  # of a word: a bit each
_WORD = ir.IntType(PIXELS)


def _edges(bordering: Callable[[Any, Any], Any]) -> Any:
    """Bits of the pixels from `at` on: other than their left neighbour, and `bordering` of both not 0."""

    @intrinsic
    def word(typing: Any, pixels: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = ir.VectorType(context.get_value_type(sig.args[0].dtype), PIXELS)

            def load(index: Any) -> Any:
                value = builder.load(address(context, builder, sig.args[0], args[0], index, vector))
                value.align = sig.args[0].dtype.bitwidth // 8
                return value

            here, left = load(args[1]), load(builder.sub(args[1], args[1].type(1)))
            other = builder.icmp_unsigned("!=", here, left)
            object_ = builder.icmp_unsigned("!=", bordering(here, left), ir.Constant(vector, None))
            return builder.bitcast(builder.and_(other, object_), _WORD)

        return types.uint64(pixels, types.intp), emit

    return word


_starts, _ends = _edges(lambda here, left: here), _edges(lambda here, left: left)


def _counting(emitted: Callable[[Any, Any], Any]) -> Any:
    @intrinsic
    def count(typing: Any, word: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emitted(builder, args[0])

        return types.intp(types.uint64), emit

    return count


_NOT_ZERO = ir.Constant(ir.IntType(1), 1)
ones = _counting(lambda builder, word: builder.ctpop(word))  # how many bits are set
lowest = _counting(lambda builder, word: builder.cttz(word, _NOT_ZERO))  # place of the lowest of them
highest = _counting(lambda builder, word: builder.xor(builder.ctlz(word, _NOT_ZERO), _WORD(PIXELS - 1)))


@inline
def words(pixels, at, x, count):
    """Bits of starts and of ends among `count` pixels of a row, up to 64, that begin at its pixel x."""
    known = PIXELS - count  # pixels to load once more, so that the end of a row is a word too
    if x > known:
        done = np.uint64(known)
        return _starts(pixels, at - known) >> done, _ends(pixels, at - known) >> done
    starts, ends = np.uint64(0), np.uint64(0)
    left = pixels.dtype.type(0) if x == 0 else pixels[at - 1]
    for i in range(count):
        here = pixels[at + i]
        if here != left:
            bit = np.uint64(1) << np.uint64(i)
            starts |= bit if here != 0 else np.uint64(0)
            ends |= bit if left != 0 else np.uint64(0)
        left = here
    return starts, ends


@inline
def step(x, width):
    """Pixels of the next word: one at the start of a row, where there is no left neighbour to load."""
    return 1 if x == 0 else min(PIXELS, width - x)


@kernel
def count_runs(pixels, width, begin, end, counts):
    """Runs of each row from `begin` to `end`; pixels: all rows in one."""
    for row in range(begin, end):
        x = runs = 0
        while x < width:
            n = step(x, width)
            runs += ones(words(pixels, row * width + x, x, n)[0])
            x += n
        counts[row] = runs


@kernel
def find_runs(pixels, width, begin, end, first, start, stop):
    """Where the runs of these rows start and stop, those of row r from first[r] on."""
    for row in range(begin, end):
        opened = closed = first[row]
        x = 0
        while x < width:
            n = step(x, width)
            starts, ends = words(pixels, row * width + x, x, n)
            while starts:
                start[opened] = x + lowest(starts)
                starts &= starts - np.uint64(1)
                opened += 1
            while ends:
                stop[closed] = x + lowest(ends)
                ends &= ends - np.uint64(1)
                closed += 1
            x += n
        if closed < opened:
            stop[closed] = width
