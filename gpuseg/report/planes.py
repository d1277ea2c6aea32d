"""Small pictures of large images: planes read in parts, thinned, stretched and outlined."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.tiles import Region, tiles

Pixels = NDArray[np.uint8]  # (y, x, 3)
EDGE = 2048  # a part of a plane has at most the square of it in pixels: 4 million
SAMPLES = 4  # of a block of pixels that becomes one, so many along an axis count: more look no better
DARKEST, BRIGHTEST = 1.0, 99.8  # percentiles: a few hot pixels leave the rest visible
CHANNELS = {1: (0, 0, 0), 2: (1, 0, 1)}  # shown as red, green, blue; of more than two, the first three
FAINT = 0.45  # opacity of the borders of objects that a picture is not about
BLANK = 246  # grey of what has no image


def thinned(read: Callable[[Region], NDArray[Any]], area: Region, longest: int) -> NDArray[Any]:
    """One slice of an image as (c, y, x), sides at most `longest`: means of blocks, type as stored.

    area: zyx, one slice thick. Read in parts of at most EDGE x EDGE pixels.
    """
    return _thinned(read, area, longest, _mean)


def thinned_labels(read: Callable[[Region], NDArray[Any]], area: Region, longest: int) -> NDArray[Any]:
    """The same of a label image (z, y, x), as (y, x): the largest label of a block, so that none is lost."""
    plane: NDArray[Any] = _thinned(lambda region: read(region)[None], area, longest, np.max)[0]
    return plane


def _thinned(
    read: Callable[[Region], NDArray[Any]], area: Region, longest: int, one: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    z, y, x = area
    shape = y.stop - y.start, x.stop - x.start
    factor, skip = reduction(shape, longest)
    edge = max(1, EDGE // factor) * factor  # parts end where blocks do
    height, width = (-(-n // factor) for n in shape)
    plane: NDArray[Any] | None = None
    for tile in tiles(shape, (edge, edge), (0, 0)):
        rows, columns = tile.core
        part = read(
            (
                z,
                slice(y.start + rows.start, y.start + rows.stop),
                slice(x.start + columns.start, x.start + columns.stop),
            )
        )[:, 0, ::skip, ::skip]
        small = _blocks(part, factor // skip, one)
        if plane is None:
            plane = np.empty((len(part), height, width), part.dtype)
        top, left = rows.start // factor, columns.start // factor
        plane[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    assert plane is not None
    return plane


def reduction(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """How many pixels become one along each axis, and of how many of those one is looked at."""
    factor = -(-max(shape) // longest)
    skip = -(-factor // SAMPLES)
    return skip * -(-factor // skip), skip


def _blocks(values: NDArray[Any], n: int, one: Callable[..., NDArray[Any]]) -> NDArray[Any]:
    """Every n x n pixels of (c, y, x) as one; what is missing at the end repeats the border."""
    if n == 1:
        return values
    _, height, width = values.shape
    full = np.pad(values, ((0, 0), (0, -height % n), (0, -width % n)), mode="edge")
    c, height, width = full.shape
    small: NDArray[Any] = one(full.reshape(c, height // n, n, width // n, n), axis=(2, 4))
    return small


def _mean(values: NDArray[Any], axis: tuple[int, ...]) -> NDArray[Any]:
    with np.errstate(all="ignore"):  # what is infinite or NaN is shown dark
        mean: NDArray[np.float64] = values.mean(axis, dtype=np.float64)
    return np.rint(mean) if values.dtype.kind in "biu" else mean


def displayed(values: NDArray[Any]) -> Pixels:
    """(c, y, x) of any type and range as colours for the eye.

    Channels are stretched each. An 8-bit colour photo is only brightened, as a whole: its hues remain.
    """
    chosen = values[[*CHANNELS.get(len(values), (0, 1, 2))]].astype(np.float64)
    if values.dtype == np.uint8 and len(values) > 2:
        return np.moveaxis(_stretched(chosen, 0.0), 0, -1)
    return np.stack([_stretched(channel) for channel in chosen], -1)


def _stretched(values: NDArray[np.float64], dark: float | None = None) -> Pixels:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(known, (DARKEST, BRIGHTEST))
    if low == high:  # a few spots on an even background
        low, high = known.min(), known.max()
    low = low if dark is None else dark
    scale = 255 / (high - low) if high > low else 0.0
    with np.errstate(all="ignore"):
        shown = np.nan_to_num((np.where(np.isfinite(values), values, low) - low) * scale)
    pixels: Pixels = np.rint(shown).clip(0, 255).astype(np.uint8)
    return pixels


def enlarged(picture: Pixels, height: int, width: int) -> Pixels:
    """The picture in a size that is no smaller, between pixels linear."""
    values = picture.astype(np.float32)
    for axis, m in enumerate((height, width)):
        n = picture.shape[axis]
        at = ((np.arange(m) + 0.5) * n / m - 0.5).clip(0, n - 1)
        low = at.astype(np.intp)
        part = np.expand_dims((at - low).astype(np.float32), (1, 2) if axis == 0 else (0, 2))
        high = np.minimum(low + 1, n - 1)
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    enlarged: Pixels = np.rint(values).astype(np.uint8)
    return enlarged


def enlarged_labels(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The label that is nearest to the centre of each pixel of the other size."""
    down, across = (
        ((np.arange(m) + 0.5) * n / m).astype(np.intp)
        for n, m in zip(labels.shape, (height, width), strict=True)
    )
    nearest: NDArray[Any] = labels[down[:, None], across]
    return nearest


def painted(
    picture: Pixels, labels: NDArray[Any], colors: Pixels, fill: float, line: int, subject: int = 0
) -> Pixels:
    """Objects in their colours (y, x, 3) on the picture: `fill` opaque, with a border of `line` pixels.

    subject: the label the picture is about, if it is about one; the borders of others are faint.
    """
    border = np.where(labels == subject, 1.0, FAINT) if subject else 1.0
    opaque = np.where(labels > 0, np.where(_borders(labels, line), border, fill), 0.0)[..., None]
    mixed: Pixels = np.rint(picture * (1 - opaque) + colors * opaque).astype(np.uint8)
    return mixed


def _borders(labels: NDArray[Any], line: int) -> NDArray[np.bool_]:
    """Pixels that are no further than `line` from another label, up, down, left or right."""
    height, width = labels.shape
    around = np.pad(labels, line, mode="edge")
    found = np.zeros(labels.shape, bool)
    for top, left in ((0, line), (2 * line, line), (line, 0), (line, 2 * line)):
        found |= around[top : top + height, left : left + width] != labels
    return found


def centred(picture: Pixels, side: int) -> Pixels:
    """The picture in the middle of a blank square."""
    square = np.full((side, side, 3), BLANK, np.uint8)
    height, width, _ = picture.shape
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
