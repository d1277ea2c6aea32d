"""A picture of each object in an HDF5 table: `images/<object_id>/labeling` and `raw`, as ilastik has them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import LETTERS, SPACE, Voxel, reorder
from gpuseg.errors import InputError
from gpuseg.objects.columns import HIGH, ID, IMAGE, LOW, NUMBER, ORIGINAL, TIME
from gpuseg.objects.pixels import Pixels
from gpuseg.tiles import Region, grown, pieces, tile_size, within

if TYPE_CHECKING:
    import pandas as pd

Part = Callable[[Region], NDArray[Any]]
Read = Callable[[int, Region], NDArray[Any]]  # of a time point and a region zyx
GROUP, LABELING, RAW = "images", "labeling", "raw"
CORNER = (slice(0, 1),) * 3  # read to know the channels and the type of an image
PIXELS = 1 << 24  # numbers in memory at once, of labels and of every channel
SAMPLES = 16  # objects whose first pixels are compared when the file was written
PATCH = 64


@dataclass(frozen=True, slots=True)
class CutoutSource:
    """An image that objects are cut out of, read by time point and region."""

    name: str  # as in the column `image`, where the table has one
    labels: Read  # integers (z, y, x), as in the column `labelimage_oid`
    raw: Read | None  # (c, z, y, x)
    shape: tuple[int, int, int]
    axes: str = "zyx"  # order of axes in the file; channels last unless named
    frames: int = 1
    voxel: Voxel = field(default_factory=Voxel)

    @classmethod
    def measured(
        cls,
        name: str,
        table: "pd.DataFrame",
        labels: Pixels,
        raw: Pixels | None = None,
        numbers: Read | None = None,
    ) -> Self:
        """Of what `table` was measured on.

        numbers: reads `labelimage_oid`; by default labels by their `original_oid`.
        """
        rows = table[table[IMAGE] == name] if IMAGE in table else table
        n, first = labels.sizes, raw or labels
        shape = n["z"], n["y"], n["x"]
        read = None if raw is None else raw.read
        voxel = first.voxel if first.voxel.size else labels.voxel
        return cls(name, numbers or _numbers(rows, labels), read, shape, first.axes, n["t"], voxel)

    def letters(self, channels: int, frames: int = 1) -> str:
        """Axes of what is cut out: those that have several places, in the order of the image.

        The same for every object, so that one of a single pixel is an image too.
        """
        size = dict(zip(SPACE, self.shape, strict=True)) | {"t": frames, "c": channels}
        missing = [a for a in LETTERS if a not in self.axes]
        order = [*(a for a in missing if a != "c"), *self.axes, *(a for a in missing if a == "c")]
        return "".join(a for a in order if size[a] > 1) or "x"


@dataclass(frozen=True, slots=True)
class Cutouts:
    """What is cut out: the box of every object and so many pixels around it, from one image or several.

    sources: one after the other, each done with before the next is asked for. whole: the raw image at full
    size in `images/raw`, not the cutouts of it; of several images in `images/raw/0`, `images/raw/1`, ...
    check: called before each object; what it raises ends all.
    """

    sources: Iterable[CutoutSource]
    margin: int = 0
    whole: bool = False
    check: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise InputError(f"a margin of {self.margin} pixels around objects", hint="0 or more")


class ImageWriter:
    """Cuts objects out and stores them, one at a time; keeps a few pixels to compare with the file.

    check: called before each, as that of the cutouts; raises what ends it.
    """

    def __init__(
        self, group: Any, table: "pd.DataFrame", cutouts: Cutouts, check: Callable[[], None]
    ) -> None:
        if not table[ID].is_unique:
            raise InputError(
                f"{len(table)} objects have {table[ID].nunique()} numbers in the column {ID}",
                hint="join tables with gpuseg.tables.join_tables, which numbers objects anew",
            )
        self.group, self.table, self.cutouts = group, table, cutouts
        self.checks = check, cutouts.check
        self.sampled = set(table[ID].iloc[:: max(1, len(table) // SAMPLES)])
        self.samples: dict[str, NDArray[Any]] = {}

    def check(self) -> None:
        for check in self.checks:
            check()

    def write(self) -> None:
        """All images, one after the other."""
        several, seen = IMAGE in self.table, set()
        for place, source in enumerate(self.cutouts.sources):
            if place and not several:
                raise InputError(f"several images to cut objects out of, and a table without column {IMAGE}")
            seen.add(source.name)
            if self.cutouts.whole:
                self._write_whole(source, f"{RAW}/{place}" if several else RAW)
            rows = self.table[self.table[IMAGE] == source.name] if several else self.table
            for t, frame in rows.groupby(TIME):
                self._write_frame(source, int(t), frame)
        absent = set(self.table[IMAGE]) - seen if several else set()
        if absent or (len(self.table) and not seen):
            raise InputError(f"{min(absent, default='objects')}: no image to cut objects out of")

    def _write_whole(self, source: CutoutSource, name: str) -> None:
        if source.raw is None:
            raise InputError(
                f"{source.name}: there is no raw image to store whole", hint="give the raw image"
            )
        full = tuple(slice(0, n) for n in source.shape)
        one = source.raw(0, CORNER)
        letters = source.letters(len(one), source.frames)
        size = _sizes(full) | {"t": source.frames, "c": len(one)}
        data = _created(self.group, name, letters, size, one.dtype, source.voxel)
        data.attrs[IMAGE] = _bytes(source.name)
        for t in range(source.frames):
            for part in pieces(full, PIXELS // len(one)):
                values = source.raw(t, part)[None]
                self.check()
                data[_place(letters, part, t)] = reorder(values, "tczyx", letters)

    def _write_frame(self, source: CutoutSource, t: int, rows: "pd.DataFrame") -> None:
        margin = (self.cutouts.margin,) * 3
        boxes = [grown(box, margin, source.shape) for box in _boxes(source, t, rows)]
        raw = None if self.cutouts.whole else source.raw
        one = None if raw is None else raw(t, CORNER)
        most = PIXELS // (1 if one is None else 1 + len(one))
        ids, numbers = rows[ID].tolist(), rows[NUMBER].tolist()
        for region, members in _together(boxes, source.shape, most):
            labels = _held(source.labels, t, region, most)
            under = None if raw is None else _held(raw, t, region, most)
            for i in members:
                self.check()
                cut = _Cut(source, self.group.create_group(str(ids[i])), boxes[i], most)
                if not cut.store(LABELING, 1, np.dtype(np.uint8), _mask(labels, numbers[i])):
                    raise InputError(
                        f"{source.name}: no pixel of object {numbers[i]} in its box at time point {t}",
                        hint="the table was measured on other labels: measure these",
                    )
                if under is not None and one is not None:
                    cut.store(RAW, len(one), one.dtype, under)
                if ids[i] in self.sampled:
                    self.samples |= cut.samples


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the pictures of an object go."""

    source: CutoutSource
    group: Any
    box: Region
    most: int  # pixels in memory at once
    samples: dict[str, NDArray[Any]] = field(default_factory=dict)

    def store(self, name: str, channels: int, dtype: np.dtype[Any], read: Part) -> bool:
        """One picture; whether any of its pixels is not 0."""
        letters, found = self.source.letters(channels), False
        size = _sizes(self.box) | {"c": channels}
        data = _created(self.group, name, letters, size, dtype, self.source.voxel)
        for part in pieces(self.box, self.most):
            values = reorder(read(part), "czyx", letters)
            data[_place(letters, within(part, self.box))] = values
            self.samples.setdefault(data.name, values[first_row(values.ndim)].copy())
            found = found or bool(values.any())
        return found


