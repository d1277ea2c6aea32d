"""Blocks with a halo: geometry only, no arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

Region = tuple[slice, ...]
LEAST = 32  # no edge of a tile is shorter, unless the image is
ENOUGH = 2**22  # pixels that keep every processor busy
LITTLE = 1.1  # pixels read for one that is wanted


def grown(core: Region, by: Sequence[int], shape: Sequence[int]) -> Region:
    """A region and so many pixels on each side of it, as far as the image has them."""
    return tuple(
        slice(max(0, s.start - h), min(n, s.stop + h)) for s, h, n in zip(core, by, shape, strict=True)
    )


def within(part: Region, whole: Region) -> Region:
    """A part of a region in the coordinates of that region."""
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of an image: what it answers for (`core`) and what it must see (`read`)."""

    core: Region
    read: Region  # core plus halo, clipped to the image

    @property
    def inside(self) -> Region:
        """`core` in the coordinates of `read`."""
        return within(self.core, self.read)


def tiles(shape: Sequence[int], size: Sequence[int], halo: Sequence[int]) -> Iterator[Tile]:
    """Tiles of at most `size` that cover `shape` once, each with up to `halo` pixels around it."""
    counts = (range(-(-n // step)) for n, step in zip(shape, size, strict=True))
    return (tile_at(place, shape, size, halo) for place in product(*counts))


def tile_at(place: Sequence[int], shape: Sequence[int], size: Sequence[int], halo: Sequence[int]) -> Tile:
    """One of `tiles`, by its number along each axis."""
    starts = [i * step for i, step in zip(place, size, strict=True)]
    ends = [min(a + step, n) for a, step, n in zip(starts, size, shape, strict=True)]
    core = tuple(map(slice, starts, ends))
    return Tile(core, grown(core, halo, shape))


def tile_size(shape: Sequence[int], halo: Sequence[int], pixels: int) -> tuple[int, ...]:
    """The tile of at most `pixels` that reads least beyond itself.

    Edges are powers of two or the whole axis, so that tiles fall on the chunks of stored images. Tiles of
    more than ENOUGH pixels are taken only where smaller ones would read much beyond themselves: of several
    tiles one is read and one is written while another is computed.
    """

    def edges(n: int, h: int) -> list[int]:
        return [2**k for k in range(n.bit_length()) if (LEAST if h else 1) <= 2**k < n] + [n]

    def cost(size: Sequence[int]) -> float:
        return prod(min(n, s + 2 * h) / s for n, s, h in zip(shape, size, halo, strict=True))

    choice = list(product(*map(edges, shape, halo)))
    fitting = [s for s in choice if prod(s) <= pixels] or choice[:1]
    small = [s for s in fitting if prod(s) <= ENOUGH and cost(s) <= LITTLE]
    return min(small or fitting, key=lambda s: (cost(s), -prod(s)))


def pieces(core: Region, pixels: int) -> Iterator[Region]:
    """Parts of a region of at most `pixels`, one after the other in memory: slices, or rows of one slice."""
    z, y, x = core
    plane = (y.stop - y.start) * (x.stop - x.start)
    if plane <= pixels:
        yield from ((part, y, x) for part in _runs(z, pixels // plane))
    else:
        for one in _runs(z, 1):
            yield from ((one, part, x) for part in _runs(y, max(1, pixels // (x.stop - x.start))))


def _runs(axis: slice, most: int) -> Iterator[slice]:
    """As few equal runs as possible of at most so many places."""
    n = axis.stop - axis.start
    count = -(-n // most)
    ends = [axis.start + n * i // count for i in range(count + 1)]
    return map(slice, ends[:-1], ends[1:])
