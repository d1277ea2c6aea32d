"""Blocks with a halo: geometry only, no arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

Region = tuple[slice, ...]
LEAST = 32  # no edge of a tile is shorter, unless the image is


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of an image: what it answers for (`core`) and what it must see (`read`)."""

    core: Region
    read: Region  # core plus halo, clipped to the image

    @property
    def inside(self) -> Region:
        """`core` in the coordinates of `read`."""
        return tuple(
            slice(c.start - r.start, c.stop - r.start) for c, r in zip(self.core, self.read, strict=True)
        )


def tiles(shape: Sequence[int], size: Sequence[int], halo: Sequence[int]) -> Iterator[Tile]:
    """Tiles of at most `size` that cover `shape` once, each with up to `halo` pixels around it."""
    counts = (range(-(-n // step)) for n, step in zip(shape, size, strict=True))
    return (tile_at(place, shape, size, halo) for place in product(*counts))


def tile_at(place: Sequence[int], shape: Sequence[int], size: Sequence[int], halo: Sequence[int]) -> Tile:
    """One of `tiles`, by its number along each axis."""
    starts = [i * step for i, step in zip(place, size, strict=True)]
    ends = [min(a + step, n) for a, step, n in zip(starts, size, shape, strict=True)]
    return Tile(
        core=tuple(map(slice, starts, ends)),
        read=tuple(
            slice(max(0, a - h), min(n, b + h)) for a, b, h, n in zip(starts, ends, halo, shape, strict=True)
        ),
    )


def tile_size(shape: Sequence[int], halo: Sequence[int], pixels: int) -> tuple[int, ...]:
    """The tile of at most `pixels` that reads least beyond itself.

    Edges are powers of two or the whole axis, so that tiles fall on the chunks of stored images.
    """

    def edges(n: int, h: int) -> list[int]:
        return [2**k for k in range(n.bit_length()) if (LEAST if h else 1) <= 2**k < n] + [n]

    def cost(size: Sequence[int]) -> float:
        return prod(min(n, s + 2 * h) / s for n, s, h in zip(shape, size, halo, strict=True))

    choice = list(product(*map(edges, shape, halo)))
    fitting = [s for s in choice if prod(s) <= pixels] or choice[:1]
    return min(fitting, key=lambda s: (cost(s), -prod(s)))