def first_row(ndim: int) -> tuple[Any, ...]:
    """Of an image: some of its first pixels."""
    return (*(0 for _ in range(ndim - 1)), slice(0, PATCH))


def _numbers(rows: "pd.DataFrame", labels: Pixels) -> Read:
    """Reads labels as their numbers in the table, 0 where it does not have them."""
    known = {int(t): frame[[ORIGINAL, NUMBER]].sort_values(ORIGINAL) for t, frame in rows.groupby(TIME)}

    def read(t: int, region: Region) -> NDArray[Any]:
        values = labels.integers(t, region)
        ids, numbers = (known[t][name].to_numpy() for name in (ORIGINAL, NUMBER))
        if np.array_equal(ids, numbers) and len(ids) == ids[-1]:
            return values
        wide = values.astype(np.int64)  # uint64 would be compared as float64
        places = np.minimum(np.searchsorted(ids, wide), len(ids) - 1)
        return np.where(ids[places] == wide, numbers[places], 0)

    return read


def _boxes(source: CutoutSource, t: int, rows: "pd.DataFrame") -> list[Region]:
    """The box of each object, zyx; InputError if the image ends before one does."""
    ends = np.zeros((2, len(rows), 3), np.int64)
    ends[1] = 1  # of z, where the table is of flat images
    for row, title in zip(ends, (LOW, HIGH), strict=True):
        for k in range(3):
            if f"{title}_{k}" in rows:
                row[:, 2 - k] = rows[f"{title}_{k}"]
    wrong = (ends[0] < 0) | (ends[1] > source.shape) | (ends[0] >= ends[1])
    if t >= source.frames or wrong.any():
        number = rows[NUMBER].iloc[int(np.argmax(wrong.any(axis=1)))]
        raise InputError(
            f"{source.name}: object {number} of time point {t} lies beyond the image,"
            f" which has {' x '.join(map(str, source.shape))} pixels and {source.frames} time points",
            hint="the table was measured on other labels: measure these",
        )
    return [tuple(map(slice, *box)) for box in ends.transpose(1, 0, 2).tolist()]


