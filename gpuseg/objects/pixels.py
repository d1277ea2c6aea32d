"""Label images and what lies under them, in memory or in a file, read by time point and region."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, Voxel, check, guess, reorder, sizes
from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.io.base import Image
from gpuseg.tiles import Region

PLACES = "t" + SPACE
GUESSED = {2: "yx", 3: "zyx", 4: "tzyx"}  # axes of label images that name none: they have no channels
LARGEST = 2**63 - 1
SCARCE = 4  # ids up to so many times the number of pixels are looked up in a table, not sorted


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An image and the meaning of its axes."""

    name: str  # in errors: "labels", "raw", a path
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel: Voxel
    fetch: Callable[[tuple[slice, ...]], NDArray[Any]]  # of one slice for each axis

    @classmethod
    def of(cls, source: Any, name: str, axes: str | None) -> Self:
        """Of an array or an open image, if its axes can be those. ShapeError names the image."""
        voxel = source.voxel if isinstance(source, Image) else Voxel()
        fetch = source.read if isinstance(source, Image) else source.__getitem__
        try:
            axes = guess(source.shape) if axes is None else check(axes, source.shape)
        except ShapeError as error:
            raise error.at(name) from None
        for letter, size in zip(axes, source.shape, strict=True):
            if size == 0:
                raise ShapeError(f"{name}: axis {letter} has size 0, shape {source.shape}")
        return cls(name, axes, tuple(source.shape), source.dtype, voxel, fetch)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every axis by letter."""
        return sizes(self.axes, self.shape)

    @property
    def whole(self) -> Region:
        """All of a time point, zyx."""
        return tuple(slice(0, self.sizes[a]) for a in SPACE)

    def read(self, t: int, region: Region) -> NDArray[Any]:
        """Pixels of a time point and region (zyx) as (c, z, y, x), type as stored."""
        known = {"t": slice(t, t + 1)} | dict(zip(SPACE, region, strict=True))
        return reorder(self.fetch(tuple(known.get(a, slice(None)) for a in self.axes)), self.axes, "czyx")

    def numbers(self, t: int, region: Region) -> NDArray[np.float32]:
        """The same as float32; InputError unless all are finite."""
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is named below
            values = np.ascontiguousarray(self.read(t, region), np.float32)
        if self.dtype.kind == "f" and not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))
            raise InputError(
                f"{self.name}: {len(bad)} pixels are NaN, infinite or beyond float32,"
                f" the first at {self._where(t, region, bad[0][1:])}, channel {bad[0][0]}",
                hint="replace them, for example with numpy.nan_to_num",
            )
        return values

    def integers(self, t: int, region: Region) -> NDArray[Any]:
        """Label values (z, y, x), type as stored; LabelError where one is negative."""
        values: NDArray[Any] = self.read(t, region)[0]
        if self.dtype.kind == "b":
            return values.astype(np.uint8)
        if self.dtype.kind == "u" and values.max() > LARGEST:
            raise LabelError(f"{self.name}: label {values.max()}; labels are 0 to {LARGEST}")
        if self.dtype.kind == "i" and values.min() < 0:
            at = np.argwhere(values < 0)[0]
            raise LabelError(
                f"{self.name}: label {values[tuple(at)]} at {self._where(t, region, at)};"
                " labels are 0 for the background and 1, 2, ... for objects",
                hint="set what is no object to 0",
            )
        return values

    def _where(self, t: int, region: Region, at: Sequence[int]) -> str:
        place = dict(zip(PLACES, (t, *(i + s.start for i, s in zip(at, region, strict=True))), strict=True))
        return ", ".join(f"{a} {place[a]}" for a in PLACES if a in self.axes)


def pair(
    labels: Any, raw: Any = None, axes: str | None = None, raw_axes: str | None = None
) -> tuple[Pixels, Pixels | None]:
    """A label image and what lies under it, checked as far as their headers say.

    axes, raw_axes: by default what files say. Where only one of the two is known, the other is like it if it
    fits; where none is, labels are yx, zyx or tzyx.
    """
    known = raw_axes or _said(raw)
    like = None if raw is None or known is None else Pixels.of(*_real(raw, "raw"), known)
    objects = labelled(labels, axes, like=like)
    return objects, None if raw is None else beneath(raw, objects, raw_axes)


def labelled(
    source: Any, axes: str | None = None, name: str = "labels", like: Pixels | None = None
) -> Pixels:
    """A label image, checked as far as its type and shape say.

    axes: by default what the file says, else those of `like` if sizes fit, else yx, zyx or tzyx.
    """
    source, name = _real(source, name)
    if source.dtype.kind == "f":
        raise LabelError(
            f"{name}: pixels are {source.dtype}, an image of objects has integers",
            hint="segment probabilities first; cast labels that were stored as floats",
        )
    fitting = [] if like is None else _fitting(source.shape, like)
    guessed = fitting[0] if fitting else GUESSED.get(len(source.shape))
    found = Pixels.of(source, name, axes or _said(source) or guessed)
    if found.sizes["c"] != 1:
        raise ShapeError(
            f"{name}: has {found.sizes['c']} channels, an image of labels has one",
            hint="give the label values themselves (0, 1, 2, ...), not colours; --axes says what axes are",
        )
    return found


def beneath(source: Any, labels: Pixels, axes: str | None = None, name: str = "raw") -> Pixels:
    """An image that lies under `labels`: as many time points and pixels, any number of channels.

    axes: by default what the file says, else those of `labels`, with c where it fits.
    """
    source, name = _real(source, name)
    candidates = [*_fitting(source.shape, labels), *_with_channel(labels.axes, len(source.shape))]
    found = Pixels.of(source, name, axes or _said(source) or next(iter(candidates), None))
    ours, theirs = ([(p.sizes[a], a) for a in PLACES] for p in (found, labels))
    if ours != theirs:
        raise ShapeError(
            f"{name}: has {_text(ours)} pixels, {labels.name} has {_text(theirs)}",
            hint="give the image that was segmented; --axes and --raw-axes say what axes are",
        )
    return found


def _real(source: Any, name: str) -> tuple[Any, str]:
    """An open image as it is, all else as an array of real numbers; and what to call it."""
    if isinstance(source, Image):
        return source, source.path
    array = np.asarray(source)
    if isinstance(source, np.ma.MaskedArray) or array.dtype.kind not in "biuf":
        what = "a masked array" if isinstance(source, np.ma.MaskedArray) else f"of type {array.dtype}"
        raise InputError(f"{name}: is {what}; arrays of bool, integers or floats are possible")
    return array, name


def _said(source: Any) -> str | None:
    """The axes that a file or its user names."""
    return source.axes if isinstance(source, Image) and source.axes_from != "shape" else None


def _fitting(shape: Sequence[int], like: Pixels) -> list[str]:
    """Axes of an array that would be as many time points and pixels as `like`, channels aside."""
    return [
        axes
        for axes in _with_channel(like.axes, len(shape))
        if all(sizes(axes, shape)[a] == like.sizes[a] for a in PLACES)
    ]


def _with_channel(axes: str, count: int) -> list[str]:
    """So many of `axes`, c left out or put in: last, or wherever else."""
    plain = axes.replace("c", "")
    ways = [plain, *(f"{plain[:i]}c{plain[i:]}" for i in range(len(plain), -1, -1))]
    return [way for way in ways if len(way) == count]


def _text(counts: Sequence[tuple[int, str]]) -> str:
    """Sizes as people read them; z and t only where there are several."""
    return " x ".join(f"{n} ({a})" for n, a in counts if n > 1 or a in "yx")


def numbered(values: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Objects numbered from 1 by ascending id, 0 staying 0, as int32; and the id of each.

    Whole numbers of any type up to 2**63 - 1, none negative.
    """
    top = int(values.max(initial=0))
    if top > min(SCARCE * values.size, np.iinfo(np.int32).max):
        known, places = np.unique(values, return_inverse=True)
        places = places.reshape(values.shape) + (known[0] != 0)
        return places.astype(np.int32), known[known != 0].astype(np.int64)
    from gpuseg.backends._numba import lookup  # late: it takes a moment to import

    labels = np.ascontiguousarray(values, np.int32)
    there = lookup.sizes(labels, top) > 0
    ids = np.flatnonzero(there) + 1
    if len(ids) == top:
        return labels, ids
    table = np.zeros(top + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    own = labels.copy() if np.may_share_memory(labels, values) else labels  # it is overwritten
    return lookup.renamed(own, table), ids
