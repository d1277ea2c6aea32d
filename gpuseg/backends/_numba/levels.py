"""A queue of pixels by priority, of equal ones by age, whose priorities only rise.

A radix heap (Ahuja, Mehlhorn, Orlin, Tarjan, JACM 37(2), 1990): a list for each value of each digit of a key.
A pixel stands in the list of the highest digit in which its key differs from that of the pixel taken last. So
it moves at most once a digit, equal ones are always in one list, and lists keep them by age. Lists are chunks
of one array: they are read from one end to the other, while links from pixel to pixel would lead all over it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.runs import highest, lowest
from gpuseg.backends._numba.simd import inline

BITS = 8  # of a digit
VALUES, DIGITS = 2**BITS, 32 // BITS
LISTS = VALUES * DIGITS
CHUNK = 32  # pixels
PLACE = 2**31 - 1  # bits of an entry that say where its pixel is; those above are its key


class Queue(NamedTuple):
    """One thread's."""

    entries: NDArray[np.int64]  # CHUNK of each chunk
    link: NDArray[np.int32]  # the chunk behind each one
    ends: NDArray[np.int32]  # of each list: first chunk, last chunk, pixels taken of that, pixels in this
    used: NDArray[np.uint64]  # a bit for each list that is not empty
    spare: NDArray[np.int32]  # chunks: the last one given back, or -1; how many were ever taken


def queue(pixels: int) -> Queue:
    """An empty queue for so many at most; memory is taken where it is used."""
    chunks = pixels // CHUNK + 2 * LISTS + 2  # a list has two that are not full; one is being read
    return Queue(
        np.empty(chunks * CHUNK, np.int64),
        np.empty(chunks, np.int32),
        np.empty((LISTS, 4), np.int32),
        np.zeros(LISTS // 64, np.uint64),
        np.array([-1, 0], np.int32),
    )


@inline
def _chunk(q):
    """One that is free."""
    chunk = q.spare[0]
    if chunk >= 0:
        q.spare[0] = q.link[chunk]
        return chunk
    q.spare[1] += 1
    return np.int32(q.spare[1] - 1)


@inline
def _give_back(chunk, q):
    q.link[chunk] = q.spare[0]
    q.spare[0] = chunk


@inline
def push(entry, now, q):
    """Append to the list of the highest digit of its key that differs from those of the key `now`."""
    key = entry >> 31
    other = np.uint64(key ^ now)
    shift = highest(other) // BITS * BITS if other else 0
    at = shift // BITS * VALUES + ((key >> shift) & (VALUES - 1))
    ends, bit = q.ends[at], np.uint64(1) << np.uint64(at & 63)
    if not q.used[at >> 6] & bit:
        q.used[at >> 6] |= bit
        ends[0] = ends[1] = _chunk(q)
        ends[2] = ends[3] = 0
    elif ends[3] == CHUNK:
        fresh = _chunk(q)
        q.link[ends[1]] = fresh
        ends[1], ends[3] = fresh, 0
    q.entries[ends[1] * CHUNK + ends[3]] = entry
    ends[3] += 1


@inline
def take(at, q):
    """The first entry of a list, which is not empty."""
    ends = q.ends[at]
    entry = q.entries[ends[0] * CHUNK + ends[2]]
    ends[2] += 1
    if ends[0] == ends[1] and ends[2] == ends[3]:
        q.used[at >> 6] ^= np.uint64(1) << np.uint64(at & 63)
        _give_back(ends[0], q)
    elif ends[2] == CHUNK:
        after = q.link[ends[0]]
        _give_back(ends[0], q)
        ends[0], ends[2] = after, 0
    return entry


@inline
def _least(digit, q):
    """The first list of this digit that is not empty, or -1."""
    for word in range(digit * VALUES // 64, (digit + 1) * VALUES // 64):
        if q.used[word]:
            return word * 64 + lowest(q.used[word])
    return -1


@inline
def least(now, q):
    """The list of the lowest keys, all alike, and that key; -1 if the queue is empty."""
    at = _least(0, q)
    if at >= 0:
        return at, (now & -VALUES) | at
    for digit in range(1, DIGITS):
        at = _least(digit, q)
        if at >= 0:
            return _spread(at, q)
    return at, now


@inline
def _spread(at, q):
    """Move a list's pixels to those of lower digits; `least` then."""
    q.used[at >> 6] ^= np.uint64(1) << np.uint64(at & 63)
    first, last, begin, filled = q.ends[at, 0], q.ends[at, 1], q.ends[at, 2], q.ends[at, 3]
    now = q.entries[first * CHUNK + begin] >> 31
    chunk, i = first, begin
    while chunk != last or i < filled:
        now = min(now, q.entries[chunk * CHUNK + i] >> 31)
        i += 1
        if i == CHUNK and chunk != last:
            chunk, i = q.link[chunk], np.int32(0)
    chunk, i = first, begin
    while chunk != last or i < filled:
        push(q.entries[chunk * CHUNK + i], now, q)
        i += 1
        if i == CHUNK and chunk != last:
            after = q.link[chunk]
            _give_back(chunk, q)
            chunk, i = after, np.int32(0)
    _give_back(last, q)
    return now & (VALUES - 1), now
