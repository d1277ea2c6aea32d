"""What is on screen: part of an image, checked, in the axis order of the image and in that of arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, reorder
from gpuseg.errors import ShapeError
from gpuseg.pixel.images import Picture
from gpuseg.tiles import Region


@dataclass(frozen=True, slots=True)
class Frame:
    """One time point of one image of a session."""

    image: int
    t: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class View:
    """Part of a frame."""

    frame: Frame
    region: Region  # zyx
    window: Region  # the same along the image's axes without t and c


def view_of(image: int, picture: Picture, t: int, region: Sequence[Any] | None) -> View:
    """Of the whole time point where `region` is None. ShapeError where there is nothing to see."""
    axes, sizes = space(picture), picture.sizes
    parts = [slice(None)] * len(axes) if region is None else list(region)
    if len(parts) != len(axes):
        raise ShapeError(
            f"region has {len(parts)} entries, {picture.name} has the axes {axes} without t and c",
            hint="give one slice or index for each",
        )
    if not 0 <= t < sizes["t"]:
        raise ShapeError(f"t = {t}: {picture.name} has {sizes['t']} time points, numbered from 0")
    found = {a: _part(part, a, sizes[a], picture.name) for a, part in zip(axes, parts, strict=True)}
    region = tuple(found.get(a, slice(0, 1)) for a in SPACE)
    return View(Frame(image, index(t), picture), region, tuple(found[a] for a in axes))


def space(picture: Picture) -> str:
    """The axes of a region, in the order of the array: all but t and c."""
    return picture.places.replace("t", "")


def window_of(region: Region, picture: Picture) -> Region:
    """A region (zyx) along the image's own axes."""
    return tuple(region[SPACE.index(a)] for a in space(picture))


def shown(proba: NDArray[np.float32], picture: Picture) -> NDArray[np.float32]:
    """Probabilities (z, y, x, classes) along the image's own axes, classes last."""
    return reorder(proba, SPACE + "c", space(picture) + "c")


def _part(part: Any, axis: str, size: int, name: str) -> slice:
    """A slice with start and stop inside the image; an index is a slice of one."""
    if not isinstance(part, slice):
        part = slice(index(part), index(part) + 1)
    start, stop, step = part.indices(size)
    if step != 1 or start >= stop:
        raise ShapeError(
            f"region: {part.start}:{part.stop} in steps of {step} along {axis}; {name} has {size} there",
            hint="a region is not empty, and its step is 1",
        )
    return slice(start, stop)
