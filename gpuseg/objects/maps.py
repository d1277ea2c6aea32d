"""Probability maps as users give them: axes, range, values, checked; and results in the same axes."""

import logging
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import COMPUTE, check, guess, reorder, sizes
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError, ShapeError

log = logging.getLogger(__name__)
Range = tuple[float, float]
SLACK = 1e-5  # beyond the range, of its length: sums of float32 votes miss 1 by so little


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A probability image and the meaning of its axes and values."""

    name: str  # in errors
    axes: str  # of the array as it was given
    pixels: NDArray[Any]  # view of it as tczyx
    range: Range  # what stands for 0 and 1

    @classmethod
    def of(cls, array: Any, axes: str | None, range: Range | None, name: str = "proba") -> Self:
        """Checked. axes None: ilastik's guess by shape; range None: 0 to 1, of integers that of the type."""
        pixels = np.asarray(array)
        axes = checked_axes(pixels.shape, axes, name)
        return cls(name, axes, reorder(pixels, axes, COMPUTE), value_range(pixels.dtype, range, name))

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


def value_range(dtype: np.dtype[Any], given: Range | None, name: str) -> Range:
    """What stands for probabilities 0 and 1: as given, else by the type; InputError if neither says it."""
    if dtype.kind not in "buf":
        raise InputError(
            f"{name}: pixels are {dtype}; probabilities are floats or unsigned integers",
            hint="a label image or segmentation has objects already: see gpuseg.objects.labels",
        )
    if given is not None:
        low, high = float(given[0]), float(given[1])
        if not -np.inf < low < high < np.inf:
            raise InputError(f"{name}: range {low:g} to {high:g}; the second must be above the first")
        return low, high
    if dtype.kind != "u":
        return 0.0, 1.0
    if dtype.itemsize > 2:
        raise InputError(
            f"{name}: pixels are {dtype} and nothing says which value stands for probability 1",
            hint="give range=(0, ...)",
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
            hint="give the range that stands for 0 to 1, for example range=(0, 255)"
            if what != "NaN"
            else "replace NaN, for example with numpy.nan_to_num",
        )
    if range == (0, 1) and kind == np.float32:
        return values
    return (b.asarray(values, np.float32) - low) / (high - low)
