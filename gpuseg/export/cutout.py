"""The part of an image that is written, along each axis of the source."""

import re
from collections.abc import Mapping
from typing import Any

from gpuseg.axes import LETTERS
from gpuseg.errors import InputError, ShapeError

# (axis, start, stop), None to the end; the axis "" is the next one of the image, as ilastik writes it
Cutout = tuple[tuple[str, int | None, int | None], ...]
EXAMPLE = "x:10:200,y::50"
_TWO_CORNERS = re.compile(r"[\[(]?\s*\(([^()]*)\)\s*,\s*\(([^()]*)\)\s*,?\s*[\])]?")


def cutout_of(given: Any) -> Cutout:
    """A cutout from what users give; InputError.

    given: text `x:10:200,y::50,z:3:`, ilastik's `[(0,0),(50,None)]` of starts and stops in the axis order
    of the image, or a mapping such as `{"x": (10, 200), "y": slice(50)}`.

    >>> cutout_of("x:10:200,y::50")
    (('x', 10, 200), ('y', None, 50))
    """
    if isinstance(given, str):
        found = _corners(given) if "(" in given else [_part(p, given) for p in given.split(",")]
    elif isinstance(given, Mapping):
        found = [(axis, *_ends(ends, given)) for axis, ends in given.items()]
    else:
        found = [_three(part, given) for part in given or ()]
    axes = [axis for axis, *_ in found if axis]
    for axis, start, stop in found:
        if axis and (axis not in LETTERS or len(axis) > 1 or axes.count(axis) > 1):
            wrong = "is no axis" if axis not in LETTERS or len(axis) > 1 else "is there twice"
            raise InputError(f"cutout {given!r}: {axis!r} {wrong}", hint=f"axes are {', '.join(LETTERS)}")
        if start is not None and stop is not None and start >= stop:
            raise InputError(f"cutout {given!r}: {start} to {stop} is empty", hint="the stop is not included")
    return tuple(found)


def region_of(cutout: Cutout, axes: str, sizes: Mapping[str, int]) -> tuple[dict[str, slice], str]:
    """What is left of every axis, and in words what of the cutout lies outside of the image.

    axes: of the image, those of `cutout` without a letter in their order; sizes: of all axes.
    """
    ends = {axis: (start, stop) for axis, start, stop in _named(cutout, axes)}
    region, outside = {}, []
    for axis, n in sizes.items():
        start, stop = ends.get(axis, (None, None))
        first, last = max(0, start or 0), n if stop is None else min(n, stop)
        if first >= last:
            raise ShapeError(f"cutout {axis}:{_text(start)}:{_text(stop)} leaves nothing of {axis} 0 to {n}")
        if first != (start or 0) or last != (n if stop is None else stop):
            outside.append(f"{axis}:{_text(start)}:{_text(stop)} is {axis}:{first}:{last} here")
        region[axis] = slice(first, last)
    return region, ", ".join(outside)


def _named(cutout: Cutout, axes: str) -> Cutout:
    """With a letter for each axis; ilastik takes an image without channels to end with one."""
    if not any(axis == "" for axis, *_ in cutout):
        return cutout
    if len(cutout) not in (len(axes), len(axes) - axes.endswith("c")):
        raise ShapeError(
            f"cutout of {len(cutout)} axes of an image with axes {axes}",
            hint=f"name the axes, for example {EXAMPLE}",
        )
    return tuple((a, start, stop) for a, (_, start, stop) in zip(axes, cutout, strict=False))


def _text(end: int | None) -> str:
    return "" if end is None else str(end)


def _part(text: str, given: str) -> tuple[str, int | None, int | None]:
    match = re.fullmatch(r"\s*(\w+)\s*:\s*(-?\d*)\s*:\s*(-?\d*)\s*", text)
    if not match or "-" in match.groups():
        raise InputError(
            f"cutout {given!r}: {text.strip()!r} is not AXIS:START:STOP", hint=f"for example {EXAMPLE}"
        )
    axis, *ends = match.groups()
    start, stop = (int(e) if e else None for e in ends)
    return axis, start, stop


def _corners(given: str) -> list[tuple[str, int | None, int | None]]:
    """ilastik's `[(0,0),(50,None)]`."""
    match = _TWO_CORNERS.fullmatch(given.strip())
    sides = match.groups() if match else ("", "")
    starts, stops = ([p.strip() for p in side.rstrip(", ").split(",")] for side in sides)
    strange = [p for p in (*starts, *stops) if not re.fullmatch(r"-?\d+|None", p)]
    if strange or len(starts) != len(stops):
        raise InputError(
            f"cutout {given!r}: two tuples of whole numbers or None are needed, as many starts as stops",
            hint=f"for example [(0,10),(50,200)], or {EXAMPLE}",
        )
    ends = ([None if p == "None" else int(p) for p in side] for side in (starts, stops))
    return [("", start, stop) for start, stop in zip(*ends, strict=True)]


def _ends(ends: Any, given: Any) -> tuple[int | None, int | None]:
    pair = (ends.start, ends.stop) if isinstance(ends, slice) and ends.step in (None, 1) else ends
    try:
        start, stop = (None if e is None else int(e.__index__()) for e in pair)
    except (TypeError, ValueError, AttributeError):
        raise InputError(f"cutout {given!r}: {ends!r} is not a start and a stop") from None
    return start, stop


def _three(part: Any, given: Any) -> tuple[str, int | None, int | None]:
    if not isinstance(part, tuple | list) or len(part) != 3 or not isinstance(part[0], str):
        raise InputError(f"cutout {given!r}: {part!r} is not an axis, a start and a stop")
    return part[0], *_ends(part[1:], given)
