"""Labels taken over to a new segmentation, each to the object that shares most pixels with the old one.

Images are read tile by tile, and only counts of pixels that two objects share are kept.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ShapeError
from gpuseg.object.labels import Lost, ObjectLabels, beyond, conflict, groups, objects_of
from gpuseg.object.positions import inside, numbered_tiles, opened, places, values_at
from gpuseg.objects.pixels import PLACES, Pixels, numbered

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Labels of the new objects, and what became of all others."""

    labels: ObjectLabels  # ids and positions in the new image
    overlap: NDArray[np.float64]  # (n,) of each: pixels that old and new object share, by pixels of either
    lost: tuple[Lost, ...]
    repeated: tuple[Lost, ...]  # whose object has the same class by another label


def carry(labels: ObjectLabels, old: Any, new: Any, axes: str | None = None) -> Carried:
    """Labels of one image, made on the label image `old`, for the objects of `new`.

    Each goes to the new object that shares most pixels with its old one, of equals to the lowest id. Where
    labels of different classes come to one object all of them are lost. Every label is in one of `labels`,
    `lost` and `repeated`.

    >>> old, new = np.array([[5, 5, 5, 0, 8]]), np.array([[2, 3, 3, 3, 0]])
    >>> found = carry(ObjectLabels.of(old, {5: 1, 8: 2}), old, new)
    >>> found.labels.id.tolist(), found.overlap.tolist()
    ([3], [0.5])
    >>> print(found.lost[0])
    object 8, z 0, y 0, x 4, class 2: no object is there any more
    """
    before, after = opened(old, axes), opened(new, axes)
    ours, theirs = ({a: p.sizes[a] for a in PLACES} for p in (before, after))
    if ours != theirs:
        raise ShapeError(f"{after.name} is {theirs}, {before.name} is {ours}", hint="both are of one image")
    fates = _Fates(labels.of_one_image())
    for t in np.unique(labels.t[labels.t < ours["t"]]).tolist():
        rows, ids = fates.found(np.flatnonzero(labels.t == t), before, t)
        rows, ids = fates.alone(rows, ids, "object")
        rows, ids = fates.moved(rows, _shared(before, after, t, ids))
        rows, ids = fates.alone(rows, ids, "new object")
        fates.position[rows] = inside(after, t, ids)
    return fates.told(before)


