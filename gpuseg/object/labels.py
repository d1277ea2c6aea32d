"""What people said of objects: a class each, kept with a pixel inside it, so that it outlives a segmentation.

An object is found again by that pixel; its id is used where the pixel is not known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg import classes as naming
from gpuseg.classes import Classes, LabelClass, default_name, label_classes
from gpuseg.errors import LabelError, ShapeError
from gpuseg.object.given import MOST, Class, Names, named_classes, triples, value_of
from gpuseg.object.positions import OUTSIDE, check_time, ids_at, inside, opened, values_at
from gpuseg.objects.pixels import LARGEST, Pixels

NAMED = 5  # objects that an error lists


@dataclass(frozen=True, slots=True)
class Lost:
    """A label that no object has, and why."""

    image: str
    t: int
    id: int  # 0 if unknown
    position: tuple[int, int, int] | None  # z, y, x
    value: int
    reason: str

    def __str__(self) -> str:
        return f"{described(self.image, self.t, self.id, self.position)}, class {self.value}: {self.reason}"


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Classes of the objects of a time point, and the labels that no object has."""

    classes: NDArray[
        np.int64
    ]  # (objects + 1,), by number of the object in ascending order of ids; 0 for none
    lost: tuple[Lost, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectLabels:
    """Classes of objects, a row for each that somebody labelled.

    >>> cells = np.array([[7, 7, 0], [0, 0, 9]])
    >>> labels = ObjectLabels.of(cells, {7: 1, 9: 2})
    >>> len(labels), labels.names
    (2, {1: 'Label 1', 2: 'Label 2'})
    """

    image: tuple[str, ...]  # "" where there is only one
    t: NDArray[np.int64]  # (n,)
    id: NDArray[np.int64]  # (n,) value of the object in the image it was labelled in, 0 if unknown
    position: NDArray[np.int64]  # (n, 3) z, y, x of a pixel inside it, -1 if unknown
    value: NDArray[np.int64]  # (n,) its class, from 1
    classes: Classes = ()  # all of 1, 2, ...; those that are missing are added

    def __post_init__(self) -> None:
        n = len(self.image)
        for name, width in (("t", ()), ("id", ()), ("position", (3,)), ("value", ())):
            given = np.asarray(getattr(self, name))
            if given.size and given.dtype.kind not in "iu":
                raise LabelError(f"{name}: {given.dtype}; whole numbers are needed")
            if given.shape != (n, *width) and (n or given.size):
                raise ShapeError(f"{name}: shape {given.shape} for {n} labels, {(n, *width)} is needed")
            object.__setattr__(self, name, given.astype(np.int64, copy=False).reshape(n, *width))
        object.__setattr__(self, "classes", _complete(self.classes, int(self.value.max(initial=0))))
        _check(self)

    @classmethod
    def of(
        cls,
        labels_image: Any,
        classes_of: Any,
        *,
        axes: str | None = None,
        names: Names = (),
        image: str = "",
    ) -> Self:
        """Of the objects of a label image, an array or an open one.

        classes_of: {id: class}, {(t, id): class}, a class for each id from 0 on, or a list with one of these
        for each time point. A class is its value from 1 or, if there are `names`, its name; 0 is unlabelled.
        LabelError names objects that are not in the image.

        >>> cells = np.array([[7, 7, 0], [0, 0, 9]])
        >>> labels = ObjectLabels.of(cells, {7: "round", 9: "long"}, names=["round", "long"])
        >>> labels.value.tolist(), labels.position.tolist()
        ([1, 2], [[0, 0, 0], [0, 1, 2]])
        """
        pixels = opened(labels_image, axes)
        named = named_classes(names)
        rows = triples(classes_of, pixels, named)
        t, ids, value = np.array(rows, np.int64).reshape(-1, 3).T
        unknown = np.full((len(rows), 3), -1)
        return cls((image,) * len(rows), t, ids, unknown, value, named).located(pixels)

    @classmethod
    def at_positions(
        cls,
        position: Any,
        classes: Sequence[Class],
        *,
        t: int | Sequence[int] = 0,
        names: Names = (),
        image: str = "",
    ) -> Self:
        """Of whatever objects are at pixels (n, 3), z y x, or (n, 2), y x; of floats the nearest pixel.

        >>> ObjectLabels.at_positions([[1, 2], [0, 0]], [1, 2]).position.tolist()
        [[0, 1, 2], [0, 0, 0]]
        """
        where, named = np.asarray(position), named_classes(names)
        if not where.size:
            where = np.zeros((0, 3), np.int64)
        if where.ndim != 2 or where.shape[1] not in (2, 3) or len(where) != len(classes):
            raise ShapeError(f"position has shape {where.shape}; (n, 3) or (n, 2) and n classes are needed")
        if where.dtype.kind not in "iuf":
            raise LabelError(f"position: {where.dtype}; numbers are needed")
        if where.dtype.kind == "f":
            if not (np.abs(where) < LARGEST).all():
                raise LabelError("a position is NaN or larger than any image")
            where = np.rint(where).astype(np.int64)
        where = np.pad(where, ((0, 0), (3 - where.shape[1], 0)))
        if where.size and where.min() < 0:
            raise LabelError(f"position {where[(where < 0).any(1)][0].tolist()}: pixels count from 0")
        value = np.array([value_of(c, named) for c in classes], np.int64)
        times = np.broadcast_to(np.asarray(t), len(value))
        kept = value != 0
        n = int(kept.sum())
        return cls((image,) * n, times[kept], np.zeros(n, np.int64), where[kept], value[kept], named)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def names(self) -> dict[int, str]:
        """Name of every class by its value."""
        return {c.value: c.name for c in self.classes}

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images that have labels, in the order of their first."""
        return tuple(dict.fromkeys(self.image))

    def pick(self, rows: NDArray[Any]) -> Self:
        """These rows, by a mask or by index; all classes."""
        index = np.arange(len(self))[rows]
        image = tuple(self.image[i] for i in index)
        t, id, position, value = (column[index] for column in self._columns)
        return type(self)(image, t, id, position, value, self.classes)

    def restrict(self, image: str) -> Self:
        """The labels of one image."""
        return self.pick(self._of(image))

    def at(self, image: str, t: int) -> Self:
        """The labels of one image and time point."""
        return self.pick((self.t == t) & self._of(image))

    def join(self, *others: "ObjectLabels") -> "ObjectLabels":
        """These labels and others below them; they must agree in names, and in classes of objects."""
        parts = (self, *others)
        classes = joined([p.classes for p in parts])
        image = tuple(name for p in parts for name in p.image)
        columns = zip(*(p._columns for p in parts), strict=True)
        t, id, position, value = (np.concatenate(column) for column in columns)
        return ObjectLabels(image, t, id, position, value, classes)

    def cleared(self, v: int) -> Self:
        """Without the labels of class `v`, which stays."""
        naming.check_value(self.classes, v)
        return self.pick(self.value != v)

    def deleted(self, v: int) -> Self:
        """Without class `v` and its labels; higher classes shift down by one."""
        kept = self.cleared(v)
        classes, value = naming.deleted(self.classes, kept.value, v)
        return replace(kept, classes=classes, value=value)

    def merged(self, a: int, into: int) -> Self:
        """With class `a` made part of `into`, which keeps its name and colour; higher ones shift down."""
        classes, value = naming.merged(self.classes, self.value, a, into)
        return replace(self, classes=classes, value=value)

    def located(self, labels_image: Any, *, axes: str | None = None) -> Self:
        """The same with all positions and ids that can be told from the image they were labelled in.

        LabelError names the objects that are not there.
        """
        pixels = opened(labels_image, axes)
        self.of_one_image()
        position, ids, missing = self.position.copy(), self.id.copy(), []
        for t in np.unique(self.t).tolist():
            check_time(pixels, t)
            here, known = self.t == t, self.position[:, 0] >= 0
            lacking, nameless = np.flatnonzero(here & ~known), np.flatnonzero(here & known & (ids == 0))
            position[lacking] = inside(pixels, t, ids[lacking])
            ids[nameless] = np.maximum(values_at(pixels, t, position[nameless]), 0)
            when = f" at time point {t}" if pixels.sizes["t"] > 1 else ""
            missing += [f"{i}{when}" for i in ids[lacking[position[lacking, 0] < 0]].tolist()]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise LabelError(
                f"{pixels.name}: has no object {', '.join(missing[:NAMED])}{more}",
                hint="give the label image that these objects were labelled in",
            )
        return replace(self, position=position, id=ids)

    def resolve(self, labels_image: Any, t: int = 0, *, axes: str | None = None) -> Resolved:
        """Which class each object of a time point has by these labels, which are of one image.

        >>> labels = ObjectLabels.at_positions([[0, 1], [1, 0]], [1, 2])
        >>> found = labels.resolve(np.array([[3, 3, 0], [0, 0, 8]]))
        >>> found.classes.tolist()
        [0, 1, 0]
        >>> print(found.lost[0])
        z 0, y 1, x 0, class 2: there is no object at its position
        """
        pixels = opened(labels_image, axes)
        check_time(pixels, t)
        own = self.of_one_image().pick(self.t == t)
        return decide(own, values_at(pixels, t, own.position), ids_at(pixels, t))

    def resolve_all(
        self, labels_image: Any, *, axes: str | None = None
    ) -> tuple[tuple[NDArray[np.int64], ...], tuple[Lost, ...]]:
        """Classes by object for every time point, and all labels that no object has, of later times too."""
        pixels = opened(labels_image, axes)
        found = [self.resolve(pixels, t) for t in range(pixels.sizes["t"])]
        return tuple(f.classes for f in found), (*(x for f in found for x in f.lost), *beyond(self, pixels))

    def lost(self, row: int, reason: str) -> Lost:
        """A row, and why no object has it."""
        place = self.position[row].tolist()
        where = None if place[0] < 0 else tuple(place)
        return Lost(self.image[row], int(self.t[row]), int(self.id[row]), where, int(self.value[row]), reason)

    @property
    def _columns(self) -> tuple[NDArray[np.int64], ...]:
        return self.t, self.id, self.position, self.value

    def _of(self, image: str) -> NDArray[np.bool_]:
        return np.array([name == image for name in self.image], np.bool_)

    def of_one_image(self) -> Self:
        """Themselves, if all are of one image."""
        if len(self.images) > 1:
            raise LabelError(
                f"labels of {len(self.images)} images, {', '.join(map(repr, self.images[:NAMED]))}",
                hint="restrict them to the one that is given",
            )
        return self


def decide(rows: ObjectLabels, value_at: NDArray[Any], ids: NDArray[np.int64]) -> Resolved:
    """Classes by object number of one image and time point, from the pixels at the labels' positions alone.

    value_at: (n,) label value at each row's position, 0 for the background, -1 outside of the image; of rows
    without position it is not used. ids: those of all objects, ascending.
    """
    found, reasons = objects_of(rows, value_at, ids)
    classes = np.zeros(len(ids) + 1, np.int64)
    for number, members in groups(found):
        values = np.unique(rows.value[members])
        if len(values) == 1:
            classes[number] = values[0]
        else:
            reasons |= dict.fromkeys(members, conflict(rows, values, f"object {ids[number - 1]}"))
    return Resolved(classes, tuple(rows.lost(i, reasons[i]) for i in sorted(reasons)))


def objects_of(
    rows: ObjectLabels, value_at: NDArray[Any], ids: NDArray[np.int64]
) -> tuple[NDArray[np.intp], dict[int, str]]:
    """Number of the object that each row is of, 0 for none; and by row why there is none."""
    placed = rows.position[:, 0] >= 0
    wanted = np.where(placed, np.asarray(value_at).astype(np.int64), rows.id)
    place = np.searchsorted(ids, wanted)
    there = np.zeros(len(rows), np.bool_)
    within = place < len(ids)
    there[within] = ids[place[within]] == wanted[within]
    why = {i: _why(bool(placed[i]), int(wanted[i])) for i in np.flatnonzero(~there | (wanted < 1)).tolist()}
    return np.where(there & (wanted > 0), place + 1, 0), why


def _why(placed: bool, wanted: int) -> str:
    if wanted == OUTSIDE:
        return "its position is outside of the image"
    if wanted == 0:
        return "there is no object at its position"
    return f"object {wanted}{' at its position' if placed else ''} is not among the objects"


def conflict(rows: ObjectLabels, values: NDArray[np.int64], what: str) -> str:
    """Why labels of several classes on one object are lost."""
    names = rows.names
    return f"{what} is labelled {' and '.join(f'{v} ({names[v]})' for v in values.tolist())}"


def beyond(labels: ObjectLabels, pixels: Pixels) -> tuple[Lost, ...]:
    """Labels of time points that an image does not have."""
    reason = f"the image has {pixels.sizes['t']} time points"
    return tuple(labels.lost(i, reason) for i in np.flatnonzero(labels.t >= pixels.sizes["t"]).tolist())


def described(image: str, t: int, id: int, position: tuple[int, ...] | None) -> str:
    """An object in words."""
    place = "" if position is None else ", ".join(f"{a} {i}" for a, i in zip("zyx", position, strict=True))
    words = (image, f"object {id}" if id else "", place, f"time point {t}" if t else "")
    return ", ".join(word for word in words if word)


def groups(found: NDArray[Any]) -> Iterator[tuple[int, list[int]]]:
    """Every object that rows are of, ascending, with those rows; 0 is none."""
    order = np.argsort(found, kind="stable")
    order = order[found[order] > 0]
    numbers, starts = np.unique(found[order], return_index=True)
    for number, members in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
        yield number, members.tolist()


def _complete(classes: Classes, top: int) -> Classes:
    """All of the classes 1, 2, ..., with default names that are free where none is given."""
    names: dict[int, str] = {}
    for c in classes:
        if not isinstance(c.name, str) or not c.name:
            raise LabelError(f"class {c.value} has the name {c.name!r}", hint="give it a name, a text")
        if c.value in names or c.name in names.values():
            raise LabelError(f"class {c.value} ({c.name}): its value or name is that of another class")
        names[c.value] = c.name
    top = max([top, *names])
    if top > MOST or min(names, default=1) < 1:
        raise LabelError(f"class {top if top > MOST else min(names)}; classes are 1 to {MOST}")
    given, taken = {c.value: c for c in classes}, set(names.values())
    for v in range(1, top + 1):
        own = next(name for name in map(default_name, count(v)) if v in names or name not in taken)
        taken.add(names.setdefault(v, own))
    return tuple(given.get(c.value, c) for c in label_classes(range(1, top + 1), names))


def joined(parts: Sequence[Classes]) -> Classes:
    """Classes of all; a name that somebody gave goes before a default one."""
    found: dict[int, LabelClass] = {}
    for c in (c for classes in parts for c in classes):
        known = found.setdefault(c.value, c)
        if known.name == default_name(c.value):
            found[c.value] = c
        elif c.name not in (known.name, default_name(c.value)):
            raise LabelError(
                f"class {c.value} is {known.name!r} in some labels and {c.name!r} in others",
                hint="give the same names, in the same order, to all",
            )
    return tuple(found.values())


def _check(labels: ObjectLabels) -> None:
    """LabelError if a row says nothing of an object, or two rows say different things of one."""
    said: dict[tuple[Any, ...], int] = {}
    columns = (column.tolist() for column in labels._columns)
    for image, t, id, position, value in zip(labels.image, *columns, strict=True):
        placed = min(position) >= 0
        where = tuple(position) if placed else None
        what = described(image, t, id, where)
        if t < 0 or id < 0 or value < 1:
            raise LabelError(f"{what}: class {value}; time points count from 0, ids and classes from 1")
        if not placed and (max(position) >= 0 or id == 0):
            raise LabelError(f"{what}: neither an id nor a position z, y, x, from 0", hint="one is needed")
        if said.setdefault((image, t, where or id), value) != value:
            raise LabelError(
                f"{what} has two classes, {said[image, t, where or id]} and {value}", hint="label it once"
            )
