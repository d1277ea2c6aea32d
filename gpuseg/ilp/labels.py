"""Scribbles out of a project: blocks of labels, put back where they were painted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import LabelError, ModelError
from gpuseg.ilp.lanes import Source
from gpuseg.ilp.parts import Part, axes_of

_RANGES = re.compile(r"\[\s*\d{1,18}\s*:\s*\d{1,18}\s*(,\s*\d{1,18}\s*:\s*\d{1,18}\s*)*\]")
_COMBINED_AXES = "txyzc"  # of labels in combined projects of the versions below (SPEC 10.1)
_COMBINED_VERSIONS = ("1.3.3", "1.3.3post1")


@dataclass(frozen=True, slots=True, eq=False)
class Scribbles:
    """Painted pixels of one image.

    where: intp (n, len(axes)), in the order of `axes`, which has no c. values: uint8 (n,), from 1.
    """

    axes: str
    shape: tuple[int, ...] | None  # of the image along `axes`, None if the project does not say
    where: NDArray[np.intp]
    values: NDArray[np.uint8]

    def dense(self, shape: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """A label image, 0 where nothing is painted; `shape` along `axes`, needed if it is not stored."""
        shape = self.shape if shape is None else tuple(shape)
        if shape is None:
            raise LabelError("the project does not store the size of the image", hint="give its shape")
        last = self.where.max(0, initial=0)
        if len(shape) != len(self.axes) or (last >= shape).any():
            raise LabelError(
                f"the labels reach pixel {last.tolist()} ({self.axes}), the image has {tuple(shape)}"
            )
        image = np.zeros(shape, np.uint8)
        image[tuple(self.where.T)] = self.values
        return image


def read_labels(blocks: Part | None, source: Source, combined_version: str, classes: int) -> Scribbles:
    """Scribbles on one image. combined_version: ilastik's version if the workflow is combined, else ""."""
    axes = source.label_axes
    found = [(np.empty((0, len(axes)), np.intp), np.empty(0, np.uint8))]
    if blocks is not None:
        found += [_block(blocks, name, source, combined_version, classes) for name in blocks.names()]
    where, values = (np.concatenate(part) for part in zip(*found, strict=True))
    known = source.sizes()
    shape = None if known is None else tuple(known[a] for a in axes)
    last = where.max(0, initial=0)
    if shape is not None and (last >= shape).any():
        raise ModelError(f"the labels reach pixel {last.tolist()} ({axes}), the image has {shape}")
    return Scribbles(axes, shape, where, values)


def _block(
    blocks: Part, name: str, source: Source, combined_version: str, classes: int
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Positions along the image's axes, and values, of the painted pixels of a block."""
    block, at = blocks.array(name, "iu"), f"{blocks.where}{name}"
    axes = _axes(blocks, name, source, combined_version, block.ndim)
    local = np.argwhere(block)
    values = block[tuple(local.T)]
    if len(values) and not 0 < values.min() <= values.max() <= classes:
        raise ModelError(f"{at} holds labels from {values.min()} to {values.max()}, of {classes} classes")
    painted = local + _start(blocks.attribute(name, "blockSlice"), block.shape, at)
    for i, a in enumerate(axes):
        if a not in source.label_axes and painted[:, i].any():
            raise ModelError(f"{at} has labels at {a} > 0, the image has axes {source.axes!r}")
    zero = np.zeros(len(painted), np.intp)
    columns = [painted[:, axes.index(a)] if a in axes else zero for a in source.label_axes]
    return np.stack(columns, axis=1), values.astype(np.uint8)


def _start(ranges: str | None, shape: Sequence[int], at: str) -> list[int]:
    """First pixel of a block along each axis, out of text like "[0:1,15:25]"."""
    if ranges is None or not _RANGES.fullmatch(ranges):
        raise ModelError(f"{at}: its place in the image, blockSlice {ranges!r}, cannot be read")
    pairs = [part.split(":") for part in ranges.strip("[]").split(",")]
    first, last = ([int(p[i]) for p in pairs] for i in (0, 1))
    if [b - a for a, b in zip(first, last, strict=True)] != list(shape):
        raise ModelError(f"{at}: blockSlice {ranges} does not fit its shape {tuple(shape)}")
    return first


def _axes(blocks: Part, name: str, source: Source, combined_version: str, ndim: int) -> str:
    tags = blocks.attribute(name, "axistags")
    if tags is not None:
        axes = axes_of(tags, f"{blocks.where}{name}")
    elif combined_version in _COMBINED_VERSIONS:
        axes = _COMBINED_AXES
    else:
        axes = source.label_axes + "c"
    if len(axes) != ndim:
        raise ModelError(f"{blocks.where}{name} has {ndim} axes, its labels are said to be {axes!r}")
    return axes
