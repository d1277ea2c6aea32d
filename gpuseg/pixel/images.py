"""Images and scribbles as users give them, checked, in the one form the rest works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import COMPUTE, check, guess, reorder, sizes
from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.forests.training import MAX_VALUE

PLACE = "tzyx"  # axes of a scribble's coordinates


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image array and the meaning of its axes."""

    name: str  # in errors: "X", "X[2]", a path
    axes: str  # of the array as it was given
    pixels: NDArray[Any]  # view of it as tczyx, dtype as given: bool, integer or float
    voxel: Mapping[str, float] = field(default_factory=dict)  # size of a pixel along axes that have one

    @classmethod
    def of(
        cls,
        array: Any,
        axes: str | None = None,
        name: str = "X",
        *,
        like: str = "",
        voxel: Mapping[str, float] | None = None,
    ) -> Self:
        """Checked; axes None means `like` if it names as many, else ilastik's guess. ShapeError, InputError.

        >>> Picture.of(np.zeros((5, 64, 48))).axes
        'zyx'
        """
        pixels = _real(array, name)
        if axes is None and len(like) == pixels.ndim:
            axes = like
        try:
            axes = guess(pixels.shape) if axes is None else check(axes, pixels.shape)
        except ShapeError as e:
            raise e.at(name) from None
        for letter, size in zip(axes, pixels.shape, strict=True):
            if size == 0:
                raise ShapeError(f"{name}: axis {letter} has size 0, shape {pixels.shape}")
        return cls(name, axes, reorder(pixels, axes, COMPUTE), voxel or {})

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every axis by letter."""
        return sizes(COMPUTE, self.pixels.shape)

    @property
    def places(self) -> str:
        """The axes of results, in the order of the array: all but c."""
        return self.axes.replace("c", "")

    def check_finite(self, part: NDArray[Any]) -> None:
        """InputError with count and first position of all bad pixels, if `part` of the image has any."""
        if self.pixels.dtype.kind != "f" or not _bad(part).any():
            return
        bad = np.argwhere(_bad(self.pixels))
        first = dict(zip(COMPUTE, (int(i) for i in bad[0]), strict=True))
        raise InputError(
            f"{self.name}: {len(bad)} of {self.pixels.size} pixels are NaN, infinite or beyond float32, "
            f"the first at {', '.join(f'{a} {first[a]}' for a in self.axes)}",
            hint="replace them, for example with numpy.nan_to_num",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scribbled:
    """A picture and what was painted on it."""

    picture: Picture
    where: NDArray[np.intp]  # (n, 4): t, z, y, x
    labels: NDArray[np.int64]  # (n,), 1 and above

    @classmethod
    def of(cls, picture: Picture, scribbles: Any, name: str = "y") -> Self:
        """scribbles: dense integers or a sparse pair, as `PixelClassifier.fit` describes them."""
        sparse = isinstance(scribbles, tuple) and len(scribbles) == 2
        where, labels = (_sparse if sparse else _dense)(scribbles, picture, name)
        painted = labels != 0
        return cls(picture, where[painted], labels[painted])


def scribbled(X: Any, y: Any, axes: str | None = None, *, like: str = "") -> list[Scribbled]:
    """Images with their scribbles, in the order given; without those that have none to learn from.

    axes, like: as for `Picture.of`.
    """
    if y is None:
        raise LabelError(
            "learning requires y to be passed, but the target y is None", hint="give the scribbles as y"
        )
    if not several(X):
        return [Scribbled.of(Picture.of(X, axes, like=like), y)]
    pairs = y.items() if isinstance(y, Mapping) else enumerate(y)
    if not isinstance(y, Mapping) and len(y) != len(X):
        raise ShapeError(f"X has {len(X)} images, y has {len(y)} label images")
    found = []
    for i, labels in pairs:
        if not isinstance(i, int | np.integer) or not 0 <= i < len(X):
            raise ShapeError(f"y has scribbles for image {i!r}, X has {len(X)} images, numbered from 0")
        if labels is not None:
            picture = Picture.of(X[i], axes, f"X[{i}]", like=like)
            found.append(Scribbled.of(picture, labels, f"y[{i}]"))
    return [s for s in found if len(s.labels)]


def several(X: Any) -> bool:
    """Whether X is a list of images, not one image, which may be nested lists of numbers."""
    return isinstance(X, list | tuple) and len(X) > 0 and all(hasattr(x, "shape") for x in X)


def _bad(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
        return ~np.isfinite(pixels.astype(np.float32, copy=False))


def _real(array: Any, name: str) -> NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name}: is a masked array", hint="fill it first: array.filled(0)")
    if hasattr(array, "toarray"):
        raise InputError(f"{name}: is a sparse matrix, images are dense", hint="give array.toarray()")
    try:
        pixels = np.asarray(array)
    except ValueError as e:  # rows of different lengths
        raise InputError(f"{name}: is no array: {e}") from None
    if pixels.dtype.kind not in "biuf":
        what = "complex numbers" if pixels.dtype.kind == "c" else f"type {pixels.dtype}"
        raise InputError(
            f"{name}: pixels are {what}; bool, integers and floats are possible",
            hint="take numpy.abs or another real part" if pixels.dtype.kind == "c" else "",
        )
    return pixels


def _integers(labels: Any, name: str) -> NDArray[Any]:
    """Label values, dtype as given, if they are whole, not negative, and no mask."""
    found = np.asarray(labels)
    if found.dtype.kind == "b":
        raise LabelError(
            f"{name}: labels are bool, they must be integers: 0 unlabelled; 1, 2, ... classes",
            hint="a mask says where one class is, at least two are needed",
        )
    if found.dtype.kind not in "iuf":
        raise LabelError(f"{name}: labels are {found.dtype}, they must be integers")
    if found.dtype.kind != "f" and (not found.size or (found.min() >= 0 and found.max() <= MAX_VALUE)):
        return found  # label images may be huge: no mask of wrong pixels unless there are some
    with np.errstate(over="ignore"):  # float16 ends before MAX_VALUE
        wrong = (found < 0) | (found > MAX_VALUE)
    if found.dtype.kind == "f":
        wrong |= ~np.isfinite(found) | (found != np.round(found))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise LabelError(f"{name}: label {found[at]} at {at}; labels are whole, 0 to {MAX_VALUE}")
    return found


def _dense(labels: Any, picture: Picture, name: str) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Positions (n, 4) and values of the non-zero pixels of a label image."""
    found, sizes = np.asarray(labels), picture.sizes
    axes = picture.places
    wanted = tuple(sizes[a] for a in axes)
    with_channel = picture.axes if "c" in picture.axes else axes + "c"
    if found.shape == tuple(sizes[a] if a != "c" else 1 for a in with_channel):
        found = found.reshape(wanted)
    if found.shape != wanted:
        raise ShapeError(
            f"{name}: the label image has shape {found.shape}, {picture.name} has {wanted} along {axes}",
            hint="labels have the shape of their image, without the channel axis",
        )
    values = reorder(_integers(found, name), axes, PLACE)
    where = np.argwhere(values)
    return where, values[tuple(where.T)].astype(np.int64)


