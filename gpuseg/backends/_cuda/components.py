"""Connected components on the device."""

from math import prod
from typing import Any

import numpy as np

from gpuseg.backends._cuda.device import download
from gpuseg.backends._kernels import Kernels
from gpuseg.errors import ShapeError

THREADS, BLOCKS, SPAN = 256, 8192, 4096  # as in components.cu; blocks of kernels that take any number
DEEP = 4  # slices of a tile of a volume
MOST = 2**31 - 1  # pixels: each is named by its place in 32 bits
VALUES = {1: "unsigned char", 2: "unsigned short", 4: "unsigned", 8: "unsigned long long"}


def components(xp: Any, kernels: Kernels, image: Any, connectivity: int) -> tuple[Any, int]:
    """`Backend.components`."""
    label, n = xp.empty(image.shape, np.int32), image.size
    if not n:
        return label, 0
    if n > MOST:
        sides = " x ".join(map(str, image.shape))
        raise ShapeError(
            f"connected components of {sides} pixels, the GPU takes {MOST} at once",
            hint="segment in blocks, or use --backend cpu",
        )
    parent, size = xp.empty(image.shape, np.int32), image.dtype.itemsize
    image = xp.ascontiguousarray(image).view(f"u{size}")
    _join(kernels, image, VALUES[size], connectivity, parent)
    blocks = -(-n // SPAN)
    counts = xp.empty(blocks + 1, np.int32)
    kernels.launch("find_roots", (blocks,), (THREADS,), (parent, np.int64(n), counts))
    kernels.launch("sum_up", (1,), (THREADS,), (counts, np.int64(blocks)))
    kernels.launch("number_roots", (blocks,), (THREADS,), (parent, np.int64(n), counts, label))
    grid = (min(BLOCKS, -(-n // THREADS)),)
    kernels.launch("spread_numbers", grid, (THREADS,), (parent, np.int64(n), label))
    return label, int(download(xp, counts[-1:])[0])


def _join(kernels: Kernels, image: Any, values: str, connectivity: int, parent: Any) -> None:
    """Inside tiles of 32 columns and 32 rows, those of one slice or of several; then across their faces."""
    deep = 1 if image.shape[0] == 1 else DEEP
    tile = deep, 32 // deep, 32
    tiles = prod(-(-n // side) for n, side in zip(image.shape, tile, strict=True))
    numbers = (*map(np.int32, image.shape), np.int32(deep), np.int32(connectivity), np.int64(tiles))
    for name, shared in (("join_in_tiles", 4 * prod(tile)), ("join_tiles", 0)):
        grid, given = (min(BLOCKS, tiles),), (image, *numbers, parent)
        kernels.launch(f"{name}<{values}>", grid, (THREADS,), given, shared=shared)