def _together(
    boxes: Sequence[Region], shape: tuple[int, int, int], most: int
) -> Iterator[tuple[Region, Sequence[int]]]:
    """Objects that begin in one tile, and the region that holds them all; each alone if that is too large.

    An image in chunks is then decoded about once, not once for each object.
    """
    low, high = (np.array([[getattr(s, end) for s in box] for box in boxes]) for end in ("start", "stop"))
    size = tile_size(shape, (0, 0, 0), most // 4)  # objects reach beyond it
    tiles = np.ravel_multi_index(tuple((low // size).T), shape)
    order = np.argsort(tiles, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(tiles[order])) + 1):
        region = tuple(map(slice, low[members].min(axis=0).tolist(), high[members].max(axis=0).tolist()))
        if _volume(region) <= most:
            yield region, members.tolist()
        else:
            yield from ((boxes[i], [i]) for i in members.tolist())


def _held(read: Read, t: int, region: Region, most: int) -> Part:
    """Reads parts of a region, which is read once and held if it is small enough."""
    if _volume(region) > most:
        return lambda part: read(t, part)
    block = read(t, region)

    def cut(part: Region) -> NDArray[Any]:
        where: Any = (..., *within(part, region))
        values: NDArray[Any] = block[where]
        return values

    return cut


def _mask(labels: Part, number: int) -> Part:
    return lambda part: (labels(part) == number)[None].view(np.uint8)


def _volume(region: Region) -> int:
    return prod(s.stop - s.start for s in region)


def _sizes(region: Region) -> dict[str, int]:
    return {a: s.stop - s.start for a, s in zip(SPACE, region, strict=True)}


def _place(letters: str, part: Region, t: int = 0) -> Region:
    """Where a part goes, all channels of it."""
    where = dict(zip(SPACE, part, strict=True)) | {"t": slice(t, t + 1), "c": slice(None)}
    return tuple(where[a] for a in letters)


def _created(
    group: Any, name: str, letters: str, size: Mapping[str, int], dtype: np.dtype[Any], voxel: Voxel
) -> Any:
    """A dataset with the attributes that ilastik gives it; large ones are compressed."""
    from gpuseg.io.hdf5 import CHUNK_BYTES, GZIP_LEVEL, TYPE_FLAGS, chunk_shape  # late: it loads h5py

    shape, how = tuple(size[a] for a in letters), {}
    if prod(shape) * dtype.itemsize > CHUNK_BYTES:
        chunks = chunk_shape(shape, letters, dtype.itemsize)
        how = {"chunks": chunks, "compression": "gzip", "compression_opts": GZIP_LEVEL, "fletcher32": True}
    data = group.create_dataset(name, shape, dtype, **how)
    tags = [
        {"key": a, "typeFlags": TYPE_FLAGS[a], "resolution": voxel.size.get(a, 0), "description": ""}
        for a in letters
    ]
    data.attrs["type"] = _bytes("labeling" if name == LABELING else "image")
    data.attrs["axistags"] = _bytes(json.dumps({"axes": tags}))
    if voxel.unit:
        data.attrs["axis_units"] = _bytes(json.dumps({a: voxel.unit[a] for a in letters if a in voxel.unit}))
    return data


def _bytes(text: str) -> np.bytes_:
    """Text of fixed length: that of variable length has no checksum in the file."""
    return np.bytes_(text.encode(errors="backslashreplace"))
