"""Pictures of a run, collected while its images are at hand: small, and few however many images there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.classes import LabelClass
from gpuseg.objects.columns import NUMBER, ORIGINAL, PREDICTED, PROBABILITY, TIME, UNSURE
from gpuseg.report.figures import Picture, photo
from gpuseg.report.planes import (
    BLANK,
    EDGE,
    centred,
    displayed,
    enlarged,
    enlarged_labels,
    painted,
    reduction,
    thinned,
    thinned_labels,
)
from gpuseg.tiles import Region

if TYPE_CHECKING:
    import pandas as pd

Read = Callable[[int, Region], NDArray[Any]]  # of a time point and region (zyx)
LONGEST = 640  # pixels of the longer side of an overview
SQUARE = 160  # pixels of a side of a thumbnail
AROUND, CLOSEST = 1.6, 24  # a thumbnail shows so many times the object's size, and no fewer pixels
DENSE = 4  # reduced more than so many times, objects are small: their borders are one pixel wide, not two
CERTAIN = 1e-6  # an uncertainty that is no more comes from rounding
FILL = 0.22  # opacity of the class colour inside an object: the image stays readable
OTHER, PLAIN = (128, 128, 128), (0, 150, 255)  # objects without a class where there are classes; without any


def numbers_of_classes(table: "pd.DataFrame", classes: Sequence[LabelClass]) -> NDArray[np.intp]:
    """For every row the place of its predicted class in `classes`, -1 where it has none of them."""
    if PREDICTED not in table:
        return np.full(len(table), -1)
    places = {c.name: k for k, c in reversed([*enumerate(classes)])}
    found: NDArray[np.intp] = table[PREDICTED].astype(object).map(places).fillna(-1).to_numpy(np.intp)
    return found


@dataclass(frozen=True, slots=True)
class Summary:
    """One image: its counts, and its overview if it is among the first."""

    name: str
    size: str
    objects: int
    counts: tuple[int, ...]  # of each class
    picture: Picture | None
    note: str

    def with_more(self, objects: int, counts: tuple[int, ...]) -> "Summary":
        """And the objects of another time point."""
        both = tuple(a + b for a, b in zip(self.counts, counts, strict=True))
        note = self.note if "first time point" in self.note else ", ".join(("first time point", self.note))
        return replace(self, objects=self.objects + objects, counts=both, note=note.removesuffix(", "))


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One object whose class is in doubt."""

    uncertainty: float
    picture: Picture
    image: str
    object_id: int
    place: str
    number: int  # of its class, -1 without
    probability: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """An image while it is at hand."""

    shape: tuple[int, int, int]
    raw: Read | None
    labels: Read
    table: "pd.DataFrame"
    colors: NDArray[np.uint8]  # of every row

    def box(self, row: int) -> Region:
        """Bounding box, zyx; images without depth may have no z in their tables."""
        ends = [f"Bounding Box {end}" for end in ("Minimum", "Maximum")]
        return tuple(
            slice(*(int(self.table[f"{end}_{k}"].iat[row]) for end in ends))
            if f"{ends[0]}_{k}" in self.table
            else slice(0, 1)
            for k in (2, 1, 0)
        )

    def fullest_slice(self) -> int:
        """The slice of the first time point where objects cover most, as far as their boxes say."""
        first = self.table[self.table[TIME] == 0]
        if self.shape[0] == 1 or not len(first):
            return self.shape[0] // 2
        low, high = (
            [first[f"Bounding Box {end}_{k}"].to_numpy(np.int64) for k in range(3)]
            for end in ("Minimum", "Maximum")
        )
        area = (high[0] - low[0]) * (high[1] - low[1])
        change = np.zeros(self.shape[0] + 1, np.int64)
        np.add.at(change, low[2], area)
        np.subtract.at(change, high[2], area)
        return int(change.cumsum()[:-1].argmax())

    def drawn(self, t: int, area: Region, longest: int, fill: float, subject: int = 0) -> NDArray[np.uint8]:
        """The area (one slice) with its objects, its longer side `longest` pixels."""
        ids = thinned_labels(lambda region: self.labels(t, region), area, longest)
        factor, _ = reduction(tuple(s.stop - s.start for s in area[1:]), longest)
        height, width = (max(1, round(n * longest / max(ids.shape))) for n in ids.shape)
        if self.raw is None:
            under, fill = np.full((height, width, 3), BLANK, np.uint8), max(fill, 0.6)
        else:
            raw = self.raw
            pixels = thinned(lambda region: raw(t, region), area, longest)
            under = enlarged(displayed(pixels), height, width)
        ids = enlarged_labels(ids, height, width)
        return painted(under, ids, self._colored(t, ids), fill, 2 if factor <= DENSE else 1, subject)

    def _colored(self, t: int, ids: NDArray[Any]) -> NDArray[np.uint8]:
        rows = np.flatnonzero(self.table[TIME].to_numpy() == t)
        known = self.table[NUMBER].to_numpy()[rows].astype(np.int64)
        order = known.argsort()
        known, rows = np.append(known[order], -1), np.append(rows[order], -1)
        at = np.searchsorted(known[:-1], ids.astype(np.int64))
        colors = np.concatenate([self.colors, np.array([OTHER], np.uint8)])
        return colors[np.where(known[at] == ids, rows[at], -1)]


