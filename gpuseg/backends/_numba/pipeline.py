"""From an image to planes, or to probabilities without storing planes.

Slice by slice, a band of rows is smoothed at all scales and passes through all filters while it is in
the cache. In 3D a slab of slices is smoothed first, then cut into blocks. For a classification the
planes of a block go, tile by tile, where the walk wants them; they never reach main memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba import bank2d, bank3d
from gpuseg.backends._numba.bank2d import scale_block
from gpuseg.backends._numba.bank3d import volume_block
from gpuseg.backends._numba.rows import BLOCK, LEFT, REACH, across, along, gather, line_size, mirror, padded
from gpuseg.backends._numba.simd import WIDTH, inline, kernel, load, store
from gpuseg.backends._numba.threads import spread
from gpuseg.backends._numba.walk import TILE, Packed, aligned, finish, walk
from gpuseg.backends.plan import TAPS, Step, plane_count
from gpuseg.tiles import Region

FLAT_TILE, DEEP_TILE = (1, 16), (4, 4)  # slices and rows of WIDTH columns that walk together
BAND = 32  # rows that are smoothed together, slice by slice
SLAB = 32  # slices that are smoothed together in 3D
STORED, WALKED = 512, 128  # columns of a block whose planes are stored, or walked at once
DEEP_BLOCK = (8, 8, 64)


@dataclass(frozen=True, slots=True)
class Bank:
    """All steps as arrays: what kernels are given."""

    channels: NDArray[np.int64]
    flat: NDArray[np.bool_]
    planes: NDArray[np.int64]  # (steps, 6)
    taps: NDArray[np.float32]  # (steps, 3, TAPS)
    smooth: tuple[NDArray[np.float32], NDArray[np.int64]]  # taps of all steps and axes, and where each begins
    radius: int
    count: int  # planes per pixel

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "Bank":
        steps = sorted(steps, key=lambda step: step.channel)
        taps = np.zeros((len(steps), 3, TAPS), np.float32)
        rows = []
        for i, step in enumerate(steps):
            taps[i, 3 - len(step.taps) :] = step.taps
            rows += [np.ones(1, np.float32)] * (3 - len(step.smooth)) + list(step.smooth)
        return cls(
            channels=np.array([s.channel for s in steps]),
            flat=np.array([s.flat for s in steps]),
            planes=np.stack([s.planes for s in steps]),
            taps=taps,
            smooth=(np.concatenate(rows), np.cumsum([0, *map(len, rows)])),
            radius=max(map(len, rows)),
            count=plane_count(steps),
        )

    @property
    def arrays(self) -> tuple[Any, ...]:
        return self.channels, self.flat, self.planes, self.taps, *self.smooth


@dataclass(frozen=True, slots=True)
class Scratch:
    """What one thread needs to smooth and filter."""

    block: NDArray[np.float32]
    line: NDArray[np.float32]
    filters: NDArray[np.float32]

    @classmethod
    def of(cls, bank: Bank, rows: int, width: int, block: Sequence[int]) -> "Scratch":
        """To smooth columns of so many rows, and rows of a width; to filter blocks of a size."""
        deep = 0 if bank.flat.all() else bank3d.scratch_length(*block)
        return cls(
            aligned((rows + 2 * bank.radius) * BLOCK, np.float32),
            aligned(line_size(width, bank.radius), np.float32),
            aligned(max(deep, bank2d.scratch_length(*block[1:])), np.float32),
        )


@inline
def _columns(
    source,
    origin,
    step,
    size,
    limit,
    y0,
    y1,
    width,
    first,
    last,
    axis,
    taps,
    begin,
    out,
    places,
    stride,
    block,
):
    """Smooth rows (or slices) y0..y1 across one axis for steps first..last, a block of columns at a time.

    Row y of the source is at origin + mirrored y * step, and goes to places[j] + (y - y0) * stride.
    """
    widest = 0
    for j in range(first, last):
        widest = max(widest, begin[3 * j + axis + 1] - begin[3 * j + axis] - 1)
    for start in range(0, width, BLOCK):
        x = min(start, limit)  # rows that nothing follows are not read beyond their end
        gather(source, origin, step, size, y0 - widest, y1 - y0 + 2 * widest, x, block)
        for j in range(first, last):
            own = taps[begin[3 * j + axis] : begin[3 * j + axis + 1]]
            for y in range(y1 - y0):
                across(block, y + widest, own, out, places[j] + y * stride + x)


@inline
def _filter_block(data, frame, stride, flat, taps, planes, box, shape, out, places, steps, filters):
    """All steps on the block `box` = z0 z1 y0 y1 x0 x1 of an image of `shape`.

    frame: per step: offset in `data`, numbers per slice, first slice, first row
    """
    z0, z1, y0, y1, x0, x1 = box
    depth, height, width = shape
    rows = np.empty(y1 - y0 + 2 * REACH, np.int64)
    slices = np.empty(z1 - z0 + 2 * REACH, np.int64)
    for j in range(frame.shape[0]):
        offset, size, first, top = frame[j, 0] + LEFT, frame[j, 1], frame[j, 2], frame[j, 3]
        if flat[j]:
            for z in range(z0, z1):
                for i in range(rows.size):
                    y = mirror(y0 - REACH + i, height)
                    rows[i] = offset + (z - first) * size + (y - top) * stride
                mine = places[(z - z0) * (y1 - y0) : (z - z0 + 1) * (y1 - y0)]
                scale_block(
                    data, rows, y0, height, x0, x1, width, taps[j, 1:], planes[j], out, mine, steps, filters
                )
        else:
            for i in range(rows.size):
                rows[i] = offset + (mirror(y0 - REACH + i, height) - top) * stride
            for i in range(slices.size):
                slices[i] = (mirror(z0 - REACH + i, depth) - first) * size
            volume_block(
                data, slices, rows, z0, depth, y0, height, x0, x1, width, taps[j], planes[j],
                out, places, steps, filters,
            )  # fmt: skip


@inline
def _store_blocks(data, frame, stride, flat, taps, planes, box, origin, shape, columns, out, filters):
    """Planes of a strip of blocks, stored in `out` (features, z, y, x), which begins at `origin`."""
    z0, z1, y0, y1, x0, x1 = box
    row, slab = out.shape[3], out.shape[2] * out.shape[3]
    steps = (out.shape[1] * slab, WIDTH, 0)
    places = np.empty((z1 - z0) * (y1 - y0), np.int64)
    for x in range(x0, x1, columns):
        for z in range(z0, z1):
            for y in range(y0, y1):
                place = (z - origin[0]) * slab + (y - origin[1]) * row + x - origin[2]
                places[(z - z0) * (y1 - y0) + y - y0] = place
        part = (z0, z1, y0, y1, x, min(x1, x + columns))
        _filter_block(
            data, frame, stride, flat, taps, planes, part, shape, out.reshape(-1), places, steps, filters
        )


@inline
def _walk_blocks(
    data,
    frame,
    stride,
    flat,
    taps,
    planes,
    count,
    box,
    origin,
    shape,
    columns,
    tile,
    out,
    filters,
    pixels,
    forest,
):
    """Probabilities of a strip of blocks, in `out` (z, y, x, classes), which begins at `origin`."""
    z0, z1, y0, y1, x0, x1 = box
    tz, ty = tile
    places = np.empty((z1 - z0) * (y1 - y0), np.int64)
    for x in range(x0, x1, columns):
        part = (z0, z1, y0, y1, x, min(x1, x + columns))
        across, down = -(-(part[5] - x) // WIDTH), -(-(y1 - y0) // ty)
        for z in range(z1 - z0):
            for y in range(y1 - y0):
                first = (z // tz * down + y // ty) * across
                places[z * (y1 - y0) + y] = first * count * TILE + (z % tz * ty + y % ty) * WIDTH
        steps = (TILE, count * TILE, 1)
        _filter_block(data, frame, stride, flat, taps, planes, part, shape, pixels, places, steps, filters)
        _walk_tiles(pixels, count, tile, part, origin, out, forest)


@inline
def _walk_tiles(pixels, count, tile, box, origin, out, forest):
    """Walk every tile of a block, whose features stand in `pixels`, and write its probabilities."""
    z0, z1, y0, y1, x0, x1 = box
    nodes, roots, leaves, shares, masks, waiting, compared, votes, sums = forest
    classes = leaves.shape[1]
    tz, ty = tile
    n = 0
    for z in range(z0, z1, tz):
        for y in range(y0, y1, ty):
            for x in range(x0, x1, WIDTH):
                start = n * count * TILE
                impure = walk(pixels, start, nodes, roots, leaves, masks, waiting, compared, votes, sums)
                n += 1
                for k in range(min(tz, z1 - z)):
                    for j in range(min(ty, y1 - y)):
                        row = (z + k - origin[0]) * out.shape[1] + y + j - origin[1]
                        place = (row * out.shape[2] + x - origin[2]) * classes
                        first = (k * ty + j) * WIDTH
                        finish(votes, sums, shares, impure, roots.size, out, place, first, min(WIDTH, x1 - x))
                if impure:
                    sums[:] = 0


@inline
def _smooth_band(image, width, z, y0, y1, channels, taps, begin, data, frame, stride, block, line):
    """All steps on rows y0..y1 of one slice, and as far around them as filters reach."""
    depth, height, row = image.shape[1:]
    low, high = max(0, y0 - REACH), min(height, y1 + REACH)
    size = (high - low) * stride
    places = np.empty(channels.size, np.int64)
    for j in range(channels.size):
        frame[j, 0], frame[j, 1], frame[j, 2], frame[j, 3] = j * size, size, z, low
        places[j] = j * size + LEFT
    first = 0
    while first < channels.size:  # steps are sorted by channel: those of one share what is gathered
        last = first
        while last < channels.size and channels[last] == channels[first]:
            last += 1
        origin = (channels[first] * depth + z) * height * row
        _columns(
            image.reshape(-1), origin, row, height, row - BLOCK, low, high, width, first, last, 1, taps,
            begin, data, places, stride, block,
        )  # fmt: skip
        first = last
    for j in range(channels.size):
        for y in range(high - low):
            along(data, places[j] + y * stride, width, taps[begin[3 * j + 2] : begin[3 * j + 3]], line)


@kernel
def _store_band(image, shape, box, bank, origin, out, data, frame, stride, columns, block, line, filters):
    channels, flat, planes, taps, smooth, begin = bank
    z, _, y0, y1, x0, x1 = box
    _smooth_band(image, shape[2], z, y0, y1, channels, smooth, begin, data, frame, stride, block, line)
    for y in range(y0, y1, FLAT_TILE[1]):
        part = (z, z + 1, y, min(y1, y + FLAT_TILE[1]), x0, x1)
        _store_blocks(data, frame, stride, flat, taps, planes, part, origin, shape, columns, out, filters)


@kernel
def _walk_band(
    image, shape, box, bank, origin, out, data, frame, stride, columns, count, forest, pixels,
    block, line, filters,
):  # fmt: skip
    channels, flat, planes, taps, smooth, begin = bank
    z, _, y0, y1, x0, x1 = box
    _smooth_band(image, shape[2], z, y0, y1, channels, smooth, begin, data, frame, stride, block, line)
    for y in range(y0, y1, FLAT_TILE[1]):
        part = (z, z + 1, y, min(y1, y + FLAT_TILE[1]), x0, x1)
        _walk_blocks(
            data, frame, stride, flat, taps, planes, count, part, origin, shape, columns, FLAT_TILE, out,
            filters, pixels, forest,
        )  # fmt: skip


@kernel
def _smooth_slices(image, width, j, y0, y1, z0, z1, bank, data, start, stride, block):
    """Step j on slices z0..z1, rows y0..y1, across slices only."""
    channels, _, _, _, taps, begin = bank
    depth, height, row = image.shape[1:]
    places = np.empty(channels.size, np.int64)
    for y in range(y0, y1):
        places[j] = start + y * stride
        _columns(
            image.reshape(-1), (channels[j] * depth * height + y) * row, height * row, depth, row - BLOCK,
            z0, z1, width, j, j + 1, 0, taps, begin, data, places, height * stride, block,
        )  # fmt: skip


@kernel
def _smooth_rows(
    source, origin, row, limit, height, width, j, y0, y1, bank, data, start, stride, block, line
):
    """Step j on rows y0..y1 of one slice, across rows and along them; in place if `source` is `data`."""
    _, _, _, _, taps, begin = bank
    places = np.empty(j + 1, np.int64)
    places[j] = start + y0 * stride
    _columns(
        source, origin, row, height, limit, y0, y1, width, j, j + 1, 1, taps, begin, data, places,
        stride, block,
    )  # fmt: skip
    for y in range(y0, y1):
        along(data, start + y * stride, width, taps[begin[3 * j + 2] : begin[3 * j + 3]], line)


@kernel
def _store_deep(shape, box, bank, origin, out, data, frame, stride, columns, filters):
    _, flat, planes, taps, _, _ = bank
    _store_blocks(data, frame, stride, flat, taps, planes, box, origin, shape, columns, out, filters)


@kernel
def _walk_deep(shape, box, bank, origin, out, data, frame, stride, columns, count, forest, pixels, filters):
    _, flat, planes, taps, _, _ = bank
    _walk_blocks(
        data, frame, stride, flat, taps, planes, count, box, origin, shape, columns, DEEP_TILE, out,
        filters, pixels, forest,
    )  # fmt: skip


@kernel
def _walk_planes(planes, box, tile, columns, out, forest, pixels):
    """Probabilities of a strip of tiles whose planes (features, z, y, x) are stored."""
    z0, z1, y0, y1, x0, x1 = box
    ty, count = tile[1], planes.shape[0]
    source = planes.reshape(-1)
    for left in range(x0, x1, columns):
        right = min(x1, left + columns)
        for f in range(count):
            for z in range(z0, z1):
                for y in range(y0, y1):
                    row = ((f * planes.shape[1] + z) * planes.shape[2] + y) * planes.shape[3]
                    at = f * TILE + ((z - z0) * ty + y - y0) * WIDTH
                    for x in range(left, right, WIDTH):
                        if x + WIDTH <= right:
                            store(pixels, at, load(source, row + x))
                        else:
                            for i in range(right - x):
                                pixels[at + i] = source[row + x + i]
                        at += count * TILE
        _walk_tiles(pixels, count, tile, (z0, z1, y0, y1, left, right), (0, 0, 0), out, forest)


def _strips(core: Region, slices: int, rows: int) -> list[tuple[int, ...]]:
    """Boxes of the core, so deep and high, as wide as it is."""
    z, y, x = core
    return [
        (a, min(a + slices, z.stop), b, min(b + rows, y.stop), x.start, x.stop)
        for a in range(z.start, z.stop, slices)
        for b in range(y.start, y.stop, rows)
    ]


def _whole_blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image, with rows of at least one block."""
    short = max(0, BLOCK - image.shape[3])
    return np.pad(image, [(0, 0), (0, 0), (0, 0), (0, short)]) if short else np.ascontiguousarray(image)


