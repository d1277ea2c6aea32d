"""Classes that people label: the values they have in label images, their names and colours."""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import LabelError

COLORS = (  # ilastik's, in its order (SPEC 11.1)
    *((255, 225, 25), (0, 130, 200), (230, 25, 75), (70, 240, 240), (60, 180, 75)),
    *((250, 190, 190), (170, 110, 40), (145, 30, 180), (0, 128, 128), (245, 130, 48)),
    *((240, 50, 230), (210, 245, 60), (255, 215, 180), (230, 190, 255), (128, 128, 128)),
)
Classes = tuple["LabelClass", ...]


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class: the value it has in label images, and how it is shown."""

    value: int
    name: str
    color: tuple[int, int, int]


def label_classes(values: Sequence[int], names: Mapping[int, str] | None = None) -> Classes:
    """Classes with ilastik's names and colours, unless `names` has a name for the value.

    >>> label_classes([1, 2], {2: "nuclei"})[1]
    LabelClass(value=2, name='nuclei', color=(0, 130, 200))
    """
    names = names or {}
    return tuple(
        LabelClass(int(v), names.get(int(v), default_name(int(v))), class_color(int(v))) for v in values
    )


def default_name(value: int) -> str:
    """What ilastik calls a class that nobody named."""
    return f"Label {value}"


def class_color(value: int) -> tuple[int, int, int]:
    """Colour of the label value: ilastik's first 15, then hues a golden angle apart."""
    if 1 <= value <= len(COLORS):
        return COLORS[value - 1]
    r, g, b = hsv_to_rgb(value * 0.618034 % 1, 0.75, 0.9)
    return round(255 * r), round(255 * g), round(255 * b)


def cleared(values: NDArray[Any], v: int) -> NDArray[Any]:
    """Label values with those of class `v` unlabelled: 0.

    >>> cleared(np.array([1, 2, 0, 2]), 2).tolist()
    [1, 0, 0, 0]
    """
    _integers(values)
    if v < 1:
        raise LabelError(f"class {v}: classes are 1, 2, ...; 0 is unlabelled")
    return np.where(values == v, values.dtype.type(0), values)


def deleted(classes: Classes, values: NDArray[Any], v: int) -> tuple[Classes, NDArray[Any]]:
    """Without class `v`: cleared, and all higher values shift down by one, with their names and colours."""
    check_value(classes, v)
    return _without(classes, v), _rewritten(classes, values, v, 0)


def merged(classes: Classes, values: NDArray[Any], a: int, into: int) -> tuple[Classes, NDArray[Any]]:
    """Class `a` made part of class `into`, which keeps its name and colour; then higher values shift down.

    >>> classes, values = merged(label_classes([1, 2, 3]), np.array([1, 2, 3, 0]), 1, into=3)
    >>> [c.name for c in classes], values.tolist()
    (['Label 2', 'Label 3'], [2, 1, 2, 0])
    """
    check_value(classes, a)
    check_value(classes, into)
    if a == into:
        raise LabelError(f"class {a} cannot be merged into itself", hint="name two classes")
    return _without(classes, a), _rewritten(classes, values, a, into)


def _without(classes: Classes, v: int) -> Classes:
    return tuple(replace(c, value=c.value - (c.value > v)) for c in classes if c.value != v)


def _rewritten(classes: Classes, values: NDArray[Any], v: int, by: int) -> NDArray[Any]:
    """`values` with `by` for `v`, numbered as `_without` numbers classes."""
    _integers(values)
    top = max(c.value for c in classes)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > top:
        check_value(classes, low if low < 0 else high)
    table = np.arange(top + 1)
    table[v] = by
    table -= table > v
    there = np.zeros(top + 1, np.bool_)
    there[values] = True
    there[[0, *(c.value for c in classes)]] = False
    if there.any():
        check_value(classes, int(there.argmax()))
    found: NDArray[Any] = table.astype(values.dtype)[values]
    return found


def check_value(classes: Classes, v: int) -> None:
    """LabelError unless a class has this value."""
    if v not in {c.value for c in classes}:
        known = ", ".join(f"{c.value} ({c.name})" for c in classes) or "none"
        raise LabelError(f"class {v} is not known", hint=f"classes are {known}")


def _integers(values: NDArray[Any]) -> None:
    if values.dtype.kind not in "iu":
        raise LabelError(f"label values are {values.dtype}; they must be integers")