class Album:
    """Collects small pictures while images are processed; keeps no image.

    overviews: images that are shown, the first ones. thumbnails: objects that are shown, the least certain.
    """

    def __init__(self, classes: Sequence[LabelClass], overviews: int = 12, thumbnails: int = 24) -> None:
        self.classes = tuple(classes)
        self.overviews, self.thumbnails = overviews, thumbnails
        self.images: list[Summary] = []
        self.doubtful: list[Thumbnail] = []  # least certain first

    def copy(self) -> "Album":
        """As it is now, whatever is added to this one."""
        other = Album(self.classes, self.overviews, self.thumbnails)
        other.images, other.doubtful = [*self.images], [*self.doubtful]
        return other

    def add(
        self, name: str, shape: tuple[int, int, int], raw: Read | None, labels: Read, table: "pd.DataFrame"
    ) -> None:
        """Take what is to be shown of one image, or of its next time point if it is that of the last call.

        shape: zyx. raw(t, region) gives (c, z, y, x), labels(t, region) (z, y, x) with the numbers of column
        `labelimage_oid`. table: the rows of this image, as measured and classified; of a time series all of
        them at once, or those of one time point after the other, the first of which is shown.
        """
        numbers = numbers_of_classes(table, self.classes)
        colors = np.array([*(c.color for c in self.classes), OTHER if self.classes else PLAIN], np.uint8)
        source = _Source(shape, raw, labels, table, colors[numbers])
        counts = tuple(np.bincount(numbers[numbers >= 0], minlength=len(self.classes)).tolist())
        if self.images and self.images[-1].name == name:
            self.images[-1] = self.images[-1].with_more(len(table), counts)
        else:
            picture, note = _overview(source) if len(self.images) < self.overviews else (None, "")
            size = " × ".join(map(str, shape[::-1] if shape[0] > 1 else shape[:0:-1]))
            self.images.append(Summary(name, size, len(table), counts, picture, note))
        self._doubt(name, source, numbers)

    def _doubt(self, name: str, source: _Source, numbers: NDArray[np.intp]) -> None:
        """Keep the least certain objects of all images so far; equal ones in the order they came."""
        if UNSURE not in source.table:
            return
        doubt = np.nan_to_num(source.table[UNSURE].to_numpy(np.float64))
        full = len(self.doubtful) >= self.thumbnails
        least = self.doubtful[-1].uncertainty if full and self.doubtful else CERTAIN
        for row in (-doubt).argsort(kind="stable")[: self.thumbnails]:
            if doubt[row] > least:
                self.doubtful.append(self._thumbnail(name, source, int(row), int(numbers[row])))
        self.doubtful.sort(key=lambda one: -one.uncertainty)
        del self.doubtful[self.thumbnails :]

    def _thumbnail(self, name: str, source: _Source, row: int, number: int) -> Thumbnail:
        table = source.table
        t, oid = (int(table[column].iat[row]) for column in (TIME, NUMBER))
        column = f"{PROBABILITY}{self.classes[number].name}" if number >= 0 else ""
        box = source.box(row)
        z = _slice(source, t, oid, box)
        value = int(table[ORIGINAL].iat[row]) if ORIGINAL in table else oid
        places = [f"value {value} in the label image"] if value != oid else []
        places += [f"time point {t}"] if (table[TIME] > 0).any() else []
        places += [f"slice {z}"] if source.shape[0] > 1 else []
        return Thumbnail(
            float(table[UNSURE].iat[row]),
            photo(_closeup(source, t, z, oid, box)),
            name,
            oid,
            ", ".join(places),
            number,
            float(table[column].iat[row]) if column in table else None,
        )


def _overview(source: _Source) -> tuple[Picture, str]:
    z = source.fullest_slice()
    depth, *plane = source.shape
    area = (slice(z, z + 1), *(slice(0, n) for n in plane))
    factor, _ = reduction((plane[0], plane[1]), LONGEST)
    notes = [
        *(["first time point"] if (source.table[TIME] > 0).any() else []),
        *([f"slice {z} of 0 to {depth - 1}"] if depth > 1 else []),
        *([f"1 pixel for {factor} × {factor}"] if factor > 1 else []),
    ]
    return photo(source.drawn(0, area, LONGEST, FILL)), ", ".join(notes)


def _slice(source: _Source, t: int, oid: int, box: Region) -> int:
    """The slice with most pixels of the object; of a very large one, that in its middle."""
    z = box[0]
    middle: int = (z.start + z.stop) // 2
    if z.stop - z.start == 1 or prod(s.stop - s.start for s in box) > EDGE**2:
        return middle
    pixels = (source.labels(t, box) == oid).sum((1, 2))
    fullest = np.flatnonzero(pixels == pixels.max())  # of equal ones that in the middle
    return int(z.start + fullest[len(fullest) // 2])


def _closeup(source: _Source, t: int, z: int, oid: int, box: Region) -> NDArray[np.uint8]:
    """A square around the object, moved where the image ends, blank where the image is too small for it."""
    side = max(CLOSEST, *(round(AROUND * (s.stop - s.start)) for s in box[1:]))
    area = [slice(z, z + 1)]
    for s, n in zip(box[1:], source.shape[1:], strict=True):
        start = max(0, min((s.start + s.stop - side) // 2, n - side))
        area.append(slice(start, min(n, start + side)))
    longest = round(SQUARE * max(s.stop - s.start for s in area[1:]) / side)
    return centred(source.drawn(t, tuple(area), longest, 0.0, oid), SQUARE)
