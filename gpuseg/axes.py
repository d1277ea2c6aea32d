"""Axis letters and their order: the only file that knows them.

`t` time, `z y x` space, `c` channel. Files may order them as they like; arithmetic sees `tczyx`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from gpuseg.errors import ShapeError

LETTERS = "tzyxc"
SPACE = "zyx"
COMPUTE = "tczyx"
RGB_CHANNELS = 4  # a last axis up to this size is taken for channels when nothing says otherwise


@dataclass(frozen=True, slots=True)
class Voxel:
    """Size of a pixel along each axis that has one, e.g. `Voxel({"y": 0.5, "x": 0.5})`."""

    size: Mapping[str, float] = field(default_factory=dict)
    unit: Mapping[str, str] = field(default_factory=dict)  # "micrometer" where an axis is missing


def guess(shape: Sequence[int]) -> str:
    """Axes of an array that does not name them, by ilastik's rules (SPEC 1.11)."""
    by_count = {
        2: "yx",
        3: "yxc" if shape[-1:] and shape[-1] <= RGB_CHANNELS else "zyx",
        4: "zyxc",
        5: "tzyxc",
    }
    if len(shape) not in by_count:
        raise ShapeError(
            f"an array of {len(shape)} axes, shape {tuple(shape)}; images have 2 to 5",
            hint="name the axes, for example --axes yx",
        )
    return by_count[len(shape)]


def check(axes: str, shape: Sequence[int]) -> str:
    """`axes`, if they can be the axes of an array of `shape`; else a ShapeError that says why."""
    unknown = [a for a in axes if a not in LETTERS]
    if unknown or len(set(axes)) != len(axes):
        wrong = f"unknown letter {unknown[0]!r}" if unknown else "a letter twice"
        raise ShapeError(f"axes {axes!r}: {wrong}", hint=f"use each of {LETTERS} at most once")
    if len(axes) != len(shape):
        raise ShapeError(
            f"axes {axes!r} name {len(axes)} axes, the array has {len(shape)}, shape {tuple(shape)}",
            hint=f"give {len(shape)} letters, for example --axes {_example(shape)}",
        )
    if "y" not in axes or "x" not in axes:
        raise ShapeError(
            f"axes {axes!r} lack {'y' if 'y' not in axes else 'x'}", hint="every image has y and x"
        )
    return axes


def _example(shape: Sequence[int]) -> str:
    return guess(shape) if 2 <= len(shape) <= 5 else "yx"


def sizes(axes: str, shape: Sequence[int]) -> dict[str, int]:
    """Size of every axis by letter; axes the image lacks have size 1."""
    return dict.fromkeys(LETTERS, 1) | dict(zip(axes, shape, strict=True))


def reorder(array: NDArray[Any], axes: str, to: str) -> NDArray[Any]:
    """View of `array` with axes in the order `to`: missing ones inserted, singletons dropped."""
    kept = [a for a in axes if a in to]
    for i in range(len(axes) - 1, -1, -1):
        if axes[i] not in to:
            if array.shape[i] != 1:
                raise ShapeError(f"axis {axes[i]!r} has size {array.shape[i]} and is not in {to!r}")
            array = array[(slice(None),) * i + (0,)]
    array = array.transpose([kept.index(a) for a in to if a in kept])
    return array[tuple(slice(None) if a in kept else None for a in to)]