def _run_flat(
    image: NDArray[np.float32],
    bank: Bank,
    core: Region,
    columns: int,
    call: Callable[..., None],
    private: Any,
) -> None:
    """`call(source, shape, box, bank, origin, smoothed, scratch, ...)` for every band of rows."""
    shape, source = image.shape[1:], _whole_blocks(image)
    stride, rows = padded(shape[2]), BAND + 2 * REACH
    boxes, origin = _strips(core, 1, BAND), tuple(s.start for s in core)

    def scratch() -> tuple[Any, ...]:
        data = aligned(len(bank.flat) * rows * stride, np.float32)
        frame = np.zeros((len(bank.flat), 4), np.int64)
        return (data, frame, stride), Scratch.of(bank, rows, shape[2], (*FLAT_TILE, columns)), private()

    def work(i: int, mine: tuple[Any, ...]) -> None:
        smoothed, own, more = mine
        call(source, shape, boxes[i], bank.arrays, origin, smoothed, own, more)

    spread(len(boxes), work, scratch)


def _run_deep(
    image: NDArray[np.float32],
    bank: Bank,
    core: Region,
    columns: int,
    call: Callable[..., None],
    private: Any,
) -> None:
    """`call(shape, box, bank, origin, smoothed, scratch, ...)` for every block, slab after slab."""
    shape, source = image.shape[1:], _whole_blocks(image)
    stride, block = padded(shape[2]), (*DEEP_BLOCK[:2], columns)
    size, origin = shape[1] * stride, tuple(s.start for s in core)
    deepest = min(shape[0], SLAB + 2 * REACH, core[0].stop - core[0].start + 2 * REACH)
    data = aligned(len(bank.flat) * deepest * size, np.float32)

    def scratch() -> Scratch:
        return Scratch.of(bank, max(shape[1], SLAB + 2 * REACH), shape[2], block)

    for z in range(core[0].start, core[0].stop, SLAB):
        slab = slice(z, min(z + SLAB, core[0].stop))
        around = range(max(0, z - REACH), min(shape[0], slab.stop + REACH))
        ranges = [range(slab.start, slab.stop) if flat else around for flat in bank.flat]
        begin = np.cumsum([0, *(len(r) * size for r in ranges)])
        _smooth_slab(source, shape, bank, core, ranges, begin, data, stride, scratch)
        frame = np.array([[b, size, r.start, 0] for b, r in zip(begin, ranges, strict=False)], np.int64)
        boxes = _strips((slab, *core[1:]), *block[:2])

        def work(
            i: int, mine: tuple[Any, ...], boxes: list[tuple[int, ...]] = boxes, frame: Any = frame
        ) -> None:
            own, more = mine
            call(shape, boxes[i], bank.arrays, origin, (data, frame, stride), own, more)

        spread(len(boxes), work, lambda: (scratch(), private()))


