"""Probability maps as users give them: axes, range, values, checked; and results in the same axes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import COMPUTE, SPACE, check, guess, reorder, sizes
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError, ShapeError
from gpuseg.objects.settings import number, several
from gpuseg.tiles import Region

log = logging.getLogger(__name__)
Range = tuple[float, float]
SLACK = 1e-5  # beyond the range, of its length: sums of float32 votes miss 1 by so little
CHANNELS = 64  # an axis up to this size may be that of channels
SUMS = 1e-3  # so near to 1 is the sum of all channels


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A probability image and the meaning of its axes and values."""

    name: str  # in errors
    axes: str  # of the array as it was given
    pixels: NDArray[Any]  # view of it as tczyx
    range: Range  # what stands for 0 and 1
    guessed: bool = False  # the axes, by shape

    @classmethod
    def of(cls, array: Any, axes: str | None, range: Range | None, name: str = "proba") -> Self:
        """Checked. axes None: ilastik's guess by shape; range None: 0 to 1, of integers that of the type."""
        pixels, guessed = np.asarray(array), axes is None
        axes = checked_axes(pixels.shape, axes, name)
        range = value_range(pixels.dtype, range, name)
        if guessed:
            log.info("%s: axes %s, guessed from the shape %s", name, axes, pixels.shape)
            refuse_channels(axes, pixels.shape, pixels.__getitem__, range, name)
        return cls(name, axes, reorder(pixels, axes, COMPUTE), range, guessed)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every axis by letter."""
        return sizes(COMPUTE, self.pixels.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a time point: z, y, x."""
        return self.pixels.shape[2:]

    def at(self, b: Backend, t: int, channels: list[int]) -> Array:
        """Channels of a time point on the backend: float32 (channels, z, y, x) within 0..1."""
        parts = [scaled(b, self.pixels[t, c], self.range, f"{self.name}, channel {c}") for c in channels]
        if len(parts) == 1:
            return parts[0][None]
        whole = b.asarray(np.empty((len(parts), *self.shape), np.float32))
        for channel, part in enumerate(parts):
            whole[channel] = part
        return whole


def checked_axes(shape: tuple[int, ...], axes: str | None, name: str) -> str:
    """Axes of an array that has pixels; ShapeError."""
    try:
        axes = guess(shape) if axes is None else check(axes, shape)
    except ShapeError as e:
        raise e.at(name) from None
    for letter, size in zip(axes, shape, strict=True):
        if size == 0:
            raise ShapeError(f"{name}: axis {letter} has size 0, shape {shape}: an empty image")
    return axes


def refuse_channels(
    axes: str, shape: tuple[int, ...], read: Callable[[Region], NDArray[Any]], range: Range, name: str
) -> None:
    """InputError where a guess takes an axis for space over which probabilities sum to 1, on three lines."""
    low, high = range
    for axis in (len(shape) - 1, 0):
        if len(shape) < 3 or axes[axis] not in SPACE or not 1 < shape[axis] <= CHANNELS:
            continue
        _, line = max((n, i) for i, n in enumerate(shape) if i != axis)
        parts = []
        for quarter in (1, 2, 3):
            region = [slice(n * quarter // 4, n * quarter // 4 + 1) for n in shape]
            region[axis] = region[line] = slice(0, None)
            parts.append(read(tuple(region)))
        values = np.stack(parts)
        rounding = shape[axis] / 2 / (high - low) if values.dtype.kind == "u" else 0
        with np.errstate(invalid="ignore"):  # infinity less infinity: not 1
            sums = ((values.astype(np.float64) - low) / (high - low)).sum(axis + 1)
        if (abs(sums - 1) <= SUMS + rounding).all():
            meant = "yxc" if axis else "c" + SPACE[-(len(shape) - 1) :]
            raise InputError(
                f"{name}: axes {axes} were guessed from shape {shape}, but values sum to 1 along "
                f"{axes[axis]}, as over channels",
                hint=f"name the axes: axes={meant!r} (--axes {meant}), or {axes!r} if they are these",
            )


def value_range(dtype: np.dtype[Any], given: Range | None, name: str) -> Range:
    """What stands for probabilities 0 and 1: as given, else by the type; InputError if neither says it."""
    if dtype.kind not in "buf":
        raise InputError(
            f"{name}: pixels are {dtype}; probabilities are floats or unsigned integers",
            hint="a label image or segmentation has objects already: measure them",
        )
    if given is not None:
        if len(both := several("range", given)) != 2:
            raise InputError(f"{name}: range {given!r}: two numbers are needed, what stands for 0 and for 1")
        low, high = (number("range", v) for v in both)
        if not -np.inf < low < high < np.inf:
            raise InputError(f"{name}: range {low:g} to {high:g}; the second must be above the first")
        return low, high
    if dtype.kind != "u":
        return 0.0, 1.0
    if dtype.itemsize > 2:
        raise InputError(
            f"{name}: pixels are {dtype} and nothing says which value stands for probability 1",
            hint="say so: range=(0, LARGEST) (--range 0,LARGEST)",
        )
    high = float(np.iinfo(dtype).max)
    log.info("%s: %s is taken for probabilities 0 to 1 stored as 0 to %g", name, dtype, high)
    return 0.0, high


def scaled(b: Backend, pixels: NDArray[Any], range: Range, name: str) -> Array:
    """`pixels` on the backend as float32, with `range` brought to 0..1; InputError beyond it or for NaN."""
    low, high = (np.float32(v) for v in range)
    kind = pixels.dtype if pixels.dtype.kind == "u" else np.dtype(np.float32)
    values = b.asarray(np.ascontiguousarray(pixels, kind))
    slack = np.float32(SLACK) * (high - low)
    least, most = (float(b.to_numpy(v)) for v in (values.min(), values.max()))
    if not (least >= low - slack and most <= high + slack):  # NaN is neither
        what = "NaN" if np.isnan(least) or np.isnan(most) else f"values from {least:g} to {most:g}"
        raise InputError(
            f"{name}: has {what}; probabilities are {low:g} to {high:g} here",
            hint="say which values stand for 0 and 1, for example range=(0, 255) (--range 0,255)"
            if what != "NaN"
            else "replace NaN, for example with numpy.nan_to_num",
        )
    if range == (0, 1) and kind == np.float32:
        return values
    return (b.asarray(values, np.float32) - low) / (high - low)