def _sparse(pair: Sequence[Any], picture: Picture, name: str) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Positions (n, 4) and values of a pair (coordinates, classes)."""
    at, values = np.asarray(pair[0]), _integers(pair[1], name)
    axes = picture.places
    if values.ndim != 1 or at.shape != (len(values), len(axes)):
        raise ShapeError(
            f"{name}: coordinates of shape {at.shape} and classes of shape {values.shape}; "
            f"for {picture.name} they must be (n, {len(axes)}), along {axes}, and (n,)"
        )
    if at.dtype.kind not in "iu" and at.size:
        raise LabelError(f"{name}: coordinates are {at.dtype}, they must be integers")
    limit = [picture.sizes[a] for a in axes]
    outside = ((at < 0) | (at >= limit)).any(axis=1)
    if outside.any():
        first = tuple(int(i) for i in at[np.flatnonzero(outside)[0]])
        raise LabelError(
            f"{name}: scribble at {first} is outside of {picture.name}, {tuple(limit)} along {axes}"
        )
    where = np.zeros((len(values), len(PLACE)), np.intp)
    where[:, [PLACE.index(a) for a in axes]] = at
    if len(np.unique(where, axis=0)) < len(where):
        raise LabelError(f"{name}: two scribbles are at the same pixel")
    return where, values.astype(np.int64)
