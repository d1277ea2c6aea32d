"""OME-Zarr's `multiscales`: axes, resolution levels and voxel sizes, checked before they are believed."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.axes import LETTERS, Voxel
from gpuseg.errors import FileError

log = logging.getLogger(__name__)

WORDS = {"time": "t", "channel": "c", "channels": "c", "depth": "z"} | {a: a for a in LETTERS}
OLD_AXES = "tczyx"  # of versions 0.1 and 0.2, which do not name them


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution: the array's path in the group, letters of its axes (None if unknown), voxel size."""

    path: str
    axes: str | None
    voxel: Voxel


def levels(group: Path, block: Any) -> list[Level]:
    """Resolution levels of the first image in `multiscales`, the finest first; FileError if invalid."""
    if not isinstance(block, list) or not block or not isinstance(block[0], dict):
        raise _invalid(group, "must be a list with at least one image")
    image = block[0]
    if len(block) > 1:
        log.warning("%s: multiscales hold %d images; the first is read", group, len(block))
    sets = image.get("datasets")
    if not isinstance(sets, list) or not sets:
        raise _invalid(group, "has no datasets")
    for entry in sets:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not entry["path"]:
            raise _invalid(group, f"dataset {entry!r} has no path")
    named = _axes(group, image.get("axes"))
    overall = image.get("coordinateTransformations")
    sized = any(unit for _, unit in named) or set(_scale(group, sets[0], overall, len(named))) != {1.0}
    return [_level(group, d, named, _scale(group, d, overall, len(named)), sized) for d in sets]


def by_names(names: Sequence[Any] | None) -> str | None:
    """Axes by dimension names such as ("time", "Y", "X"); None unless each is known and named once."""
    letters = [WORDS.get(str(n).lower(), "") for n in names or ()]
    return "".join(letters) if letters and all(letters) and len(set(letters)) == len(letters) else None


def _axes(group: Path, axes: Any) -> list[tuple[str, str]]:
    """Letter ("" if not one of ours) and unit of each axis."""
    if axes is None:
        return [(a, "") for a in OLD_AXES]
    if not isinstance(axes, list) or not axes:
        raise _invalid(group, "axes must be a list of names")
    found = []
    for axis in axes:
        entry = axis if isinstance(axis, dict) else {"name": axis}
        if not isinstance(name := entry.get("name"), str):
            raise _invalid(group, f"axis {axis!r} has no name")
        letter = WORDS.get(name.lower()) or WORDS.get(str(entry.get("type")).lower(), "")
        found.append((letter, str(entry.get("unit") or "")))
    letters = [a for a, _ in found if a]
    if len(set(letters)) != len(letters):
        raise _invalid(group, f"axes {''.join(letters)!r} name an axis twice")
    return found


def _scale(group: Path, entry: Any, overall: Any, count: int) -> list[float]:
    """Factors of a dataset and of the image, multiplied."""
    scale = [1.0] * count
    for step in [*_list(entry.get("coordinateTransformations")), *_list(overall)]:
        if isinstance(step, dict) and step.get("type") == "scale":
            scale = [a * b for a, b in zip(scale, _numbers(group, step.get("scale"), count), strict=True)]
    return scale


def _level(group: Path, entry: Any, named: list[tuple[str, str]], scale: list[float], sized: bool) -> Level:
    """sized: the finest scale is more than 1 of nothing, which is no size."""
    sizes: dict[str, float] = {}
    units: dict[str, str] = {}
    for (letter, unit), value in zip(named, scale, strict=True):
        if not sized or letter in ("", "c") or (letter == "t" and not unit):
            continue
        if not math.isfinite(value) or value <= 0:
            log.warning("%s: size %r along %s is impossible and ignored", group, value, letter)
            continue
        sizes[letter] = value
        if unit:
            units[letter] = unit
    letters = "".join(a for a, _ in named)
    known = len(letters) == len(named) and {"y", "x"} <= set(letters)
    return Level(entry["path"].strip("/"), letters if known else None, Voxel(sizes, units))


def _numbers(group: Path, scale: Any, count: int) -> list[float]:
    if not isinstance(scale, list) or len(scale) != count:
        found = len(scale) if isinstance(scale, list) else "no"
        raise _invalid(group, f"{count} axes and {found} scale factors")
    if not all(isinstance(v, int | float) for v in scale):
        raise _invalid(group, f"scale factors {scale} are not numbers")
    return [float(v) for v in scale]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _invalid(group: Path, why: str) -> FileError:
    return FileError(
        f"{group}: invalid multiscales: {why}", hint="name an array in the store, e.g. NAME.zarr/0"
    )
