"""Classes of objects as people give them, in arrays, mappings and lists, as rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.classes import Classes, LabelClass, class_color
from gpuseg.errors import LabelError
from gpuseg.objects.pixels import LARGEST, Pixels

Names = Mapping[int, str] | Sequence[str]  # of classes, by value, or those of 1, 2, ...
Class = int | str  # its value, or its name where names are given; 0 is unlabelled
ByObject = Mapping[Any, Class] | Sequence[Class] | NDArray[Any]  # {id: class}, or a class for each id from 0
MOST = 2**16 - 1  # classes
Row = tuple[int, int, int]  # time point, id, class


def named_classes(names: Names) -> Classes:
    """Classes by their names."""
    if isinstance(names, str):
        raise LabelError(f"names {names!r}", hint="a list of names, or a name for each value")
    given = dict(names) if isinstance(names, Mapping) else dict(enumerate(names, 1))
    for v in given:
        if not _whole(v) or not 1 <= v <= MOST:
            raise LabelError(f"names: class {v!r}; classes are 1 to {MOST}")
    return tuple(LabelClass(int(v), given[v], class_color(int(v))) for v in sorted(given))


def value_of(given: Any, classes: Classes) -> int:
    """The value of a class that is given by value or name; 0 if it is unlabelled."""
    if isinstance(given, str):
        by_name = {c.name: c.value for c in classes} | {"": 0}
        if given not in by_name:
            known = ", ".join(c.name for c in classes)
            hint = f"named are {known}" if known else "give names, a list with that of every class"
            raise LabelError(f"class {given!r} is not known", hint=hint)
        return by_name[given]
    if not _whole(given) or not 0 <= given <= MOST:
        raise LabelError(f"class {given!r}; classes are 1 to {MOST}, 0 is unlabelled")
    return int(given)


def triples(classes_of: Any, pixels: Pixels, classes: Classes) -> list[Row]:
    """Time point, id and class of every object that has one, in ascending order."""
    count = pixels.sizes["t"]
    found: dict[tuple[int, int], int] = {}
    for key, given in _pairs(classes_of, pixels.name, count):
        t, id = _object(key, count)
        value = value_of(given, classes)
        if id == 0 and not value:
            continue  # the background of an array
        if not 1 <= id <= LARGEST:
            raise LabelError(f"object {id} has class {given!r}; objects have ids from 1, 0 is the background")
        if found.setdefault((t, id), value) != value:
            raise LabelError(
                f"object {id} of time point {t} has two classes, {found[t, id]} and {value}",
                hint="give each object once",
            )
    return [(t, id, value) for (t, id), value in sorted(found.items()) if value]


def _pairs(given: Any, name: str, count: int) -> Iterator[tuple[Any, Any]]:
    """Keys and classes; keys are ids, or time points and ids."""
    if isinstance(given, Mapping):
        yield from given.items()
        return
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise LabelError(
            f"classes are of type {type(given).__name__}",
            hint="give {id: class}, or a class for each id from 0",
        )
    if _by_id(given):
        yield from enumerate(given.tolist() if isinstance(given, np.ndarray) else given)
        return
    if len(given) != count:
        raise LabelError(f"{name}: has {count} time points, classes are given for {len(given)}")
    for t, one in enumerate(given):
        yield from (((t, id), value) for id, value in _pairs(one, name, count))


def _by_id(given: Any) -> bool:
    """Whether these are classes themselves, not what is given for each time point."""
    return (
        not len(given)
        or not isinstance(given[0], Mapping | Sequence | np.ndarray)
        or isinstance(given[0], str)
    )


def _object(key: Any, count: int) -> tuple[int, int]:
    """Time point and id of a key."""
    if isinstance(key, tuple) and len(key) == 2 and all(map(_whole, key)):
        t, id = int(key[0]), int(key[1])
        if not 0 <= t < count:
            raise LabelError(f"object {id} of time point {t}: the image has {count}, from 0")
        return t, id
    if not _whole(key):
        raise LabelError(f"object {key!r}: keys are ids, or time points and ids, whole numbers")
    if count > 1:
        raise LabelError(
            f"object {key}: its time point is not given, the image has {count}",
            hint="give {(t, id): class}, or a list with classes for each time point",
        )
    return 0, int(key)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
