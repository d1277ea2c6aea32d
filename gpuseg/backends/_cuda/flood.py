"""Seeded growth on the device: basins are flooded at once, each by a thread of its own."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._cuda.components import components
from gpuseg.backends._cuda.device import download
from gpuseg.backends._kernels import Kernels

log = logging.getLogger(__name__)
THREADS, BLOCKS = 256, 8192  # of kernels that take any number
MOST = 2**31 - 1  # pixels: each is named by its place in 31 bits
BYTES = 30  # of a pixel, beside cost and seeds
LARGEST = 2**16  # pixels of a basin that a thread takes whatever the image: some tenths of a second
SLOWER = 256  # times as long a thread takes for a pixel as the host, transfers included; estimated
ALONE = 4096  # basins: up to so many each get a warp, so that none waits for others


def flood(xp: Any, kernels: Kernels, cost: Any, seeds: Any, limit: float, free: int) -> Any | None:
    """`Backend.flood`; None where one thread would be busy for long, or memory is short: that is the host's.

    free: bytes of the device.
    """
    cost, seeds = xp.ascontiguousarray(cost, np.float32), xp.ascontiguousarray(seeds, np.int32)
    n, label = cost.size, xp.empty(cost.shape, np.int32)
    if not n:
        return label
    if n > min(MOST, free // BYTES):
        log.debug("flooding on the host: %d pixels of %d bytes, %d bytes are free", n, BYTES, free)
        return None
    key, who, within = (xp.empty(cost.shape, t) for t in (np.int32, np.uint8, np.uint8))
    most, grid = np.int32(_key(limit)), (min(BLOCKS, -(-n // THREADS)),)

    def launch(name: str, *given: Any) -> None:
        kernels.launch(name, grid, (THREADS,), given)

    launch("prepare_flood", cost, seeds, most, np.int64(n), key, label, who, within)
    basin, count = components(xp, kernels, within, 1)
    volume = (*map(np.int32, cost.shape), most)
    pixels, grown, lined = counts = xp.zeros((3, count + 1), np.int32)
    launch("count_basins", *volume, basin, key, label, pixels, grown)
    first = _rooms(download(xp, counts[:2]), max(LARGEST, n // SLOWER))
    if first is None:
        return None
    rooms, room = xp.asarray(first), max(1, int(first[-1]))
    queue, places = xp.empty(room, np.uint64), xp.empty(room, np.int32)
    launch("line_up_seeds", *volume, basin, key, label, rooms, lined, queue)
    if first[-1]:
        threads = min(32, -(-count // ALONE))
        blocks = (min(BLOCKS, -(-count // threads)),), (threads,)
        given = np.int64(count), rooms, lined, key, label, who, queue, places
        kernels.launch("grow_basins", *blocks, (*volume, *given))
    launch("settle_shores", *volume, key, who, label)
    return label


def _key(limit: float) -> int:
    """An integer for a float32 that orders as it does, as in flood.cu; what is not a number is infinite."""
    bits = int(np.float32(limit).view(np.int32))
    size = min(bits & 0x7FFFFFFF, 0x7F800000)
    return size if bits >= 0 or np.isnan(limit) else -size


def _rooms(counts: NDArray[np.int32], largest: int) -> NDArray[np.int64] | None:
    """Where the queue of each basin begins, and all end; None if one is larger than a thread takes.

    counts: of each basin the pixels that its queue may meet, then the seeds that grow.
    """
    pixels, grown = counts
    needed = np.where(grown > 0, pixels, 0)
    if (most := int(needed.max(initial=0))) > largest:
        log.debug("flooding on the host: a basin of %d pixels, a thread takes %d", most, largest)
        return None
    return np.concatenate([[0], np.cumsum(needed, dtype=np.int64)])
