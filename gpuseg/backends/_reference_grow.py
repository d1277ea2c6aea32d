"""What growing trees means, in NumPy: node by node, breadth-first.

draws    draw(key, i), a hash: whoever asks, in whatever order, gets the same number
keys     of a tree from the seed, of a node from its parent's and its side: numbering does not matter
node     `tried` features are drawn; the split of least Gini impurity wins, of equal ones that of the
         feature drawn first, then the lowest code. As in scikit-learn a split that gains nothing is taken
         too, and a node that its features do not divide takes any other feature that does.
threshold  halfway between the codes left and right of it that occur in the node
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Grown, Growth

CODES = 256
MASK, GOLDEN = 0xFFFFFFFF, 0x9E3779B9
CHILD, REST = 0x5BD1E995, 0x27D4EB2F  # tell apart what a node's key is used for
BAG, ROOT = 0, 1  # draws from a tree's key

Split = tuple[int, int]  # feature, code


def mix(x: int) -> int:
    """Every bit of the answer depends on every bit of x, 32 bits each (Wellons, lowbias32, 2018)."""
    x = ((x ^ x >> 16) * 0x7FEB352D) & MASK
    x = ((x ^ x >> 15) * 0x846CA68B) & MASK
    return x ^ x >> 16


def draw(key: int, i: int) -> int:
    """The i-th number of `key`'s sequence, 32 bits."""
    return mix((key + (i + 1) * GOLDEN) & MASK)


def below(number: int, n: int) -> int:
    """A 32-bit number scaled to 0..n-1."""
    return number * n >> 32


def grow(codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth) -> Grown:
    """`Backend.grow`."""
    return joined([_tree(codes, target, how, draw(mix(how.seed), t)) for t in range(how.trees)])


def joined(trees: list[Grown]) -> Grown:
    """Trees one after the other; `sizes` and `leaf` of each are of one tree."""
    return Grown(*(np.concatenate(part) for part in zip(*trees, strict=True)))


def drawn(key: int, rows: int) -> NDArray[np.int64]:
    """How often each row is in a tree's bag."""
    bag = draw(key, BAG)
    return np.bincount([below(draw(bag, i), rows) for i in range(rows)], minlength=rows)


def _tree(codes: NDArray[np.uint8], target: NDArray[np.uint8], how: Growth, key: int) -> Grown:
    times = drawn(key, len(target))
    nodes = [(draw(key, ROOT), np.flatnonzero(times))]
    splits, left, counts = [], [], []
    for key, rows in nodes:  # grows meanwhile
        here = np.bincount(target[rows], times[rows], how.classes).astype(np.int64)
        counts.append(here)
        found = None
        if np.count_nonzero(here) > 1:
            found = _split(codes[:, rows], target[rows], times[rows], how, key)
        splits.append(found or (-1, 0))
        left.append(len(nodes) if found else 0)
        if found:
            low = codes[found[0], rows] <= found[1]
            nodes += [(draw(key ^ CHILD, side), rows[low ^ bool(side)]) for side in (0, 1)]
    feature, code = np.array(splits).T
    ends = _leaves(codes, feature, code, np.array(left))
    return Grown(
        feature.astype(np.int32),
        code.astype(np.uint8),
        np.array(left, np.int32),
        np.array(counts, np.uint32),
        np.array([len(nodes)], np.int32),
        np.where(times > 0, -1, ends).astype(np.int32)[None],
    )


def _split(
    codes: NDArray[np.uint8], target: NDArray[np.uint8], times: NDArray[np.int64], how: Growth, key: int
) -> Split | None:
    """Feature and code that divide the rows best, None if no feature divides them."""
    best, split = -1.0, None
    for f in _drawn_features(key, len(codes), how.tried):
        quality, code = _threshold(codes[f], target, times, how.classes)
        if quality > best:
            best, split = quality, (f, code)
    if split is None and (others := np.flatnonzero(codes.min(axis=1) < codes.max(axis=1))).size:
        f = min(others.tolist(), key=lambda f: draw(key ^ REST, f))
        split = f, _threshold(codes[f], target, times, how.classes)[1]
    return split


def _drawn_features(key: int, features: int, tried: int) -> list[int]:
    """Features in the order they are drawn, none twice (Fisher and Yates)."""
    order = list(range(features))
    for i in range(tried):
        other = i + below(draw(key, i), features - i)
        order[i], order[other] = order[other], order[i]
    return order[:tried]


def _threshold(
    codes: NDArray[np.uint8], target: NDArray[np.uint8], times: NDArray[np.int64], classes: int
) -> tuple[float, int]:
    """Best split of one feature: the larger the number, the less the impurity; (-1, 0) if all are alike."""
    table = np.zeros((CODES, classes), np.int64)
    np.add.at(table, (codes, target), times)
    present = np.flatnonzero(table.any(axis=1))
    if len(present) < 2:
        return -1.0, 0
    low = table[present].cumsum(axis=0)
    low, high = low[:-1], low[-1] - low[:-1]
    quality = (low**2).sum(1) / low.sum(1) + (high**2).sum(1) / high.sum(1)
    at = int(quality.argmax())
    return float(quality[at]), int(present[at] + present[at + 1]) >> 1


def _leaves(
    codes: NDArray[np.uint8], feature: NDArray[np.int64], code: NDArray[np.int64], left: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The node in which each row ends."""
    node, rows = np.zeros(codes.shape[1], np.int64), np.arange(codes.shape[1])
    while (inner := feature[node] >= 0).any():
        goes_right = codes[feature[node], rows] > code[node]
        node = np.where(inner, left[node] + goes_right, node)
    return node
