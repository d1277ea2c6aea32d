"""From probabilities to labels on one backend: smooth, compare, connect, filter by size (SPEC 4.2).

Everything here concerns one time point. What is decided depends on nothing but the pixels of an object and
those next to it, so blocks.py may do it part by part.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.objects import sizes
from gpuseg.objects.settings import WINDOW, Settings
from gpuseg.objects.split import split_touching

STEPS = ("smoothed", "final", "cores", "cores_after_size_filter", "before_size_filter")


@dataclass(frozen=True, slots=True)
class Seen:
    """What thresholds are applied to: float32 (z, y, x) each, smoothed.

    final: what objects are made of; core: what they need to contain. winner: of classes, unsigned, the class
    of a pixel + 1, or 0; None where classes do not matter.
    """

    final: Array
    core: Array
    winner: Array | None = None

    def image(self, s: Settings) -> Array:
        """What components are sought in: a mask, or classes."""
        mask = self.final >= s.limits[0]
        return mask if self.winner is None else self.winner * mask

    def cores(self, s: Settings) -> Array:
        return self.core >= s.limits[1]

    def only(self, where: Array) -> "Seen":
        """The same where `where` holds, and elsewhere less than any threshold."""
        final, core = (f * where + (where - np.float32(1)) for f in (self.final, self.core))
        return Seen(final, core, None if self.winner is None else self.winner * where)

    def cut(self, region: tuple[slice, ...]) -> "Seen":
        final = self.final[region]
        core = final if self.core is self.final else self.core[region]
        return Seen(final, core, None if self.winner is None else self.winner[region])


@dataclass(frozen=True, slots=True)
class Labelled:
    """Objects 1 to `count` of a time point; classes: the class of each, by channel."""

    labels: Array  # int32 (z, y, x)
    count: int
    classes: NDArray[np.int64] | None = None
    steps: dict[str, NDArray[Any]] = field(default_factory=dict)


def see(b: Backend, proba: Array, s: Settings, sigma: dict[int, float]) -> Seen:
    """Smooth the channels that `Settings.channels` names, float32 (channels, z, y, x)."""
    smooth = [smoothed(b, plane, sigma) for plane in proba]
    if s.classes:
        return _winners(b, smooth, s)
    if len(smooth) == 1:
        return Seen(smooth[0], smooth[0])
    final, core = smooth
    return Seen(final + core if s.final_input == "sum" else final, core)


def smoothed(b: Backend, plane: Array, sigma: dict[int, float]) -> Array:
    """Gaussian of a window of 2 sigma along the axes that `Settings.smoothing` names."""
    if not sigma:
        return plane
    shape = plane.shape
    squeezed = plane.reshape([n for axis, n in enumerate(shape) if axis in sigma])
    return b.gaussian(squeezed, tuple(sigma.values()), (), WINDOW).reshape(shape)


def _winners(b: Backend, smooth: list[Array], s: Settings) -> Seen:
    value = [c + 1 if c in s.classes else 0 for c in range(len(smooth))]
    best = smooth[0]
    winner = b.asarray(np.full(best.shape, value[0], np.min_scalar_type(len(smooth))))
    for channel, plane in enumerate(smooth[1:], 1):
        winner[plane > best] = value[channel]  # the first of equals stays
        best = np.maximum(best, plane)  # of the arrays' own library
    return Seen(best, best, winner)


def objects(
    b: Backend, seen: Seen, s: Settings, *, top: float | None = None, wanted: Collection[str] = ()
) -> Labelled:
    """The objects of what was seen, in scan order of their first pixels.

    top: the largest value of all that belongs to the image, where `seen` is a part of it.
    """
    steps: dict[str, NDArray[Any]] = {}

    def keep(name: str, make: Callable[[], Array]) -> None:
        if name in wanted:
            steps[name] = np.array(b.to_numpy(make()))  # a copy: labels change in their place

    keep("smoothed", lambda: seen.final)
    if s.keep_apart:
        keep("final", lambda: b.components(seen.image(s), s.connectivity)[0])
        labels, count = _grown(b, seen, _cores(b, seen, s, keep), s, top)
        kept = np.ones(count, np.bool_)
    else:
        labels, count = b.components(seen.image(s), s.connectivity)
        keep("final", lambda: labels)
        kept = np.ones(count, np.bool_)
        if s.method == "hysteresis":
            kept = sizes.touched(b, labels, count, *_cores(b, seen, s, keep))
        if s.split is not None:
            labels, count = _split(b, seen, _masked(b, labels, kept), s)
            kept = np.ones(count, np.bool_)
    keep("before_size_filter", lambda: _masked(b, labels, kept) * labels)
    found = _filtered(b, labels, kept, s)
    classes = None
    if seen.winner is not None:
        classes = sizes.picked(b, found.labels, found.count, seen.winner).astype(np.int64) - 1
    return replace(found, classes=classes, steps=steps)


def _cores(b: Backend, seen: Seen, s: Settings, keep: Any) -> tuple[Array, NDArray[np.bool_]]:
    """Components above the high threshold, and which of them (0 is none) have the right size."""
    labels, count = b.components(seen.cores(s), s.connectivity)
    good = right_size(sizes.sizes(b, labels, count), s)
    keep("cores", lambda: labels)
    keep("cores_after_size_filter", lambda: _masked(b, labels, good) * labels)
    return labels, np.concatenate([[False], good])


def _masked(b: Backend, labels: Array, kept: NDArray[np.bool_]) -> Array:
    """Where objects are that are kept."""
    return b.asarray(np.concatenate([[False], kept]))[labels]


def right_size(found: NDArray[np.int64], s: Settings) -> NDArray[np.bool_]:
    """Of so many pixels each; none left of it, and it is no object: what a core grew into may be cut away."""
    return (found >= max(1, s.min_size)) & (found <= s.max_size)


def _grown(
    b: Backend, seen: Seen, cores: tuple[Array, NDArray[np.bool_]], s: Settings, top: float | None
) -> tuple[Array, int]:
    """Cores grown down to the low threshold; where two meet, each keeps what it reached first."""
    labels, good = cores
    table = sizes.numbering(good[1:])
    if not (count := int(table.max(initial=0))):
        return labels * 0, 0  # vigra would make up seeds here, at every minimum (SPEC 4.2)
    seeds = sizes.renamed(b, labels, table)
    low = s.limits[0]
    top = float(seen.final.max()) if top is None else top
    cost, inside = np.float32(top) - seen.final, seen.final >= low
    if s.grow_limit == "strict":
        cost[~inside] = np.inf
    grown = b.flood(cost, seeds, float(np.float32(top) - low))
    return (grown * inside if s.grow_limit == "strict" else grown), count


def _split(b: Backend, seen: Seen, where: Array, s: Settings) -> tuple[Array, int]:
    """Parts of the objects; classes apart."""
    assert s.split is not None
    return split_touching(b, where if seen.winner is None else seen.winner * where, s.split)


def _filtered(b: Backend, labels: Array, kept: NDArray[np.bool_], s: Settings) -> Labelled:
    """Of the objects to be kept those of the right size, numbered anew."""
    count = len(kept)
    kept = kept & right_size(sizes.sizes(b, labels, count), s)
    if s.drop_border:
        kept &= ~sizes.at_border(b, labels, count)
    if not s.whole:
        table = sizes.numbering(kept)
        return Labelled(labels if kept.all() else sizes.renamed(b, labels, table), int(kept.sum()))
    host = b.to_numpy(labels)  # grown from seeds, objects have the numbers of these
    table = sizes.numbering(kept, sizes.firsts(host, count))
    return Labelled(b.asarray(sizes.renamed(b, host, table)), int(kept.sum()))