def _smooth_slab(
    source: NDArray[np.float32],
    shape: Sequence[int],
    bank: Bank,
    core: Region,
    ranges: Sequence[range],
    begin: NDArray[np.int64],
    data: NDArray[np.float32],
    stride: int,
    scratch: Callable[[], Scratch],
) -> None:
    """Smooth the slices `ranges[j]` of every step j: across slices first, then slice by slice."""
    depth, height, width = shape
    row, band = source.shape[3], 16
    y0, y1 = max(0, core[1].start - REACH), min(height, core[1].stop + REACH)
    deep = [(j, y) for j, flat in enumerate(bank.flat) if not flat for y in range(0, height, band)]

    def slices(i: int, own: Scratch) -> None:
        j, y = deep[i]
        z0, z1 = ranges[j].start, ranges[j].stop
        _smooth_slices(
            source, width, j, y, min(height, y + band), z0, z1, bank.arrays, data, begin[j] + LEFT, stride,
            own.block,
        )  # fmt: skip

    spread(len(deep), slices, scratch)
    every = [(j, k, z) for j, r in enumerate(ranges) for k, z in enumerate(r)]

    def rows(i: int, own: Scratch) -> None:
        j, k, z = every[i]
        start = int(begin[j]) + LEFT + k * height * stride
        given = (data, start, stride, width)
        if bank.flat[j]:
            plane = (int(bank.channels[j]) * depth + z) * height * row
            given = (source.reshape(-1), plane, row, row - BLOCK)
        _smooth_rows(*given, height, width, j, y0, y1, bank.arrays, data, start, stride, own.block, own.line)

    spread(len(every), rows, scratch)


