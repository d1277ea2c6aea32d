"""Sums over whole objects from those over parts of them, as an image in blocks gives them.

Integers are those of the whole image. Sums about a mean are moved from the part's mean to the whole
object's (P. P. Pébay, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
statistical moments, Sandia report 2008-6212, 2008), and differ by rounding alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._reference_regions import FOURS, PAIRS, TRIPLES

Sums = dict[str, NDArray[Any]]
COLUMN = {axes: i for k in (PAIRS, TRIPLES, FOURS) for i, axes in enumerate(k)} | {(): 0}
BEHIND = {  # sums -> those that it takes to put their parts together, beside `count`
    "third": ("box", "center", "scatter"),
    "fourth": ("box", "center", "scatter", "third"),
    "scatter": ("center",),
    "extreme_places": ("extremes",),
    "moments": ("sum",),
    "covariance": ("sum",),
    "weighted": ("sum",),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Sums of the objects in a block, whose first pixel is `origin` (z, y, x) of the image."""

    ids: NDArray[Any]  # (k,) of the objects in the image, one for each row of the sums
    origin: tuple[int, ...]
    sums: Sums  # with all of `needed`; histograms over the same ranges in all parts


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows of parts sorted by their object."""

    ids: NDArray[Any]
    start: NDArray[np.intp]  # (n,) the first row of each object
    which: NDArray[np.intp]  # (rows,) the object of each row

    def each(self, function: np.ufunc, rows: NDArray[Any]) -> NDArray[Any]:
        """A row for each object: the function over all rows of its parts."""
        return np.asarray(function.reduceat(rows, self.start)) if len(rows) else rows


def needed(wants: Collection[str]) -> set[str]:
    """What sums of parts are to be asked for, so that `merge` can give those that are wanted."""
    return {"count", *wants} | {name for w in wants for name in BEHIND.get(w, ())}


def merge(parts: Sequence[Part]) -> tuple[NDArray[Any], Sums]:
    """Ids of all objects, ascending, and their sums over the whole image. There is a part at least."""
    there = [part.sums["count"] > 0 for part in parts]
    ids = np.concatenate([part.ids[t] for part, t in zip(parts, there, strict=True)])
    order = np.argsort(ids, kind="stable")
    at = [
        np.broadcast_to(np.array(part.origin), (int(t.sum()), 3))
        for part, t in zip(parts, there, strict=True)
    ]
    origin = np.concatenate(at)[order]
    rows = {
        name: np.concatenate([part.sums[name][t] for part, t in zip(parts, there, strict=True)])[order]
        for name in parts[0].sums
    }
    found, start, which = np.unique(ids[order], return_index=True, return_inverse=True)
    segments, made = Segments(found, start, which.reshape(-1)), _moved(rows, origin)
    return found, {name: MERGES.get(name, _add)(segments, made, name) for name in rows}


def _moved(rows: Sums, origin: NDArray[Any]) -> Sums:
    """The same sums with coordinates of the image."""
    moved, n = dict(rows), rows["count"]
    if "box" in rows:
        moved["box"] = rows["box"] + origin[:, :, None]
    if "center" in rows:
        moved["center"] = rows["center"] + n[:, None] * origin
    if "scatter" in rows:
        moved["scatter"] = _scatter_moved(rows["scatter"], rows["center"], n, origin)
    if "extreme_places" in rows:
        moved["extreme_places"] = rows["extreme_places"] + origin[:, None, None, :]
    if "weighted" in rows:
        first, second, o = rows["weighted"][..., :3], rows["weighted"][..., 3:], origin[:, None, :]
        channels = [first + rows["sum"][..., None] * o, _scatter_moved(second, first, rows["sum"], o)]
        moved["weighted"] = np.concatenate(channels, -1)
    return moved


def _scatter_moved(scatter: NDArray[Any], center: NDArray[Any], n: Any, by: NDArray[Any]) -> NDArray[Any]:
    """Sums of products of coordinates that have grown by `by`."""
    moved = [
        scatter[..., k]
        + by[..., i] * center[..., j]
        + by[..., j] * center[..., i]
        + n * by[..., i] * by[..., j]
        for k, (i, j) in enumerate(PAIRS)
    ]
    return np.stack(moved, -1)


def _add(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    return segments.each(np.add, rows[name])


def _extend(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    low, high = (segments.each(f, rows[name][..., k]) for k, f in enumerate((np.minimum, np.maximum)))
    return np.stack([low, high], -1)


def _first_places(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    """Of equal extremes the one that comes first in the whole image."""
    extremes, places = rows["extremes"], rows[name]
    made = np.zeros((len(segments.ids), *places.shape[1:]), np.int64)
    for channel in range(extremes.shape[1]):
        for side, sign in enumerate((1, -1)):
            z, y, x = places[:, channel, side].T
            order = np.lexsort((x, y, z, sign * extremes[:, channel, side], segments.which))
            made[:, channel, side] = places[order[segments.start], channel, side]
    return made


def _powers(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    """Sums of powers 2, 3, 4 of the difference to the mean."""
    n, d = rows["count"][:, None], _apart(segments, rows["sum"], rows["count"])
    s2, s3, s4 = np.moveaxis(rows[name], -1, 0)
    moved = [
        s2 + n * d**2,
        s3 + 3 * d * s2 + n * d**3,
        s4 + 4 * d * s3 + 6 * d**2 * s2 + n * d**4,
    ]
    return segments.each(np.add, np.stack(moved, -1))


def _covariance(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    d = _apart(segments, rows["sum"], rows["count"])
    return segments.each(np.add, rows[name] + rows["count"][:, None, None] * d[:, :, None] * d[:, None, :])


def _apart(segments: Segments, sums: NDArray[Any], n: NDArray[Any]) -> NDArray[Any]:
    """Mean of each row less that of its whole object."""
    whole = segments.each(np.add, sums) / segments.each(np.add, n)[:, None]
    return np.asarray(sums / n[:, None] - whole[segments.which])


def _central(segments: Segments, rows: Sums, name: str) -> NDArray[Any]:
    """Sums of products of coordinates about the centroid.

    They are counted from the object's own first corner: far from the origin of the image, differences of
    large numbers would cost the last digits.
    """
    n = rows["count"]
    corner = -segments.each(np.minimum, rows["box"][..., 0])[segments.which]
    center = rows["center"] + n[:, None] * corner
    scatter = _scatter_moved(rows["scatter"], rows["center"], n, corner)
    inner = [scatter[:, k] - center[:, i] * (center[:, j] / n) for k, (i, j) in enumerate(PAIRS)]
    known = {0: n[:, None], 2: np.stack(inner, 1), 3: rows["third"], 4: rows.get("fourth")}
    apart = _apart(segments, center, n)
    wanted = TRIPLES if name == "third" else FOURS
    return segments.each(np.add, np.stack([_about(axes, apart, known) for axes in wanted], 1))


def _about(axes: tuple[int, ...], apart: NDArray[Any], known: dict[int, Any]) -> NDArray[Any]:
    """Sum of a product of coordinates about another point; what is of first order adds up to 0."""
    total = np.zeros(len(apart))
    for order in (0, 2, 3, 4)[: len(axes)]:
        for kept in combinations(range(len(axes)), order):
            moved = [a for i, a in enumerate(axes) if i not in kept]
            column = COLUMN[tuple(axes[i] for i in kept)]
            total += known[order][:, column] * apart[:, moved].prod(1)
    return total


MERGES = {
    "box": _extend,
    "extremes": _extend,
    "extreme_places": _first_places,
    "moments": _powers,
    "covariance": _covariance,
    "third": _central,
    "fourth": _central,
}
