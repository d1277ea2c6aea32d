"""From a label image, and the image under it, to a table: one row for each object and time point."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, Voxel
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array
from gpuseg.errors import FULL, InputError, why
from gpuseg.io.base import Image
from gpuseg.objects import measure_blocks
from gpuseg.objects.choice import NOT_LOCATION, Features, choose, identity
from gpuseg.objects.columns import (
    OF_CLASSES,
    SIZE,
    Columns,
    Plan,
    Source,
    always,
    columns,
    empty,
    heading,
    measured,
    of_classes,
)
from gpuseg.objects.maps import Range, value_range
from gpuseg.objects.pixels import Pixels, beneath, numbered, pair
from gpuseg.objects.segment import Segmentation
from gpuseg.objects.sizes import picked
from gpuseg.tiles import tile_size

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
Lengths = tuple[float, float, float]
Kind = Literal["labels", "components"]
Progress = Callable[[int, int], None]  # (parts done, parts in all)
UNITS = {  # how files write them -> how columns do
    **dict.fromkeys(("micrometer", "micrometre", "micron", "um", "µm", "μm", "\\u00b5m"), "µm"),
    **dict.fromkeys(("nanometer", "nanometre", "nm"), "nm"),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), "cm"),
    **dict.fromkeys(("meter", "metre", "m"), "m"),
    **dict.fromkeys(("angstrom", "ångström", "å"), "Å"),
}
METERS = {"Å": 1e-10, "nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0}
ATTRS = "gpuseg"  # entry of a table's `attrs`
NUMBER = re.compile(r"_\d+$")
SHARE = 8  # a time point measured whole may need so much more than its labels and intensities take


def measure(
    labels: Any,
    raw: Any = None,
    *,
    features: Features = NOT_LOCATION,
    axes: str | None = None,
    raw_axes: str | None = None,
    probabilities: Any = None,
    classes: Sequence[str] = (),
    kind: Kind = "labels",
    margin: Sequence[int] = (30, 30, 1),
    spacing: float | Sequence[float] | Voxel | Literal["file"] | None = None,
    unit: str = "µm",
    block: int | Sequence[int] | None = None,
    backend: str = "auto",
    progress: Progress | None = None,
) -> "pd.DataFrame":
    """A table of what each object is like: one row for each object and time point.

    Parameters
    ----------
    labels : integers, 0 for the background; an array, what `gpuseg.segment` gave, or an image that is open.
    raw : intensities under them, with or without channels.
    axes, raw_axes : of the two, one letter of tzyxc for each axis; by default what files say, else yx, zyx or
        tzyx for labels.
    features : "all excluding location", "all", names (ids, titles, ids of ilastik), functions, or a list of
        these. An advanced feature is measured if it is named.
    probabilities : an image with one channel for each class, 0 to 1, or unsigned integers that stand for it;
        `classes` : their names.
    kind : "labels" keeps ids, "components" numbers the connected parts of equal value.
    margin : of neighbourhoods, pixels along x, y, z.
    spacing : size of a pixel, one number or along z, y, x, or "file": lengths, areas and volumes are then in
        `unit`, and their columns say so. Boxes and centres that every table has stay in pixels.
    block : size of tiles, one number or along z, y, x, to measure images larger than memory; by default taken
        where a time point does not fit.

    Columns are object_id, timestep, labelimage_oid (its number in the time point), size, box (its end
    exclusive), centre and original_oid (its value in `labels`), then the features in the order of their
    table. Coordinates are in the order x, y, z.

    >>> labels = np.zeros((40, 50), int)
    >>> labels[5:15, 10:30] = 3
    >>> table = measure(labels, np.ones((40, 50)), features=["mean_intensity"])
    >>> table[["original_oid", "Size in pixels", "Mean Intensity"]].values.tolist()
    [[3.0, 200.0, 1.0]]
    """
    if isinstance(labels, Segmentation):
        labels, axes = labels.labels, axes or labels.axes
    check_kind(kind)
    objects, under = pair(labels, raw, axes, raw_axes)
    proba = None if probabilities is None else beneath(probabilities, objects, name="probabilities")
    n = objects.sizes
    ndim, channels = 2 if n["z"] == 1 else 3, 0 if under is None else under.sizes["c"]
    plan = Plan(
        get_backend(backend),
        tuple(choose(features, ndim, channels)),
        _names(classes, proba),
        *lengths(spacing, unit, objects, under),
        margin_of(margin),
    )
    source = Source(plan, objects, under, proba, _range(probabilities, proba))
    size = _block(block, kind, source)
    frames = [_frame(source, t, kind, size, partial(progress or _nothing, t, n["t"])) for t in range(n["t"])]
    if progress is not None:
        progress(n["t"], n["t"])
    table = table_of(frames, lambda: empty(plan, ndim, channels))
    table.attrs[ATTRS] = described(plan, list(table), ndim, channels, margin, spacing)
    return table


def described(
    plan: Plan, columns: Sequence[str], ndim: int, channels: int, margin: Sequence[int], spacing: Any
) -> dict[str, Any]:
    """How a table came about, as JSON has it: what must be the same for another to be like it."""
    ids = [identity(row) for row in plan.rows]
    of = {heading(row, ndim, plan.unit): key for row, key in zip(plan.rows, ids, strict=True)}
    if sizes := [key for row, key in zip(plan.rows, ids, strict=True) if row.title == SIZE]:
        of[SIZE] = sizes[0]  # in pixels, whatever the unit of others
    by_column = {c: of[t] for c in columns if (t := c if c in of else NUMBER.sub("", c)) in of}
    fixed = spacing is not None and not isinstance(spacing, str | Voxel)
    return {
        "features": ids,
        "columns": by_column,
        "ndim": ndim,
        "channels": channels,
        "margin": [int(m) for m in margin],
        "spacing": list(plan.spacing) if fixed else [],
        "unit": plan.unit,
    }


def check_kind(kind: str) -> str:
    """`kind`, if there is one of this name."""
    if kind not in get_args(Kind):
        raise InputError(f"kind {kind!r}", hint=f"one of {', '.join(get_args(Kind))}")
    return kind


def _nothing(done: int, total: int) -> None: ...


def _frame(
    source: Source, t: int, kind: Kind, block: Sequence[int] | None, tick: Callable[[], None]
) -> Columns | None:
    """The columns of a time point, None if it has no objects."""
    tick()
    if block is not None:
        return measure_blocks.frame(source, t, block, tick)
    labels, ids = numbered(source.labels.integers(t, source.labels.whole))
    if kind == "components":
        b, values = source.plan.backend, source.plan.backend.asarray(labels)
        labels, count = b.components(values)
        ids = ids[picked(b, labels, count, values) - 1]
        return _whole(source, t, labels, ids, tick)
    return at_once(source, t, labels, ids, tick)


def at_once(
    source: Source, t: int, labels: Array, ids: NDArray[Any], tick: Callable[[], None]
) -> Columns | None:
    """The columns of a time point in one piece, or in tiles where the device has not enough memory.

    labels: int32 (z, y, x) on the host or the backend, the objects 1 to n; ids: (n,), what `source.labels`
    has for them.
    """
    try:
        return _whole(source, t, labels, ids, tick)
    except FULL as error:
        source.plan.backend.release()
        log.warning("%s; going on in tiles", why(error))
        return measure_blocks.frame(source, t, _fitting(source), tick)


def _whole(
    source: Source, t: int, labels: Array, ids: NDArray[Any], tick: Callable[[], None]
) -> Columns | None:
    if not len(ids):
        return None
    plan = source.plan
    o = plan.objects(labels, len(ids), source.intensities(t, source.labels.whole))
    o.request(plan.needs(local=False) | plan.needs(local=True))
    found = always(o) + measured(plan, o, plan.rows, tick)
    if source.proba is not None:
        under = plan.objects(labels, len(ids), source.probabilities(t, source.labels.whole))
        under.request(OF_CLASSES)
        found += of_classes(under, plan.classes)
    return columns(ids, found)


def table_of(frames: Sequence[Columns | None], nothing: Callable[[], Columns]) -> "pd.DataFrame":
    """All frames below each other; `nothing` gives the columns where no frame has objects."""
    import pandas as pd

    found = [(t, frame) for t, frame in enumerate(frames) if frame is not None]
    made = [frame for _, frame in found] or [nothing()]
    joined = made[0]
    if len(made) > 1:
        joined = {name: np.concatenate([frame[name] for frame in made]) for name in joined}
    times = np.repeat([t for t, _ in found], [len(frame["labelimage_oid"]) for _, frame in found])
    first = {"object_id": np.arange(len(times)), "timestep": times.astype(np.int64)}
    return pd.DataFrame(first | joined, copy=False)


def _names(classes: Sequence[str], proba: Pixels | None) -> tuple[str, ...]:
    """A name for each channel of the probabilities: those given, else `Label 1`, `Label 2`, ..."""
    count = 0 if proba is None else proba.sizes["c"]
    if isinstance(classes, str) or not all(isinstance(c, str) for c in _items(classes)):
        raise InputError(f"classes {classes!r}", hint="a list of names, one for each channel")
    names = tuple(classes) or tuple(f"Label {i + 1}" for i in range(count))
    if len(names) != count or len(set(names)) != count:
        raise InputError(
            f"{len(set(names))} names of classes for {count} channels of probabilities: {', '.join(names)}",
            hint="give one name for each channel, all different" if count else "give the probabilities too",
        )
    return names


def _range(source: Any, proba: Pixels | None) -> Range:
    """What stands for probabilities 0 and 1: as the file says, else by the type."""
    if proba is None:
        return 0.0, 1.0
    try:
        return value_range(proba.dtype, source.drange if isinstance(source, Image) else None, proba.name)
    except InputError as error:
        raise InputError(error.problem, hint="store probabilities as floats from 0 to 1") from None


def _items(value: Any) -> list[Any]:
    """Of a sequence; anything else by itself."""
    return list(value) if isinstance(value, Iterable) else [value]


def _numbers(value: Any) -> list[float]:
    """One number or several as a list; empty unless all are numbers."""
    try:
        found = np.atleast_1d(np.asarray(value))
    except ValueError:  # lists of several lengths
        return []
    return [float(v) for v in found] if found.ndim == 1 and found.dtype.kind in "iuf" else []


def lengths(spacing: Any, unit: str, labels: Pixels, raw: Pixels | None) -> tuple[Lengths, str]:
    """Size of a pixel along z, y, x and its unit; 1 and no unit where nobody asks for lengths."""
    if spacing is None:
        return (1.0, 1.0, 1.0), ""
    if isinstance(spacing, str) and spacing != "file":
        raise InputError(f"spacing {spacing!r}", hint='give numbers along z, y, x, or "file"')
    needed = SPACE if labels.sizes["z"] > 1 else "yx"
    if isinstance(spacing, str):
        known = [p.voxel for p in (labels, raw) if p is not None and set(needed) <= set(p.voxel.size)]
        if not known:
            raise InputError(
                f"{labels.name}: the file does not say how large a pixel is along {', '.join(needed)}",
                hint="give the spacing as numbers along z, y, x",
            )
        if len(known) > 1 and raw is not None and not _alike(known[0], known[1], needed):
            log.warning(
                "%s and %s say other pixel sizes: %s is taken", labels.name, raw.name, _text(known[0], needed)
            )
        spacing = known[0]
    if isinstance(spacing, Voxel):
        unit = _unit(spacing, needed)
        spacing = [spacing.size.get(a, 1.0) for a in SPACE]
    sizes = _numbers(spacing)
    sizes = sizes * 3 if len(sizes) == 1 else [1.0] * (3 - len(sizes)) * bool(sizes) + sizes
    if len(sizes) != 3 or not all(0 < s < np.inf for s in sizes) or not (isinstance(unit, str) and unit):
        raise InputError(
            f"spacing {spacing!r} in unit {unit!r}: positive numbers along z, y, x and a unit are needed"
        )
    return (sizes[0], sizes[1], sizes[2]), UNITS.get(unit.casefold(), unit)


def _alike(one: Voxel, other: Voxel, axes: str) -> bool:
    """Whether two sizes are one, but for rounding, in whatever units."""
    sizes = ((one.size[a], in_unit(other.size[a], unit_of(other, a), unit_of(one, a))) for a in axes)
    return all(found is not None and abs(found - size) <= 1e-6 * size for size, found in sizes)


def _text(voxel: Voxel, axes: str) -> str:
    return ", ".join(f"{a} {voxel.size[a]:g}" for a in axes)


def unit_of(voxel: Voxel, axis: str) -> str:
    """The unit of an axis, as columns write it."""
    word = voxel.unit.get(axis, "micrometer")
    return UNITS.get(word.casefold(), word)


def in_unit(size: float, own: str, unit: str) -> float | None:
    """A length in another unit; None where nobody knows how much of one the other is."""
    if own == unit:
        return size
    return size * METERS[own] / METERS[unit] if {own, unit} <= set(METERS) else None


def _unit(voxel: Voxel, axes: str) -> str:
    """The one unit of all axes, as columns write it."""
    units = {unit_of(voxel, a) for a in axes}
    if len(units) != 1:
        raise InputError(
            f"pixels are measured in {' and '.join(sorted(units))}",
            hint="give the spacing as numbers in one unit",
        )
    return units.pop()


def margin_of(margin: Sequence[int]) -> tuple[int, int, int]:
    """Margins along z, y, x, from two or three along x, y, z."""
    widths = _numbers(margin)
    if len(widths) not in (2, 3) or not all(w.is_integer() and 0 <= w < 2**31 for w in widths):
        raise InputError(f"margin {margin}: two or three whole numbers of pixels are needed, along x, y, z")
    x, y, z = (int(w) for w in (*widths, 1)[:3])
    return z, y, x


def _fitting(source: Source) -> tuple[int, ...]:
    """Tiles that the backend has room for."""
    return tile_size(source.shape, source.plan.margin, source.plan.backend.room(SHARE * source.layers))


def _block(block: int | Sequence[int] | None, kind: Kind, source: Source) -> tuple[int, ...] | None:
    """Size of tiles along z, y, x; None to measure a time point whole."""
    if block is None:
        need = SHARE * 4 * source.layers * prod(source.shape)
        return None if kind == "components" or need < source.plan.backend.free() else _fitting(source)
    if kind == "components":
        raise InputError(
            "connected components cannot be numbered tile by tile here",
            hint="make labels with gpuseg.segment first, and measure those",
        )
    sizes = _numbers(block)
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    if len(sizes) not in (2, 3) or not all(s.is_integer() and s > 0 for s in sizes):
        raise InputError(f"block {block!r}: positive numbers of pixels are needed, along z, y, x")
    return tuple([1] * (3 - len(sizes)) + [int(s) for s in sizes])
