"""2D filters on the device: every plane by itself, and slice by slice in a volume."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuseg.backends._cuda.forest import THREADS, Packed
from gpuseg.backends._kernels import Kernels
from gpuseg.tiles import Region

TILE = (16, 64)  # rows and columns of a tile of filters2d.cu
WALKED = (8, 32)  # and of classify2d.cu
STATIC = 19 * 1024  # bytes of shared memory that its tile takes, and edges of the planes it computes


@dataclass(frozen=True, slots=True)
class Smooth:
    """Pre-smoothed planes of some steps over a box of the image."""

    values: Any  # float32 (steps, slices, rows, columns)
    frame: Any  # int32: height and width of the image, first row and column of the box, its rows and columns
    taps: Any  # float32 (steps, 3, TAPS)
    planes: Any  # int32 (steps, 6)


def filters(kernels: Kernels, smooth: Smooth, core: Region, out: Any) -> None:
    """Write the wanted planes of the pixels of `core` into `out` (features, z, y, x)."""
    steps, slices = smooth.values.shape[:2]
    rows, columns = out.shape[2:]
    kernels.launch(
        "filters2d",
        (slices * -(-rows // TILE[0]) * -(-columns // TILE[1]), 1, steps),
        (256,),
        (smooth.values, smooth.taps, smooth.planes, smooth.frame, *_place(slices, core), out),
    )


def classify(kernels: Kernels, smooth: Smooth, core: Region, forest: Packed, out: Any, blocks: int) -> None:
    """Probabilities of `core` into `out` (z, y, x, classes). blocks: that the device runs at once."""
    steps, slices = smooth.values.shape[:2]
    rows, columns = out.shape[1:3]
    given, shared = forest.arguments(forest.value_bytes)
    tiles = slices * -(-rows // WALKED[0]) * -(-columns // WALKED[1])
    kernels.launch(
        f"classify2d<{forest.packing}>",
        (min(tiles, blocks),),
        (THREADS,),
        (
            *(smooth.values, np.int32(steps), smooth.taps, smooth.planes, smooth.frame),
            *(*_place(slices, core), np.int32(forest.features), *given, out),
        ),
        shared=shared,
    )


def _place(slices: int, core: Region) -> tuple[np.int32, ...]:
    y, x = core[1:]
    numbers = (slices, y.start, x.start, y.stop - y.start, x.stop - x.start)
    return tuple(np.int32(n) for n in numbers)