def store_planes(
    image: NDArray[np.float32], steps: Sequence[Step], core: Region, out: NDArray[np.float32]
) -> None:
    """Fill `out` (features, z, y, x) with the planes of `core`."""
    bank, columns = Bank.of(steps), min(STORED, core[2].stop - core[2].start)

    def flat(
        source: Any, shape: Any, box: Any, arrays: Any, origin: Any, data: Any, own: Scratch, _: Any
    ) -> None:
        _store_band(source, shape, box, arrays, origin, out, *data, columns, own.block, own.line, own.filters)

    def deep(shape: Any, box: Any, arrays: Any, origin: Any, data: Any, own: Scratch, _: Any) -> None:
        _store_deep(shape, box, arrays, origin, out, *data, WALKED, own.filters)

    if bank.flat.all():
        _run_flat(image, bank, core, columns, flat, lambda: None)
    else:
        _run_deep(image, bank, core, WALKED, deep, lambda: None)


def classify(
    image: NDArray[np.float32], steps: Sequence[Step], core: Region, forest: Packed
) -> NDArray[np.float32]:
    """Probabilities (z, y, x, classes) of `core`."""
    bank = Bank.of(steps)
    out = np.empty((*(s.stop - s.start for s in core), forest.leaves.shape[1]), np.float32)
    columns = DEEP_BLOCK[2]

    def flat(
        source: Any, shape: Any, box: Any, arrays: Any, origin: Any, data: Any, own: Scratch, more: Any
    ) -> None:
        walking, pixels = more
        _walk_band(
            source, shape, box, arrays, origin, out, *data, WALKED, bank.count, walking, pixels,
            own.block, own.line, own.filters,
        )  # fmt: skip

    def deep(shape: Any, box: Any, arrays: Any, origin: Any, data: Any, own: Scratch, more: Any) -> None:
        walking, pixels = more
        _walk_deep(shape, box, arrays, origin, out, *data, columns, bank.count, walking, pixels, own.filters)

    if bank.flat.all():
        _run_flat(
            image, bank, core, WALKED, flat, lambda: _walking(forest, bank.count, FLAT_TILE[1] * WALKED)
        )
    else:
        size = DEEP_BLOCK[0] * DEEP_BLOCK[1] * columns
        _run_deep(image, bank, core, columns, deep, lambda: _walking(forest, bank.count, size))
    return out


def _walking(forest: Packed, count: int, pixels: int) -> tuple[Any, ...]:
    arrays = (forest.nodes, forest.roots, forest.leaves, forest.shares, *forest.scratch().arrays)
    return arrays, aligned(count * pixels, np.float32)


def classify_planes(planes: NDArray[np.float32], forest: Packed) -> NDArray[np.float32]:
    """Probabilities (z, y, x, classes) of stored planes (features, z, y, x)."""
    tile = DEEP_TILE if planes.shape[1] >= DEEP_TILE[0] else FLAT_TILE
    planes = np.ascontiguousarray(planes, np.float32)
    columns = min(STORED, -(-planes.shape[3] // WIDTH) * WIDTH)
    boxes = _strips(tuple(slice(0, n) for n in planes.shape[1:]), *tile)
    out = np.empty((*planes.shape[1:], forest.leaves.shape[1]), np.float32)

    def work(i: int, more: Any) -> None:
        walking, pixels = more
        _walk_planes(planes, boxes[i], tile, columns, out, walking, pixels)

    spread(len(boxes), work, lambda: _walking(forest, len(planes), columns * TILE // WIDTH))
    return out
