"""Painted pixels and their feature rows, sorted by position so that a new stroke is merged, not searched."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import LabelError, ShapeError
from gpuseg.forests.training import MAX_VALUE
from gpuseg.pixel.images import PLACE, Picture, Scribbled

Flat = NDArray[np.int64]  # positions counted through (t, z, y, x), x fastest


def _none() -> Flat:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Strokes:
    """All painted pixels of an image; a new stroke makes a new object, so that readers need no lock."""

    at: Flat = field(default_factory=_none)  # ascending
    labels: NDArray[np.int64] = field(default_factory=_none)  # 1 and above

    def painted(self, at: Flat, labels: NDArray[np.int64]) -> Self:
        """With a stroke on top: of equal positions the last counts, label 0 erases."""
        at, last = np.unique(at[::-1], return_index=True)
        labels = labels[::-1][last]
        found, known = _find(self.at, at)
        kept = np.ones(len(self.at), bool)
        kept[found[known]] = False
        below, colored = self.at[kept], labels > 0
        place = np.searchsorted(below, at[colored])
        return type(self)(
            np.insert(below, place, at[colored]), np.insert(self.labels[kept], place, labels[colored])
        )

    def scribbled(self, picture: Picture) -> Scribbled:
        """As training takes them."""
        return Scribbled(picture, places(self.at, picture), self.labels)

    def sparse(self, picture: Picture) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Coordinates along the image's axes without c, and classes: what `PixelClassifier.fit` takes."""
        return places(self.at, picture)[:, [PLACE.index(a) for a in picture.places]], self.labels.copy()


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Feature rows of the painted pixels of an image."""

    at: Flat  # ascending
    rows: NDArray[np.float32]  # (n, features)

    @classmethod
    def none(cls, features: int) -> Self:
        return cls(_none(), np.empty((0, features), np.float32))

    def follow(self, at: Flat, compute: Callable[[Flat], NDArray[np.float32]]) -> Self:
        """Rows of these pixels; `compute` is asked for those that are not here, the others are dropped."""
        rows = np.empty((len(at), self.rows.shape[1]), np.float32)
        found, known = _find(self.at, at)
        rows[known] = self.rows[found[known]]
        if not known.all():
            rows[~known] = compute(at[~known])
        return type(self)(at, rows)


def _find(sorted_: Flat, wanted: Flat) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each wanted position would stand among the sorted ones, and whether it stands there."""
    place = np.searchsorted(sorted_, wanted)
    known = np.zeros(len(wanted), bool)
    inside = place < len(sorted_)
    known[inside] = sorted_[place[inside]] == wanted[inside]
    return place, known


def places(at: Flat, picture: Picture) -> NDArray[np.intp]:
    """Coordinates (n, 4), t z y x, of flat positions."""
    return np.column_stack(np.unravel_index(at, [picture.sizes[a] for a in PLACE]))


def flat(where: Any, values: Any, picture: Picture) -> tuple[Flat, NDArray[np.int64]]:
    """A stroke as a user gives it, checked, as flat positions and labels. ShapeError, LabelError."""
    where, values = np.asarray(where), np.asarray(values)
    axes = picture.places
    if where.size == 0:
        return _none(), _none()
    if where.ndim != 2 or where.shape[1] != len(axes) or values.shape not in ((), (len(where),)):
        raise ShapeError(
            f"where has shape {where.shape}, values {values.shape}; for {picture.name} they must be "
            f"(n, {len(axes)}), along {axes}, and (n,)"
        )
    if where.dtype.kind not in "iu" or values.dtype.kind not in "iu":
        raise LabelError(f"where is {where.dtype}, values are {values.dtype}; both must be integers")
    limit = np.array([picture.sizes[a] for a in axes])
    if (outside := ((where < 0) | (where >= limit)).any(axis=1)).any():
        first = tuple(int(i) for i in where[outside.argmax()])
        raise LabelError(
            f"where: pixel {first} is outside of {picture.name}, {tuple(limit.tolist())} along {axes}",
            hint="cut the brush at the border of the image",
        )
    if values.min() < 0 or values.max() > MAX_VALUE:
        wrong = values.min() if values.min() < 0 else values.max()
        raise LabelError(f"values: {wrong}; classes are 1 to {MAX_VALUE}, 0 erases")
    at = np.zeros(len(where), np.int64)
    for letter in PLACE:
        at *= picture.sizes[letter]
        if letter in axes:
            at += where[:, axes.index(letter)].astype(np.int64)
    return at, np.broadcast_to(values, len(where)).astype(np.int64)
