"""From the objects of one time point to the columns of the table."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError
from gpuseg.objects.context import Objects
from gpuseg.objects.maps import Range, scaled
from gpuseg.objects.pixels import Pixels
from gpuseg.objects.table import LOCATION, ObjectFeature
from gpuseg.tiles import Region

log = logging.getLogger(__name__)
Columns = dict[str, NDArray[Any]]  # one number for each object
Named = tuple[str, NDArray[Any]]  # (n,) or (n, k)
ALWAYS = ("count", "box", "center")  # sums behind the columns that every table has
OF_CLASSES = ("count", "sum", "extremes", "moments")  # those behind the columns of probabilities
SIZE, LOW, HIGH, CENTER = (
    "Size in pixels",
    "Bounding Box Minimum",
    "Bounding Box Maximum",
    "Center of the object",
)
IMAGE, ID, TIME, NUMBER, ORIGINAL = "image", "object_id", "timestep", "labelimage_oid", "original_oid"
USER, PREDICTED, UNSURE, AMBIGUOUS = "User Label", "Predicted Class", "Uncertainty", "Ambiguous"
PROBABILITY = "Probability of "  # and the name of the class
ROUNDED = 2.0**24  # float32 has every whole number up to here
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured of every time point alike."""

    backend: Backend
    rows: tuple[ObjectFeature, ...]
    classes: tuple[str, ...]  # names of the channels of probabilities, if there are any
    spacing: tuple[float, float, float]  # along z, y, x
    unit: str  # of lengths; "" for pixels
    margin: tuple[int, int, int]  # along z, y, x

    def objects(self, labels: Array, count: int, raw: NDArray[Any] | None) -> Objects:
        """Objects whose labels are on the host or on the backend, their image on the host."""
        b = self.backend
        there = None if raw is None else b.asarray(raw)
        return Objects(b, b.asarray(labels), count, there, spacing=self.spacing, margin=self.margin)

    def needs(self, *, local: bool) -> set[str]:
        """Sums that the local features need, or all others and what every table has."""
        return {n for row in self.rows if row.local == local for n in row.needs} | set(
            () if local else ALWAYS
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured: a label image and what lies under it."""

    plan: Plan
    labels: Pixels
    raw: Pixels | None
    proba: Pixels | None
    range: Range = (0.0, 1.0)  # what stands for probabilities 0 and 1
    told: set[str] = field(default_factory=set)  # names of images that a warning was given of

    @property
    def layers(self) -> int:
        """Numbers of four bytes for each pixel."""
        return 1 + sum(p.sizes["c"] for p in (self.raw, self.proba) if p is not None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of a time point along z, y, x."""
        n = self.labels.sizes
        return n["z"], n["y"], n["x"]

    def intensities(self, t: int, region: Region) -> NDArray[np.float32] | None:
        """The raw image there as (c, z, y, x), None without one; a warning, once, of integers it rounds."""
        raw = self.raw
        if raw is None:
            return None
        values = raw.numbers(t, region)
        wide = raw.dtype.kind in "iu" and raw.dtype.itemsize >= 4 and raw.name not in self.told
        if wide and np.abs(values).max() >= ROUNDED:
            self.told.add(raw.name)
            log.warning("%s: has integers of 2^24 and more; they are measured as float32, rounded", raw.name)
        return values

    def probabilities(self, t: int, region: Region) -> Array:
        """The probabilities there on the backend, (c, z, y, x) within 0..1. InputError beyond."""
        assert self.proba is not None
        try:
            return scaled(self.plan.backend, self.proba.numbers(t, region), self.range, self.proba.name)
        except InputError as error:
            raise InputError(error.problem, hint="store probabilities as floats from 0 to 1") from None


def columns(ids: NDArray[Any], found: Sequence[Named]) -> Columns:
    """All columns by name, in their order. InputError if two features would have one name.

    ids: of the objects in the image that was given; found: what was measured, in the order of columns.
    """
    made: Columns = {"labelimage_oid": np.arange(1, len(ids) + 1)}
    for title, values in found:
        for name, column in _split(title, values):
            if name in made:
                raise InputError(
                    f"two object features are called {name!r}",
                    hint="choose one of them, or give yours another title",
                )
            made[name] = column
        if title == CENTER:
            made["original_oid"] = ids
    return made


def _split(title: str, values: NDArray[Any]) -> Iterator[Named]:
    """`title`, or `title_0`, `title_1`, ... where there are several values."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        yield title, values
    else:
        rows = np.ascontiguousarray(values.T)  # else every column would be one of gaps
        yield from ((f"{title}_{k}", column) for k, column in enumerate(rows))


def always(o: Objects) -> list[Named]:
    """What ilastik calls default features: size, box (its end exclusive) and centre, in pixels."""
    box, count = o.sums("box"), o.sums("count")
    center = o.sums("center") / count[:, None]
    return [
        (SIZE, count),
        (LOW, o.in_order(box[:, :, 0])),
        (HIGH, o.in_order(box[:, :, 1] + 1)),
        (CENTER, o.in_order(center)),
    ]


def measured(
    plan: Plan, o: Objects, rows: Sequence[ObjectFeature], tick: Callable[[], None] | None = None
) -> list[Named]:
    """What features say of objects; those that every table has are not said twice. tick: before each."""
    found = []
    for row in rows:
        title = heading(row, o.ndim, plan.unit)
        if title not in (SIZE, LOW, HIGH, CENTER):
            if tick is not None:
                tick()
            found.append((title, values_of(row, o)))
    return found


def values_of(row: ObjectFeature, o: Objects) -> NDArray[Any]:
    """(n,) or (n, k); InputError if a formula gives anything else."""
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN is what 0 / 0 is; nobody needs to be warned
        try:
            values = np.asarray(row.formula(o))
        except InputError as error:
            raise error.at(f"feature {row.title!r}") from None
    if values.ndim not in (1, 2) or len(values) != o.count or values.dtype.kind not in "biuf":
        raise InputError(
            f"feature {row.title!r} gave {values.dtype} of shape {values.shape} for {o.count} objects",
            hint="a feature gives an array of numbers with a row for each object",
        )
    if is_place(row) and values.shape != (o.count, o.ndim):
        raise InputError(
            f"feature {row.title!r} gave an array of shape {values.shape} for {o.count} objects in {o.ndim}D",
            hint="a local feature of LOCATION with unit=1 is a place: one for each axis, x first",
        )
    return values


def is_place(row: ObjectFeature) -> bool:
    """Whether it gives coordinates of what it reads, which tiles shift to those of the image."""
    return row.local and row.group == LOCATION and row.unit == 1


def heading(row: ObjectFeature, ndim: int, unit: str) -> str:
    """The title of a column, with its unit where it has one: `Size (µm²)`."""
    power = ndim if row.unit == "d" else row.unit
    if not unit or not power:
        return row.title
    raised = "" if power == 1 else str(power).translate(RAISED)
    return f"{row.title.removesuffix(' in pixels')} ({unit}{raised})"


def of_classes(o: Objects, classes: Sequence[str]) -> list[Named]:
    """Mean, spread, range and sum of the probability of each class, over the pixels of each object."""
    n, extremes = o.sums("count")[:, None], o.sums("extremes")
    found = {
        "Mean": o.sums("sum") / n,
        "Variance of": o.sums("moments")[..., 0] / n,
        "Minimum": extremes[..., 0],
        "Maximum": extremes[..., 1],
        "Total": o.sums("sum"),
    }
    return [
        (f"{what} probability of {name}", v[:, i])
        for i, name in enumerate(classes)
        for what, v in found.items()
    ]


def empty(plan: Plan, ndim: int, channels: int) -> Columns:
    """The columns of an image without objects: none, under the names that objects would have.

    How many columns a feature has is found out on a small object.
    """
    shape = (5,) * ndim if ndim == 3 else (1, 5, 5)
    labels = np.zeros(shape, np.int32)
    labels[(slice(None) if ndim == 2 else slice(1, 4), slice(1, 4), slice(1, 4))] = 1
    values = 2 + np.sin(np.arange(max(1, channels) * labels.size, dtype=np.float32)).reshape(-1, *shape)
    o = plan.objects(labels, 1, values[:channels] if channels else None)
    found = always(o) + measured(plan, o, plan.rows)
    if plan.classes:
        proba = np.repeat(values[:1], len(plan.classes), axis=0)
        found += of_classes(plan.objects(labels, 1, proba), plan.classes)
    return {name: column[:0] for name, column in columns(np.zeros(1, np.int64), found).items()}