class _Fates:
    """What becomes of each label: the pixel of a new object, or a reason why it has none."""

    def __init__(self, labels: ObjectLabels) -> None:
        n = len(labels)
        self._labels = labels
        self._id, self._overlap = np.zeros(n, np.int64), np.zeros(n)
        self._pixels = np.zeros(n, np.int64)  # that old and new object share
        self._lost: dict[int, str] = {}
        self._repeated: dict[int, str] = {}
        self.position = np.full((n, 3), -1)

    def found(self, rows: Ints, before: Pixels, t: int) -> tuple[Ints, Ints]:
        """Those that are of an object of the old image, and its id, which is not yet looked for."""
        own = self._labels.pick(rows)
        at = values_at(before, t, own.position)
        ids = np.unique(np.concatenate([at[at > 0], own.id[own.position[:, 0] < 0]]))
        found, why = objects_of(own, at, ids)
        self._lost |= {int(rows[i]): reason for i, reason in why.items()}
        return rows[found > 0], ids[found[found > 0] - 1]

    def alone(self, rows: Ints, ids: Ints, what: str) -> tuple[Ints, Ints]:
        """One for each object: of several of a class that which shares most; of several classes none."""
        kept = []
        for id, chosen in groups(ids):
            members = rows[chosen]
            values = np.unique(self._labels.value[members])
            if len(values) > 1:
                self._lost |= dict.fromkeys(members.tolist(), conflict(self._labels, values, f"{what} {id}"))
                continue
            best = int(members[np.argmax(self._pixels[members])])
            kept.append((best, id))
            same = f"same class as another label of {what} {id}"
            self._repeated |= {i: same for i in members.tolist() if i != best}
        both = np.array(kept, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def moved(self, rows: Ints, shared: "_Shared") -> tuple[Ints, Ints]:
        """Those that have a new object, and its id."""
        for i in np.flatnonzero(shared.id == 0).tolist():
            there = shared.size[i] > 0
            self._lost[int(rows[i])] = "no object is there any more" if there else "is not in the old image"
        self._id[rows], self._pixels[rows], self._overlap[rows] = shared.id, shared.pixels, shared.overlap
        return rows[shared.id > 0], shared.id[shared.id > 0]

    def told(self, before: Pixels) -> Carried:
        """Everything, in the order of the labels."""
        old = self._labels
        rows = np.flatnonzero(self.position[:, 0] >= 0)
        lost, repeated = (
            tuple(old.lost(i, why[i]) for i in sorted(why)) for why in (self._lost, self._repeated)
        )
        new = replace(old.pick(rows), id=self._id[rows], position=self.position[rows])
        return Carried(new, self._overlap[rows], (*lost, *beyond(old, before)), repeated)


@dataclass(frozen=True, slots=True)
class _Shared:
    """Of each of some old objects the new object that shares most pixels with it."""

    id: Ints  # 0 if there is none
    pixels: Ints  # of both
    overlap: NDArray[np.float64]
    size: Ints  # of the old object, 0 if it is not there


def _shared(before: Pixels, after: Pixels, t: int, ids: Ints) -> _Shared:
    """ids: of the old objects, each once."""
    known, back = np.unique(ids, return_inverse=True)
    pairs, sizes = _counted(before, after, t, known)
    new_ids, at = np.unique(sizes[0], return_inverse=True)
    size, new_size = _sums(pairs[0], pairs[2], len(known)), _sums(at, sizes[1], len(new_ids))
    pairs = pairs[:, pairs[1] > 0]
    key, at = np.unique(pairs[0] * len(new_ids) + np.searchsorted(new_ids, pairs[1]), return_inverse=True)
    count = _sums(at, pairs[2], len(key))
    old, new = np.divmod(key, max(1, len(new_ids)))
    order = np.lexsort((new, -count, old))  # of equal counts the lowest id
    own, first = np.unique(old[order], return_index=True)
    new, count = new[order[first]], count[order[first]]
    id, pixels, overlap = np.zeros(len(known), np.int64), np.zeros(len(known), np.int64), np.zeros(len(known))
    id[own], pixels[own] = new_ids[new], count
    overlap[own] = count / (size[own] + new_size[new] - count)
    return _Shared(id[back], pixels[back], overlap[back], size[back])


def _counted(before: Pixels, after: Pixels, t: int, known: Ints) -> tuple[Ints, Ints]:
    """By tile, one after the other: (3, k) place in `known`, new id, pixels; and (2, m) new id, pixels.

    A new id of 0 is the background.
    """
    pairs, sizes = [np.zeros((3, 0), np.int64)], [np.zeros((2, 0), np.int64)]
    for region, numbers, ids in numbered_tiles(before, t):
        new, new_ids = numbered(after.integers(t, region))
        sizes.append(np.stack([new_ids, np.bincount(new.reshape(-1), minlength=len(new_ids) + 1)[1:]]))
        own = places(known, ids)[numbers]
        there = own >= 0
        key, count = np.unique(own[there] * (len(new_ids) + 1) + new[there], return_counts=True)
        old, place = np.divmod(key, len(new_ids) + 1)
        pairs.append(np.stack([old, np.concatenate([[0], new_ids])[place], count]))
    return np.concatenate(pairs, 1), np.concatenate(sizes, 1)


def _sums(at: NDArray[Any], count: Ints, length: int) -> Ints:
    """Counts added up by place; exact below 2**53."""
    return np.bincount(at, count, length).astype(np.int64)
