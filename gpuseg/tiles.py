"""Blocks with a halo: geometry only, no arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Region = tuple[slice, ...]


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
    edges = [[(a, min(a + step, n)) for a in range(0, n, step)] for n, step in zip(shape, size, strict=True)]
    for block in product(*edges):
        yield Tile(
            core=tuple(slice(a, b) for a, b in block),
            read=tuple(
                slice(max(0, a - h), min(n, b + h)) for (a, b), h, n in zip(block, halo, shape, strict=True)
            ),
        )
